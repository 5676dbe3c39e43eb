"""Builds OTLP messages for tests from plain Python values."""

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope_collector.durations import NANOSECONDS_PER_SECOND

SECOND = NANOSECONDS_PER_SECOND
NOON = 1_790_000_000 * SECOND
"""A fixed moment in 2026, in nanoseconds."""


def any_value(value: Any) -> AnyValue:
    """A value of any OTLP type; a dict is a kvlist, None is unset."""
    said = AnyValue()
    match value:
        case None:
            pass
        case bool():
            said.bool_value = value
        case int():
            said.int_value = value
        case float():
            said.double_value = value
        case str():
            said.string_value = value
        case bytes():
            said.bytes_value = value
        case Mapping():
            said.kvlist_value.SetInParent()
            said.kvlist_value.values.extend(attributes(value))
        case _:
            said.array_value.SetInParent()
            said.array_value.values.extend(any_value(each) for each in value)
    return said


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes from a dict."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def trace_id(number: int) -> bytes:
    """A valid trace id."""
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    """A valid span id."""
    return number.to_bytes(8, "big")


def span(number: int = 1, /, *, trace: int = 1, start: int = NOON, end: int | None = None, **fields: Any) -> Span:
    """A span of one second, called ``step``; `attributes` a dict, `error` a message, `links` (trace, span, dict)."""
    attrs, error, links = fields.pop("attributes", {}), fields.pop("error", None), fields.pop("links", ())
    said = Span(
        trace_id=trace_id(trace),
        span_id=span_id(number),
        name=fields.pop("name", "step"),
        start_time_unix_nano=start,
        end_time_unix_nano=start + SECOND if end is None else end,
        attributes=attributes(attrs),
        **fields,
    )
    if error is not None:
        said.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error))
    for of_trace, of_span, of_link in links:
        said.links.add(trace_id=trace_id(of_trace), span_id=span_id(of_span), attributes=attributes(of_link))
    return said


def log(body: Any = None, /, *, at: int = NOON, **fields: Any) -> LogRecord:
    """A log record; `attributes` may be a dict."""
    attrs = fields.pop("attributes", {})
    said = LogRecord(time_unix_nano=at, attributes=attributes(attrs), **fields)
    if body is not None:
        said.body.CopyFrom(any_value(body))
    return said


def resource(service: str = "ledger", **values: Any) -> Resource:
    """A resource of a service; further attributes by name, ``_`` for ``.``."""
    named = {key.replace("_", "."): value for key, value in values.items()}
    return Resource(attributes=attributes({"service.name": service} | named))


def traces(*spans: Span, of: Resource | None = None, scope: str = "test") -> ExportTraceServiceRequest:
    """A request with spans of one resource."""
    request = ExportTraceServiceRequest()
    under = request.resource_spans.add(resource=of or resource())
    under.scope_spans.add(scope=InstrumentationScope(name=scope), spans=spans)
    return request


def logs(*records: LogRecord, of: Resource | None = None, scope: str = "test") -> ExportLogsServiceRequest:
    """A request with log records of one resource."""
    request = ExportLogsServiceRequest()
    under = request.resource_logs.add(resource=of or resource())
    under.scope_logs.add(scope=InstrumentationScope(name=scope), log_records=records)
    return request


def of_saga(saga_id: str = "8492", name: str = "payment", **more: Any) -> dict[str, Any]:
    """The attributes of a saga's record; further ``saga.*`` attributes by name, ``_`` for ``.``."""
    named = {f"saga.{key.replace('_', '.')}": value for key, value in more.items()}
    return {"saga.id": saga_id, "saga.name": name} | named


def heartbeat(sequence: int, *open_spans: int, at: int = NOON, interval: float = 5.0, **more: Any) -> LogRecord:
    """A heartbeat record."""
    said: dict[str, Any] = {"interval": interval, "sequence": sequence, "open_spans": hexes(open_spans)} | more
    values = {f"sagascope.heartbeat.{key}": value for key, value in said.items()}
    return log(at=at, event_name="sagascope.heartbeat", attributes=values)


def hexes(numbers: Iterable[int]) -> list[str]:
    """Span ids as a heartbeat names them."""
    return [span_id(each).hex() for each in numbers]
