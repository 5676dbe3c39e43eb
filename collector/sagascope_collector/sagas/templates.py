"""Texts with fields of a saga in braces. A field is a word that is looked up, never an expression."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, urlsplit

FIELDS: Final = (
    "id",
    "name",
    "run",
    "environment",
    "status",
    "reason",
    "phase",
    "step",
    "service",
    "instance",
    "since",
    "attempt",
    "error_type",
    "error",
    "idempotency_key",
    "trace_id",
    "span_id",
)
"""What may stand in braces, beside ``key.NAME`` for each business key."""

KEY: Final = "key."

LONGEST: Final = 200
"""Characters of a field that a text carries."""

_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NOT_SHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces: what stands as it is, and names of fields in between, each as (text, field after it)."""

    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template: ``{field}``; ``{{`` and ``}}`` stand for the braces themselves.

        Raises:
            ValueError: a brace stands alone, or holds what is no field.
        """
        pieces, fixed, at = [], "", 0
        for part in _PART.finditer(text):
            fixed += text[at : part.start()]
            at = part.end()
            if part[0] in ("{{", "}}"):
                fixed += part[0][0]
                continue
            pieces.append((fixed, _field(part)))
            fixed = ""
        return cls((*pieces, (fixed + text[at:], "")))

    def text(self, fields: Mapping[str, str]) -> str:
        """Filled in for people to read; a field without a value is `unknown`."""
        return self._filled(fields, lambda value: shown(value) or "unknown")

    def link(self, fields: Mapping[str, str]) -> str:
        """Filled in as a URL; every value is quoted, so that it stays within its place."""
        return self._filled(fields, lambda value: quote(value[:LONGEST], safe=""))

    def _filled(self, fields: Mapping[str, str], safe: Callable[[str], str]) -> str:
        return "".join(text + (safe(fields.get(field, "")) if field else "") for text, field in self.pieces)


def link(text: str) -> Template:
    """Read a template of a URL.

    Raises:
        ValueError: it is no template, or not surely an http or https URL of a host that no field decides.
    """
    template = Template.parse(text)
    first = template.pieces[0][0]
    parts = urlsplit(first)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a link begins with http:// or https:// and a host")
    if template.pieces[0][1] and not (parts.path or parts.query or parts.fragment):
        raise ValueError("no field may stand in a link's host")
    if any(mark.isspace() or not mark.isprintable() for piece, _ in template.pieces for mark in piece):
        raise ValueError("a link has no spaces")
    return template


def shown(value: str) -> str:
    """A value as a text may carry it: on one line, not too long, and without what is not seen."""
    line = _NOT_SHOWN.sub(" ", value).strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _field(part: re.Match[str]) -> str:
    name = part[1]
    if name is None:
        raise ValueError(f"a single {part[0]} stands for nothing; write {part[0] * 2} for the brace itself")
    if name in FIELDS or (name.startswith(KEY) and len(name) > len(KEY)):
        return name
    raise ValueError(f"{{{name}}} is no field; there are {', '.join(FIELDS)} and key.NAME")
