"""Runbooks: a team's own instructions and links, with fields of a saga in braces."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import quote, urlsplit

from sagascope_collector.config_file import Template


@dataclass(frozen=True, slots=True)
class Runbook:
    """What to do, and where to read on, in the cases that it is for."""

    when: Mapping[str, Sequence[str]]
    """Patterns by field, one of which must match; ``*`` matches any characters. No field: always."""
    do: Template | None
    link: Template | None

    def applies(self, fields: Mapping[str, str]) -> bool:
        """Whether it is for a saga with these fields."""
        return all(
            any(fnmatchcase(fields.get(field, ""), pattern) for pattern in patterns)
            for field, patterns in self.when.items()
        )

    def text(self, fields: Mapping[str, str]) -> str:
        """The sentence, the link, or both."""
        parts = [as_text(self.do, fields) if self.do else "", as_link(self.link, fields) if self.link else ""]
        return " ".join(filter(None, parts))


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
"""What may appear in braces, beside ``key.NAME`` for each business key."""

KEY_PREFIX: Final = "key."

MAX_FIELD_CHARACTERS: Final = 200
"""Characters of a field that a text carries."""

_INVISIBLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def parse(text: str) -> Template:
    """Parses a template of a text.

    Raises:
        ValueError: a brace is unbalanced, or holds no field of a saga.
    """
    return Template.parse(text, _check)


def link(text: str) -> Template:
    """Parses a template of a URL.

    Raises:
        ValueError: it is no template, or not certainly an http or https URL of a host that no field decides.
    """
    template = parse(text)
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
    line = _INVISIBLE.sub(" ", value).strip()
    return line if len(line) <= MAX_FIELD_CHARACTERS else f"{line[: MAX_FIELD_CHARACTERS - 1]}…"


NONE_RECEIVED: Final = {"idempotency_key": "(no idempotency key was received: verify first what was done)"}
"""Replacements for missing values where ``unknown`` could mislead."""


def as_text(template: Template, fields: Mapping[str, str]) -> str:
    """Fills the template for people to read; a missing value is ``unknown``, or what `NONE_RECEIVED` holds."""
    return template.filled(NONE_RECEIVED | dict(fields), lambda value: shown(value) or "unknown")


def as_link(template: Template, fields: Mapping[str, str]) -> str:
    """Filled in as a URL; every value is quoted, so that it stays within its place."""
    return template.filled(fields, lambda value: quote(value[:MAX_FIELD_CHARACTERS], safe=""))


def _check(name: str) -> None:
    if name not in FIELDS and not (name.startswith(KEY_PREFIX) and len(name) > len(KEY_PREFIX)):
        raise ValueError(f"{{{name}}} is no field; there are {', '.join(FIELDS)} and key.NAME")
