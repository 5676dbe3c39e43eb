"""Texts for people: sentences, recommended actions and evidence.

The times of a text are kept apart, so that a screen can show them in its reader's time zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self

from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_datetime
from sagascope_collector.records import Process, SagaKey


class Time(NamedTuple):
    """A time within a sentence."""

    at: int
    """Nanoseconds since the Unix epoch."""
    text: str
    """The time in UTC, as the sentence shows it."""


class Text(str):
    """A text for people: a string with times in UTC, and its parts."""

    __slots__ = ("parts",)

    parts: tuple[str | Time, ...]
    """The strings and times that form the text."""

    def __new__(cls, *parts: str | Time) -> Self:
        """Joins parts; the parts of a `Text` are added separately."""
        flat = _merged(parts)
        text = super().__new__(cls, "".join(_shown(part) for part in flat))
        text.parts = flat
        return text


def phrase(template: str, *values: str | int) -> Text:
    """Fills each ``{}`` of a template in order. A `Text` among the values keeps its times.

    Raises:
        ValueError: The number of values differs from the number of braces.
    """
    pieces = template.split("{}")
    if len(pieces) != len(values) + 1:
        raise ValueError(f"{template!r} has room for {len(pieces) - 1} values, not {len(values)}")
    parts: list[str] = [pieces[0]]
    for value, piece in zip(values, pieces[1:], strict=True):
        parts += [value if isinstance(value, str) else str(value), piece]
    return Text(*parts)


def sentences(*texts: str) -> Text:
    """Joins texts as sentences. A text without final punctuation gets a full stop; empty texts are left out."""
    parts: list[str] = []
    for text in filter(None, texts):
        parts += [" " if parts else "", text, "" if text.endswith((".", "?", "!", "…", ";")) else "."]
    return Text(*parts)


def joined(separator: str, texts: Sequence[str]) -> Text:
    """Joins texts with a separator."""
    return Text(*[part for text in texts for part in (separator, text)][1:])


def capitalized(text: Text) -> Text:
    """Capitalizes the first letter of a text."""
    if not text.parts or isinstance(text.parts[0], Time):
        return text
    first = text.parts[0]
    return Text(first[:1].upper() + first[1:], *text.parts[1:])


def _shown(part: str | Time) -> str:
    return part.text if isinstance(part, Time) else part


def _merged(parts: Sequence[str | Time]) -> tuple[str | Time, ...]:
    """The parts flattened, adjacent strings joined."""
    flat: list[str | Time] = []
    words: list[str] = []
    for part in parts:
        for each in part.parts if isinstance(part, Text) else (part,):
            if isinstance(each, str):
                words.append(each)
            else:
                flat += ["".join(words), each] if any(words) else [each]
                words.clear()
    text = "".join(words)
    return (*flat, text) if text else tuple(flat)


MAX_ERROR_CHARACTERS = 120
"""Maximum number of characters of an error message in a sentence."""


def time_text(at: int, reference: int) -> Text:
    """Formats a time in UTC: ``14:02:11Z``, with its date unless the reference time has the same date."""
    then, today = to_datetime(at), to_datetime(reference)
    if then.date() == today.date():
        return Text(Time(at, f"{then:%H:%M:%S}Z"))
    year = "" if then.year == today.year else f" {then.year}"
    return Text(Time(at, f"{then.day} {then:%b}{year} {then:%H:%M:%S}Z"))


def datetime_text(at: int) -> Text:
    """Formats a time in UTC with its date, for stored sentences: ``21 Nov 2026 14:02:11Z``."""
    then = to_datetime(at)
    return Text(Time(at, f"{then.day} {then:%b %Y %H:%M:%S}Z"))


def midnight_after(now: int) -> int:
    """Returns the next midnight in UTC."""
    day_ns = 86_400 * NANOSECONDS_PER_SECOND
    return (now // day_ns + 1) * day_ns


def process_label(process: Process) -> str:
    """Returns a process's name for sentences."""
    service, instance = process.service, process.instance
    if not instance:
        return service or "an unnamed service"
    if not service or instance.startswith(service):
        return instance
    return f"{service} ({instance})"


def money(amount: Decimal, currency: str | None) -> str:
    """Formats an amount with its currency, for example ``EUR 50.00``."""
    return f"{currency} {amount:f}" if currency else f"{amount:f}"


def name_list(names: Sequence[str], limit: int = 5) -> Text:
    """Formats a list of names: ``a, b and c``; beyond the limit ``a, b, c and 7 more``."""
    if len(names) > limit:
        names = [*names[: limit - 1], f"{len(names) - limit + 1:,} more"]
    if len(names) < 2:
        return Text(*names)
    return Text(joined(", ", names[:-1]), " and ", names[-1])


def shortened(text: str) -> str:
    """Returns an error on one line, shortened to `MAX_ERROR_CHARACTERS`."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[: MAX_ERROR_CHARACTERS - 1]}…"


def run_name(key: SagaKey, unknown: str = "a newer run") -> str:
    """Returns how sentences name a run of a saga."""
    return f"run {key.run}" if key.run else unknown


class ActionKind(StrEnum):
    """The kind of work that an action requires from a person."""

    INSPECT = "inspect"
    """Find or fix a cause; changes nothing in the saga."""
    START = "start"
    """Start or resume the process that runs sagas; the saga then continues by itself."""
    VERIFY = "verify"
    """Verify what took effect."""
    REPEAT = "repeat"
    """Run work again, or run work that may have run already."""
    REVERSE = "reverse"
    """Compensate committed work."""
    CLOSE = "close"
    """Close a saga of which every step is known to have ended."""

    @property
    def changes_work(self) -> bool:
        """Whether the action causes harm if the evidence is wrong."""
        return self in (ActionKind.REPEAT, ActionKind.REVERSE)


class Action(NamedTuple):
    """One recommended action.

    Tests verify by kind that an action that repeats, reverses or continues work names an idempotency key, or follows an
    action that verifies.
    """

    kind: ActionKind
    text: Text
    key: str | None = None
    """The idempotency key that makes the action harmless; the text contains it."""

    @classmethod
    def inspect(cls, template: str, *values: str | int) -> Self:
        """Returns an action that finds or fixes a cause."""
        return cls(ActionKind.INSPECT, sentences(phrase(template, *values)))

    @classmethod
    def start(cls, template: str, *values: str | int) -> Self:
        """Returns an action that starts or resumes the process that runs the saga."""
        return cls(ActionKind.START, sentences(phrase(template, *values)))

    @classmethod
    def verify(cls, template: str, *values: str | int) -> Self:
        """Returns an action that verifies what took effect."""
        return cls(ActionKind.VERIFY, sentences(phrase(template, *values)))

    @classmethod
    def repeat(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """Returns an action that runs work."""
        return cls(ActionKind.REPEAT, sentences(phrase(template, *values)), key)

    @classmethod
    def reverse(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """Returns an action that compensates work."""
        return cls(ActionKind.REVERSE, sentences(phrase(template, *values)), key)

    @classmethod
    def close(cls, template: str, *values: str | int) -> Self:
        """Returns an action that closes the saga."""
        return cls(ActionKind.CLOSE, sentences(phrase(template, *values)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One received fact behind a verdict."""

    text: Text
    at: int
    service: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
