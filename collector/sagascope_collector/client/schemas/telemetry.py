"""Spans and log records of a saga."""

from typing import Any

from sagascope_collector.client.schemas.base import Time, Wire


class SpanEvent(Wire):
    """An event of a span."""

    name: str
    at: Time
    attributes: dict[str, Any]


class SpanLink(Wire):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class Span(Wire):
    """One span. ``ended_at`` is null while it is open; ``start_unix_nano`` is a decimal string."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    service: str | None
    instance: str | None
    started_at: Time
    ended_at: Time | None
    start_unix_nano: str
    status: str
    attributes: dict[str, Any]
    events: list[SpanEvent]
    links: list[SpanLink]


class Log(Wire):
    """One log record."""

    at: Time
    severity: str | None
    body: Any
    event_name: str | None
    service: str | None
    instance: str | None
    trace_id: str | None
    span_id: str | None
    attributes: dict[str, Any]


class Clock(Wire):
    """A process whose clock others contradict; `seconds` are to be added to what it tells."""

    service: str | None
    instance: str | None
    seconds: float
