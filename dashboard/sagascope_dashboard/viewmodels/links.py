"""Links out to other tools, by templates that the operator configures: ``Jaeger=https://.../{trace_id}``. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from sagascope_collector.client import schemas
from sagascope_dashboard.format import milliseconds

FIELDS = ("id", "name", "run", "environment", "step", "service", "trace_id", "span_id", "started_ms", "ended_ms")
"""What a template may hold in braces, beside ``key.NAME`` for a business key."""

_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A tool, and where it shows a transaction."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Link:
    """Where a tool shows one transaction."""

    name: str
    url: str


def templates(written: Sequence[str]) -> tuple[Template, ...]:
    """Read templates as they are written on the command line.

    Raises:
        ValueError: one of them cannot be meant; the message says which, and why.
    """
    return tuple(map(_template, written))


def _template(written: str) -> Template:
    name, given, url = written.partition("=")
    if not (name.strip() and given):
        raise ValueError(f"{written!r} is no link; write it like Jaeger=https://jaeger.example.com/trace/{{trace_id}}.")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or "{" in parts.netloc:
        raise ValueError(f"The link {name} must begin with http:// or https:// and a host without fields.")
    for field in _FIELD.findall(url):
        if field not in FIELDS and not field.startswith("key."):
            raise ValueError(
                f"The link {name} has a field that is not known: {field!r}. Known: {', '.join(FIELDS)}, key.NAME."
            )
    return Template(name.strip(), url)


def links(known: Sequence[Template], saga: schemas.Saga) -> tuple[Link, ...]:
    """Where each tool shows this transaction; a tool for which a field is missing is left out."""
    values = _values(saga)
    return tuple(Link(each.name, url) for each in known if (url := _filled(each.url, values)) is not None)


def _filled(url: str, values: Mapping[str, str]) -> str | None:
    if any(not values.get(field) for field in _FIELD.findall(url)):
        return None
    return _FIELD.sub(lambda field: quote(values[field[1]], safe=""), url)


def _values(saga: schemas.Saga) -> dict[str, str]:
    trace, span = _place(saga)
    said = {
        "id": saga.id,
        "name": saga.name,
        "run": saga.run,
        "environment": saga.environment,
        "step": saga.step or "",
        "service": saga.service or "",
        "trace_id": trace,
        "span_id": span,
        "started_ms": f"{milliseconds(saga.started_at):.0f}",
        "ended_ms": f"{milliseconds(saga.ended_at or saga.updated_at):.0f}",
    }
    return said | {f"key.{name}": value for name, value in saga.keys.items()}


def _place(saga: schemas.Saga) -> tuple[str, str]:
    """The trace and span of the latest attempt of the step at which it stands; else its latest trace."""
    attempts = [each for step in saga.steps if step.name == saga.step for each in step.attempts]
    if attempts:
        latest = max(attempts, key=lambda attempt: attempt.started_at)
        return latest.trace_id, latest.span_id
    return (saga.traces[-1] if saga.traces else ""), ""
