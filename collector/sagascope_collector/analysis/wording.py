"""Sentences whose times stay apart from their words, so that a screen can show them in its reader's zone. Pure."""

from collections.abc import Sequence
from typing import NamedTuple, Self


class Time(NamedTuple):
    """A moment within a sentence."""

    at: int
    """Nanoseconds since the Unix epoch."""
    text: str
    """The moment in UTC, as the sentence shows it."""


class Text(str):
    """A text for people: a string in which times are in UTC, and the same in parts."""

    __slots__ = ("parts",)

    parts: tuple[str | Time, ...]
    """Its words, and its times; joined, they are the string."""

    def __new__(cls, *parts: str | Time) -> Self:
        """Joins parts; a `Text` among them adds its own."""
        flat = _merged(parts)
        text = super().__new__(cls, "".join(_shown(part) for part in flat))
        text.parts = flat
        return text


def phrase(template: str, *values: str | int) -> Text:
    """Fills each ``{}`` of a template, in order; a `Text` among the values keeps its times.

    Raises:
        ValueError: the number of values is another than that of the braces.
    """
    pieces = template.split("{}")
    if len(pieces) != len(values) + 1:
        raise ValueError(f"{template!r} has room for {len(pieces) - 1} values, not {len(values)}")
    parts: list[str] = [pieces[0]]
    for value, piece in zip(values, pieces[1:], strict=True):
        parts += [value if isinstance(value, str) else str(value), piece]
    return Text(*parts)


def sentences(*texts: str) -> Text:
    """Joins texts as sentences: each that does not end in punctuation gets a full stop; empty ones are left out."""
    parts: list[str] = []
    for text in filter(None, texts):
        parts += [" " if parts else "", text, "" if text.endswith((".", "?", "!", "…", ";")) else "."]
    return Text(*parts)


def joined(separator: str, texts: Sequence[str]) -> Text:
    """Texts with a separator between each two."""
    return Text(*[part for text in texts for part in (separator, text)][1:])


def capitalized(text: Text) -> Text:
    """The text with a capital letter at its start."""
    if not text.parts or isinstance(text.parts[0], Time):
        return text
    first = text.parts[0]
    return Text(first[:1].upper() + first[1:], *text.parts[1:])


def _shown(part: str | Time) -> str:
    return part.text if isinstance(part, Time) else part


def _merged(parts: Sequence[str | Time]) -> tuple[str | Time, ...]:
    """The parts flat, words beside words put together."""
    flat: list[str | Time] = []
    for part in parts:
        for each in part.parts if isinstance(part, Text) else (part,):
            if isinstance(each, str) and flat and isinstance(flat[-1], str):
                flat[-1] += each
            elif each:
                flat.append(each if isinstance(each, Time) else str(each))
    return tuple(flat)
