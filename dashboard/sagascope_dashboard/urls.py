"""The dashboard's URLs as values, and links to other tools. Pure; every view can be shared as a link."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import epoch_ms

WINDOWS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
"""Windows up to now, as the URL names them."""

TRANSACTIONS = "/transactions"
SAGA = "/saga"
INCIDENT = "/incident"
FLOW = "/flow"
COMPARE = "/compare"


def incident_href(key: str) -> str:
    """Returns the link to an incident's page."""
    return f"{INCIDENT}?{urlencode({'key': key})}"


@dataclass(frozen=True, slots=True)
class SagaAddress:
    """Which saga a page shows; without `run` the latest started, ``environment=""`` where the telemetry names none."""

    name: str
    id: str
    environment: str | None = None
    run: str | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self | None:
        """Returns the saga that a query names; None without an id. A missing name was never received: `unknown`."""
        if not query.get("id"):
            return None
        return cls(query.get("name") or "unknown", query["id"], query.get("environment"), query.get("run"))

    def query(self) -> dict[str, str]:
        """Returns the query parameters; only those that are set."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def href(self) -> str:
        """Returns the link within the dashboard."""
        return f"{SAGA}?{urlencode(self.query())}"

    def compare_href(self) -> str:
        """Returns the link to its comparison with another saga."""
        return f"{COMPARE}?{urlencode(self.query())}"


@dataclass(frozen=True, slots=True)
class FlowAddress:
    """Which transaction type a page shows, over which window; without `environment` all environments together."""

    name: str
    environment: str | None = None
    window: str = "24h"

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self | None:
        """Returns the type that a query names; None without a name."""
        if not query.get("name"):
            return None
        window = query.get("window", "")
        return cls(query["name"], query.get("environment"), window if window in WINDOWS else "24h")

    def with_window(self, window: str) -> Self:
        """Returns the same flow over another window."""
        return replace(self, window=window)

    def href(self) -> str:
        """Returns the link within the dashboard."""
        parameters = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return f"{FLOW}?{urlencode(parameters)}"


ORDERS = ("started", "updated", "duration", "status", "id", "step")
"""The sort orders of the list."""

NEWEST = "-started"


@dataclass(frozen=True, slots=True)
class Filters:
    """The `SagaFilters` of a list, its order and its page, as an address holds them. ``""``: not set."""

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
    """The key of the incident to which they belong."""
    path: str = ""
    """Exactly these steps, in order, as JSON."""
    sort: str = ""
    """One of `ORDERS`, with ``-`` before it for the other direction; else newest first."""
    cursor: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Returns the filters of a query; unknown parameters are ignored."""
        return cls(**{field.name: query[field.name] for field in fields(cls) if query.get(field.name)})

    def query(self) -> dict[str, str]:
        """Returns the query parameters; only those that are set."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    def href(self) -> str:
        """Returns the link within the dashboard."""
        query = self.query()
        return f"{TRANSACTIONS}?{urlencode(query)}" if query else TRANSACTIONS

    def with_changes(self, **changes: str) -> Self:
        """Returns the view with changes; any change other than the page starts at the first page."""
        keeps_page = set(changes) <= {"cursor"}
        return replace(self, **({} if keeps_page else {"cursor": ""}), **changes)

    def is_filtered(self) -> bool:
        """Returns whether a filter is set."""
        return bool(self.query().keys() - {"sort", "cursor"})

    @property
    def order(self) -> str:
        """The sort order of the list."""
        return self.sort if self.sort.removeprefix("-") in ORDERS else NEWEST

    def api_arguments(self, now: datetime) -> dict[str, str]:
        """Returns the arguments of `Client.sagas`; a window counts back from `now`."""
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
"""Fields that a template may name in braces, beside ``key.NAME`` for a business key."""

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
    """Parses templates as written on the command line.

    Raises:
        ValueError: one of them is invalid; the message says which, and why.
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
                f"The link {name} has a field that is unknown: {field!r}. Known: {', '.join(FIELDS)}, key.NAME."
            )
    return Template(name.strip(), url)


def links(known: Sequence[Template], saga: schemas.Saga) -> tuple[Link, ...]:
    """Returns the links to one transaction in other tools; a tool for which a field is missing is left out."""
    values = _values(saga)
    return tuple(Link(each.name, url) for each in known if (url := _fill(each.url, values)) is not None)


def _fill(url: str, values: Mapping[str, str]) -> str | None:
    if any(not values.get(field) for field in _FIELD.findall(url)):
        return None
    return _FIELD.sub(lambda field: quote(values[field[1]], safe=""), url)


def _values(saga: schemas.Saga) -> dict[str, str]:
    trace, span = _latest_attempt_ids(saga)
    parameters = {
        "id": saga.id,
        "name": saga.name,
        "run": saga.run,
        "environment": saga.environment,
        "step": saga.step or "",
        "service": saga.service or "",
        "trace_id": trace,
        "span_id": span,
        "started_ms": f"{epoch_ms(saga.started_at):.0f}",
        "ended_ms": f"{epoch_ms(saga.ended_at or saga.updated_at):.0f}",
    }
    return parameters | {f"key.{name}": value for name, value in saga.keys.items()}


def _latest_attempt_ids(saga: schemas.Saga) -> tuple[str, str]:
    """Returns the trace and span of the latest attempt of the current step; else the latest trace."""
    attempts = [each for step in saga.steps if step.name == saga.step for each in step.attempts]
    if attempts:
        latest = max(attempts, key=lambda attempt: attempt.started_at)
        return latest.trace_id, latest.span_id
    return (saga.traces[-1] if saga.traces else ""), ""
