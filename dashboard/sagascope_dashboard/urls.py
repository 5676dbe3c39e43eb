"""The dashboard's URLs as values, and links to other tools. Pure; every view can be shared as a link."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import epoch_ms, parse_time

MAX_WINDOW_DAYS = 400
"""The longest window that the API counts over."""

WINDOWS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
"""Windows up to now, as the URL names them."""


def fitting_window(since: datetime, now: datetime) -> str:
    """Returns the shortest window that reaches back to a time, else enough days."""
    age = now - since
    return next((name for name, length in WINDOWS.items() if length >= age), f"{min(age.days + 1, MAX_WINDOW_DAYS)}d")


OVERVIEW = "/"
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

    def href(self, path: str = SAGA) -> str:
        """Returns the link within the dashboard: to its page, or with `COMPARE` to its comparison with another saga."""
        return f"{path}?{urlencode(self.query())}"


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

    def href(self) -> str:
        """Returns the link within the dashboard."""
        parameters = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return f"{FLOW}?{urlencode(parameters)}"


ORDERS = ("started", "updated", "duration", "status", "id", "step", "since", "attempts", "amount", "urgency")
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
    stuck_since: str = ""
    """A moment in RFC 3339, as `stuck_until`: without progress since then."""
    stuck_until: str = ""
    amount: str = ""
    """The least amount at risk."""
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

    def href(self, path: str = TRANSACTIONS, **more: str) -> str:
        """Returns the link within the dashboard; `more` are further parameters of the page."""
        query = self.query() | more
        return f"{path}?{urlencode(query)}" if query else path

    def with_changes(self, **changes: str) -> Self:
        """Returns the view with changes; any change other than the page starts at the first page."""
        keeps_page = set(changes) <= {"cursor"}
        return replace(self, **({} if keeps_page else {"cursor": ""}), **changes)

    def of_all(self, **changes: str) -> Self:
        """Returns only what holds for sagas whether they need attention or not, with changes."""
        return type(self)(**{"name": self.name, "service": self.service, "environment": self.environment} | changes)

    def is_filtered(self) -> bool:
        """Returns whether a filter is set."""
        return bool(self.query().keys() - {"sort", "cursor"})

    @property
    def order(self) -> str:
        """The sort order of the list."""
        return self.sort if self.sort.removeprefix("-") in ORDERS else NEWEST

    def api_arguments(self, now: datetime) -> dict[str, str]:
        """Returns the arguments of `Client.sagas`; a window ends `now`, or where that of the first page did."""
        query = self.query()
        query.pop("sort", None)
        if self.order != NEWEST:
            query["sort"] = self.order
        since, is_later_page, cursor = self.cursor.rpartition("~")
        if is_later_page:
            query |= {"since": since, "cursor": cursor}
        elif self.since in WINDOWS:
            # Whole minutes, so that calls can be shared.
            start = (now - WINDOWS[self.since]).replace(second=0, microsecond=0)
            query["since"] = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return query

    def window(self, now: datetime) -> str:
        """Returns a window of `Client.counts` that the list fits into; it ends at `until`, else now."""
        since, until = parse_time(self.since), parse_time(self.until)
        return fitting_window(since, until or now) if since else self.since or "24h"

    def next_cursor(self, cursor: str | None, arguments: Mapping[str, str]) -> str | None:
        """Returns the `cursor` of the next page's address: with the start of a window, as a cursor is of one list."""
        return f"{arguments['since']}~{cursor}" if cursor and self.since in WINDOWS else cursor


TEMPLATE_FIELDS = (
    *("id", "name", "run", "environment", "step", "service", "idempotency_key", "trace_id", "span_id"),
    *("started_ms", "ended_ms"),
)
"""Fields that a template may name in braces, beside ``key.NAME`` for a business key."""

_TEMPLATE_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Link:
    """Where a tool shows one transaction; or a template of that, with fields in braces."""

    name: str
    url: str


def parse_templates(written: Sequence[str]) -> tuple[Link, ...]:
    """Parses templates as written on the command line.

    Raises:
        ValueError: one of them is invalid; the message says which, and why.
    """
    return tuple(map(_template, written))


def _template(written: str) -> Link:
    name, given, url = written.partition("=")
    if not (name.strip() and given):
        raise ValueError(
            f"{written!r} is not a link; write it like Jaeger=https://jaeger.example.com/trace/{{trace_id}}."
        )
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or "{" in parts.netloc:
        raise ValueError(f"The link {name} must begin with http:// or https:// and a host without fields.")
    for field in _TEMPLATE_FIELD.findall(url):
        if field not in TEMPLATE_FIELDS and not field.startswith("key."):
            known = f"{', '.join(TEMPLATE_FIELDS)}, key.NAME"
            raise ValueError(f"The link {name} has a field that is unknown: {field!r}. Known: {known}.")
    return Link(name.strip(), url)


def links(known: Sequence[Link], saga: schemas.Saga) -> tuple[Link, ...]:
    """Returns the links to one transaction in other tools; a tool for which a field is missing is left out."""
    return _filled(known, _values(saga))


def incident_links(known: Sequence[Link], incident: schemas.Incident) -> tuple[Link, ...]:
    """Returns the links to what an incident's transactions have in common: type, environment, step, service, times."""
    values = {
        "name": incident.name,
        "environment": incident.environment,
        "step": incident.step or "",
        "service": incident.service or "",
        "started_ms": f"{epoch_ms(incident.since):.0f}",
        "ended_ms": f"{epoch_ms(incident.latest_at):.0f}",
    }
    return _filled(known, values)


def _filled(known: Sequence[Link], values: Mapping[str, str]) -> tuple[Link, ...]:
    return tuple(Link(each.name, url) for each in known if (url := _fill(each.url, values)) is not None)


def _fill(url: str, values: Mapping[str, str]) -> str | None:
    if any(values.get(field, "") in ("", ".", "..") for field in _TEMPLATE_FIELD.findall(url)):
        return None  # browsers take a segment of dots as another folder, quoted or not
    return _TEMPLATE_FIELD.sub(lambda field: quote(values[field[1]], safe=""), url)


def _values(saga: schemas.Saga) -> dict[str, str]:
    items = [step for step in saga.steps if step.name == saga.step]
    # an item that is done is not why the transaction is stuck
    left = [step for step in items if step.state not in ("done", "compensated")] or items
    attempts = (each for step in left for each in step.attempts)
    latest = max(attempts, key=lambda attempt: attempt.started_at, default=None)
    parameters = {
        "id": saga.id,
        "name": saga.name,
        "run": saga.run,
        "environment": saga.environment,
        "step": saga.step or "",
        "service": saga.service or "",
        "idempotency_key": (latest and latest.idempotency_key) or "",
        "trace_id": latest.trace_id if latest else saga.traces[-1] if saga.traces else "",
        "span_id": latest.span_id if latest else "",
        "started_ms": f"{epoch_ms(saga.started_at):.0f}",
        "ended_ms": f"{epoch_ms(saga.ended_at or saga.updated_at):.0f}",
    }
    return parameters | {f"key.{name}": value for name, value in saga.keys.items()}


def split_templates(variable: str) -> list[str]:
    """Returns the templates in an environment variable: one a line, else separated by blanks."""
    return variable.splitlines() if "\n" in variable else variable.split()
