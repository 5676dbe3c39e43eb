"""The spans and log records that a bridge reports, and their encoding as OTLP requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogRecordMessage, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage, Status

from sagascope import semconv
from sagascope_collector.archives.documents import Message, RecordKind

SCOPE: Final = "sagascope.bridge"
"""The instrumentation scope of records from bridges."""

MAX_REQUEST_RECORDS: Final = 1_000

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
Resource = tuple[tuple[str, str], ...]
"""The attributes of the resource that did the work; not those of the bridge."""


def trace_id(*parts: str) -> bytes:
    """Derives a trace id: the same parts have the same id."""
    return sha256("\0".join(parts).encode()).digest()[:16]


def span_id(*parts: str) -> bytes:
    """Derives a span id: the same parts have the same id."""
    return sha256("\0".join(parts).encode()).digest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span. Times are in nanoseconds since 1970."""

    resource: Resource
    trace_id: bytes
    span_id: bytes
    name: str
    start: int
    end: int | None
    """None: the span is open."""
    attributes: Attributes
    parent_id: bytes = b""
    kind: SpanKind = "internal"
    error: str | None = None
    """The error message, which may be empty; None: the span did not fail."""

    def start_record(self) -> "LogRecord":
        """Returns the start record of the open span."""
        attributes: Attributes = {
            semconv.SPAN_NAME: self.name,
            semconv.SPAN_KIND: self.kind,
            semconv.SPAN_PARENT_ID: self.parent_id.hex(),
        }
        return LogRecord(
            resource=self.resource,
            trace_id=self.trace_id,
            span_id=self.span_id,
            at=self.start,
            event_name=semconv.EVENT_SPAN_START,
            body="",
            attributes={**self.attributes, **attributes},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A log record. Times are in nanoseconds since 1970."""

    resource: Resource
    trace_id: bytes
    span_id: bytes
    at: int
    event_name: str
    body: str
    attributes: Attributes
    is_warning: bool = False


Record = TypeVar("Record", Span, LogRecord)


@dataclass(slots=True)
class Telemetry:
    """Spans and log records to send."""

    spans: list[Span] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.spans) + len(self.logs)

    def messages(self) -> Iterator[tuple[Message, RecordKind]]:
        """Yields the requests, each with at most `MAX_REQUEST_RECORDS` records."""
        yield from _messages(self.spans, RecordKind.SPANS, _traces)
        yield from _messages(self.logs, RecordKind.LOG_RECORDS, _logs)


def _messages(
    records: Sequence[Record], kind: RecordKind, encode: Callable[[Sequence[Record]], bytes]
) -> Iterator[tuple[Message, RecordKind]]:
    for number, first in enumerate(range(0, len(records), MAX_REQUEST_RECORDS), 1):
        batch = records[first : first + MAX_REQUEST_RECORDS]
        yield Message(number, json=False, body=encode(batch), counts={kind: len(batch)}), kind


def _by_resource(records: Sequence[Record]) -> Iterator[tuple[ResourceMessage, list[Record]]]:
    groups: dict[Resource, list[Record]] = {}
    for record in records:
        groups.setdefault(record.resource, []).append(record)
    for resource, group in groups.items():
        yield ResourceMessage(attributes=_key_values(dict(resource))), group


def _traces(spans: Sequence[Span]) -> bytes:
    request = ExportTraceServiceRequest()
    for resource, group in _by_resource(spans):
        scope = request.resource_spans.add(resource=resource).scope_spans.add(schema_url=semconv.SCHEMA_URL)
        scope.scope.name = SCOPE
        scope.spans.extend(map(_span_message, group))
    return bytes(request.SerializeToString())


def _span_message(span: Span) -> SpanMessage:
    return SpanMessage(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        name=span.name,
        kind=SpanMessage.SpanKind.Value(f"SPAN_KIND_{span.kind.upper()}"),
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end or 0,
        attributes=_key_values(span.attributes),
        status=_status(span),
    )


def _status(span: Span) -> Status:
    if span.error is not None:
        return Status(code=Status.STATUS_CODE_ERROR, message=span.error)
    return Status(code=Status.STATUS_CODE_OK if span.end else Status.STATUS_CODE_UNSET)


def _logs(logs: Sequence[LogRecord]) -> bytes:
    request = ExportLogsServiceRequest()
    for resource, group in _by_resource(logs):
        scope = request.resource_logs.add(resource=resource).scope_logs.add(schema_url=semconv.SCHEMA_URL)
        scope.scope.name = SCOPE
        scope.log_records.extend(map(_log_message, group))
    return bytes(request.SerializeToString())


def _log_message(log: LogRecord) -> LogRecordMessage:
    return LogRecordMessage(
        time_unix_nano=log.at,
        observed_time_unix_nano=log.at,
        trace_id=log.trace_id,
        span_id=log.span_id,
        event_name=log.event_name,
        severity_number=SeverityNumber.SEVERITY_NUMBER_WARN if log.is_warning else SeverityNumber.SEVERITY_NUMBER_INFO,
        body=AnyValue(string_value=log.body),
        attributes=_key_values(log.attributes),
    )


def _key_values(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _any_value(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    texts: list[Any] = [AnyValue(string_value=text) for text in value]
    return AnyValue(array_value=ArrayValue(values=texts))
