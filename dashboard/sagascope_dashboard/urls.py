"""What an address of the dashboard says, as values, and back. Pure; every view can be shared as a link."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import milliseconds

WINDOWS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
"""Spans of time up to now, as the address writes them."""

TRANSACTIONS = "/transactions"
SAGA = "/saga"
INCIDENT = "/incident"
FLOW = "/flow"
COMPARE = "/compare"


def incident_href(key: str) -> str:
    """The page of an incident."""
    return f"{INCIDENT}?{urlencode({'key': key})}"


@dataclass(frozen=True, slots=True)
class SagaAddress:
    """Which saga a page shows. Without `run` the latest started; ``environment=""`` where the telemetry names none."""

    name: str
    id: str
    environment: str | None = None
    run: str | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self | None:
        """The saga that an address names; None without an id. A name that is missing was never received: `unknown`."""
        if not query.get("id"):
            return None
        return cls(query.get("name") or "unknown", query["id"], query.get("environment"), query.get("run"))

    def query(self) -> dict[str, str]:
        """As the part of an address behind ``?``; only what is said."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def href(self) -> str:
        """As a link within the dashboard."""
        return f"{SAGA}?{urlencode(self.query())}"

    def compared(self) -> str:
        """Where it stands beside another, as a link within the dashboard."""
        return f"{COMPARE}?{urlencode(self.query())}"


@dataclass(frozen=True, slots=True)
class FlowAddress:
    """Which transaction type a page shows, and how far back; without `environment` all of them together."""

    name: str
    environment: str | None = None
    window: str = "24h"

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self | None:
        """The type that an address names; None without a name."""
        if not query.get("name"):
            return None
        window = query.get("window", "")
        return cls(query["name"], query.get("environment"), window if window in WINDOWS else "24h")

    def back(self, window: str) -> Self:
        """The same, looked at over another time."""
        return replace(self, window=window)

    def href(self) -> str:
        """As a link within the dashboard."""
        said = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return f"{FLOW}?{urlencode(said)}"


ORDERS = ("started", "updated", "duration", "status", "id", "step")
"""By what a list can be ordered."""

NEWEST = "-started"


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list of transactions is narrowed to. ``""``: not narrowed."""

    q: str = ""
    status: str = ""
    attention: str = ""
    name: str = ""
    service: str = ""
    step: str = ""
    environment: str = ""
    since: str = ""
    """A key of `WINDOWS`, or a moment in RFC 3339."""
    until: str = ""
    """A moment in RFC 3339."""
    incident: str = ""
    """The key of the incident that they are part of."""
    course: str = ""
    """Exactly these steps, in order, as JSON."""
    sort: str = ""
    """One of `ORDERS`, with ``-`` before it for the other direction; else newest first."""
    cursor: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self:
        """What an address says; names that are not known here are ignored."""
        return cls(**{field.name: query[field.name] for field in fields(cls) if query.get(field.name)})

    def query(self) -> dict[str, str]:
        """As the part of an address behind ``?``; only what narrows."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    def href(self) -> str:
        """As a link within the dashboard."""
        query = self.query()
        return f"{TRANSACTIONS}?{urlencode(query)}" if query else TRANSACTIONS

    def having(self, **changes: str) -> Self:
        """The same view with something changed; any change but of the page begins at the first page."""
        keeps_page = set(changes) <= {"cursor"}
        return replace(self, **({} if keeps_page else {"cursor": ""}), **changes)

    def narrows(self) -> bool:
        """Whether anything is left out of the list."""
        return bool(self.query().keys() - {"sort", "cursor"})

    @property
    def order(self) -> str:
        """By what the list is ordered."""
        return self.sort if self.sort.removeprefix("-") in ORDERS else NEWEST

    def call(self, now: datetime) -> dict[str, Any]:
        """The arguments of `Client.sagas`; a window counts back from `now`."""
        query = self.query()
        query.pop("sort", None)
        if self.order != NEWEST:
            query["sort"] = self.order
        if self.since in WINDOWS:
            # Whole minutes, so that pages of one list are bounded alike and calls can be shared.
            start = (now - WINDOWS[self.since]).replace(second=0, microsecond=0)
            query["since"] = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return query


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
