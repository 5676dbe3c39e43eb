"""Texts and links with fields of a saga in braces. Pure."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from sagascope_collector.config_file import Template

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

_NOT_SHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def parse(text: str) -> Template:
    """Read a template of a text.

    Raises:
        ValueError: a brace stands alone, or holds what is no field of a saga.
    """
    return Template.parse(text, _check)


def link(text: str) -> Template:
    """Read a template of a URL.

    Raises:
        ValueError: it is no template, or not surely an http or https URL of a host that no field decides.
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
    line = _NOT_SHOWN.sub(" ", value).strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


NONE_RECEIVED: Final = {"idempotency_key": "(no idempotency key was received: verify first what was done)"}
"""What stands for a field without a value where `unknown` could mislead."""


def as_text(template: Template, fields: Mapping[str, str]) -> str:
    """Filled in for people to read; a field without a value is `unknown`, or what `NONE_RECEIVED` says."""
    return template.filled(NONE_RECEIVED | dict(fields), lambda value: shown(value) or "unknown")


def as_link(template: Template, fields: Mapping[str, str]) -> str:
    """Filled in as a URL; every value is quoted, so that it stays within its place."""
    return template.filled(fields, lambda value: quote(value[:LONGEST], safe=""))


def _check(name: str) -> None:
    if name not in FIELDS and not (name.startswith(KEY) and len(name) > len(KEY)):
        raise ValueError(f"{{{name}}} is no field; there are {', '.join(FIELDS)} and key.NAME")
