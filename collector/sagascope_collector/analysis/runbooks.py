"""Runbooks: a team's own instructions and links, with fields of a saga in braces, and the file that holds them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from sagascope_collector import config_file
from sagascope_collector.analysis.model import Phase
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.config_file import Template


@dataclass(frozen=True, slots=True)
class Runbook:
    """An instruction and a link for the sagas that match."""

    when: Mapping[str, Sequence[str]]
    """Patterns by field; one pattern of each field must match. ``*`` matches any characters. Empty: matches always."""
    do: Template | None
    link: Template | None

    def applies(self, fields: Mapping[str, str]) -> bool:
        """Whether the runbook applies to a saga with these fields."""
        return all(
            any(fnmatchcase(fields.get(field, ""), _OTHER_WILDCARDS.sub(r"[\1]", pattern)) for pattern in patterns)
            for field, patterns in self.when.items()
        )

    def text(self, fields: Mapping[str, str]) -> str:
        """Returns the instruction, the link, or both."""
        parts = [as_text(self.do, fields) if self.do else "", as_link(self.link, fields) if self.link else ""]
        return " ".join(filter(None, parts))


_OTHER_WILDCARDS: Final = re.compile(r"([?\[])")
"""What `fnmatch` expands besides ``*``; in a runbook it stands for itself, as in a step ``pick[1]``."""

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
"""The fields that may appear in braces, in addition to ``key.NAME`` for each business key."""

KEY_PREFIX: Final = "key."

MAX_FIELD_CHARACTERS: Final = 200
"""Maximum number of characters of a field in a text."""

_INVISIBLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def parse(text: str) -> Template:
    """Parses a text template.

    Raises:
        ValueError: A brace is unbalanced, or contains no field of a saga.
    """
    return Template.parse(text, _check)


def parse_link(text: str) -> Template:
    """Parses a URL template.

    Raises:
        ValueError: The template is invalid, or is not an http or https URL whose host is independent of fields.
    """
    template = parse(text)
    first = template.pieces[0][0]
    parts = urlsplit(first)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a link begins with http:// or https:// and a host")
    if template.pieces[0][1] and not (parts.path or parts.query or parts.fragment):
        raise ValueError("no field may stand in a link's host")
    if any(char.isspace() or not char.isprintable() for piece, _ in template.pieces for char in piece):
        raise ValueError("a link has no spaces")
    return template


def shown(value: str) -> str:
    """Cleans a value for a text: one line, limited length, no invisible characters."""
    line = _INVISIBLE.sub(" ", value).strip()
    return line if len(line) <= MAX_FIELD_CHARACTERS else f"{line[: MAX_FIELD_CHARACTERS - 1]}…"


NONE_RECEIVED: Final = {"idempotency_key": "(no idempotency key was received: verify first what was done)"}
"""Replacements for missing values where ``unknown`` could mislead."""


def as_text(template: Template, fields: Mapping[str, str]) -> str:
    """Fills a text template. A missing value is ``unknown``, or its replacement in `NONE_RECEIVED`."""
    return template.filled(NONE_RECEIVED | dict(fields), lambda value: shown(value) or "unknown")


def as_link(template: Template, fields: Mapping[str, str]) -> str:
    """Fills a URL template. Values are quoted, so that they cannot change the rest of the URL."""
    return template.filled(fields, lambda value: quote(value[:MAX_FIELD_CHARACTERS], safe=""))


def _check(name: str) -> None:
    if name not in FIELDS and not (name.startswith(KEY_PREFIX) and len(name) > len(KEY_PREFIX)):
        raise ValueError(f"{{{name}}} is not a field; there are {', '.join(FIELDS)} and key.NAME")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _among(*known: str) -> Callable[[list[str]], list[str]]:
    def check(words: list[str]) -> list[str]:
        for word in words:
            if word not in known:
                raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return words

    return check


def _checked(parse: Callable[[str], Template]) -> Callable[[str], str]:
    def check(text: str) -> str:
        parse(text)
        return text

    return check


Word = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[list[Word], BeforeValidator(_listed), Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class RunbookCondition(BaseModel, extra="forbid"):
    """The condition under which a runbook applies. Each field must match one of its entries; `*` is a wildcard."""

    name: Patterns | None = None
    environment: Patterns | None = None
    step: Patterns | None = None
    service: Patterns | None = None
    error_type: Patterns | None = None
    reason: Annotated[Patterns, AfterValidator(_among(*AttentionCode))] | None = None
    phase: Annotated[Patterns, AfterValidator(_among(*Phase))] | None = None


class RunbookRule(BaseModel, extra="forbid"):
    """One runbook."""

    when: RunbookCondition = RunbookCondition()
    do: Annotated[Text, AfterValidator(_checked(parse))] | None = None
    link: Annotated[Text, AfterValidator(_checked(parse_link))] | None = None

    @model_validator(mode="after")
    def _require_text_or_link(self) -> "RunbookRule":
        if self.do is None and self.link is None:
            raise ValueError("says neither what to do nor where to read on: give `do`, `link` or both")
        return self


class RunbookFile(BaseModel, extra="forbid"):
    """All runbooks; those that apply to a saga are shown in the order of the file."""

    runbooks: list[RunbookRule] = []


def read_runbooks(path: Path) -> tuple[Runbook, ...]:
    """Reads the runbooks of a file.

    Raises:
        BadRules: the file cannot be read or is not valid; each error has its line.
    """
    return tuple(_runbook(each) for each in config_file.read(path, RunbookFile).runbooks)


def _runbook(rule: RunbookRule) -> Runbook:
    when = rule.when.model_dump(exclude_none=True)
    do = parse(rule.do) if rule.do else None
    return Runbook(when, do, parse_link(rule.link) if rule.link else None)
