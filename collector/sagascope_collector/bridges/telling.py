"""Writes spans and log records down as OTLP requests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogRecordMessage
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from sagascope import semconv
from sagascope_collector.archives.reading import Message
from sagascope_collector.archives.signals import Kind

SCOPE: Final = "sagascope.bridge"
"""The instrumentation scope of what bridges tell."""

TOGETHER: Final = 1_000
"""Records in one request."""


Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
Resource = tuple[tuple[str, str], ...]
"""The attributes of who did it, not of the bridge that tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span. Times are nanoseconds since 1970."""

    resource: Resource
    trace_id: bytes
    span_id: bytes
    name: str
    start: int
    end: int | None
    """None: it is open. What is told of it is what `announced` gives."""
    attributes: Attributes
    parent_id: bytes = b""
    kind: SpanKind = "internal"
    error: str | None = None
    """What went wrong, which may be empty; None: nothing did."""

    def announced(self, observed_at: int = 0) -> "LogRecord":
        """The start record of a span that is open: known at `observed_at`, else when it began."""
        said: Attributes = {
            semconv.SPAN_NAME: self.name,
            semconv.SPAN_KIND: self.kind,
            semconv.SPAN_PARENT_ID: self.parent_id.hex(),
        }
        return LogRecord(
            resource=self.resource,
            trace_id=self.trace_id,
            span_id=self.span_id,
            at=self.start,
            observed_at=observed_at,
            event_name=semconv.EVENT_SPAN_START,
            body="",
            attributes={**self.attributes, **said},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A log record; its time is in nanoseconds since 1970."""

    resource: Resource
    trace_id: bytes
    span_id: bytes
    at: int
    event_name: str
    body: str
    attributes: Attributes
    is_warning: bool = False
    observed_at: int = 0
    """When it became known; 0: at its time."""


Record = TypeVar("Record", Span, LogRecord)


@dataclass(slots=True)
class Facts:
    """What is to be told."""

    spans: list[Span] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.spans) + len(self.logs)

    def messages(self) -> Iterator[tuple[Message, Kind]]:
        """The requests that tell it."""
        for number, spans in enumerate(_parts(self.spans)):
            yield Message(number, json=False, body=_traces(spans), counts={Kind.SPANS: len(spans)}), Kind.SPANS
        for number, logs in enumerate(_parts(self.logs)):
            yield Message(number, json=False, body=_logs(logs), counts={Kind.LOG_RECORDS: len(logs)}), Kind.LOG_RECORDS


def _parts(told: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (told[first : first + TOGETHER] for first in range(0, len(told), TOGETHER))


def _by_resource(told: Sequence[Record]) -> Iterator[tuple[ResourceMessage, list[Record]]]:
    parts: dict[Resource, list[Record]] = {}
    for each in told:
        parts.setdefault(each.resource, []).append(each)
    for resource, of in parts.items():
        yield ResourceMessage(attributes=_attributes(dict(resource))), of


def _traces(spans: Sequence[Span]) -> bytes:
    request = ExportTraceServiceRequest()
    for resource, of in _by_resource(spans):
        scope = request.resource_spans.add(resource=resource).scope_spans.add(schema_url=semconv.SCHEMA_URL)
        scope.scope.name = SCOPE
        scope.spans.extend(map(_span, of))
    return bytes(request.SerializeToString())


def _span(told: Span) -> SpanMessage:
    return SpanMessage(
        trace_id=told.trace_id,
        span_id=told.span_id,
        parent_span_id=told.parent_id,
        name=told.name,
        kind=SpanMessage.SpanKind.Value(f"SPAN_KIND_{told.kind.upper()}"),
        start_time_unix_nano=told.start,
        end_time_unix_nano=told.end or 0,
        attributes=_attributes(told.attributes),
        status=_status(told),
    )


def _status(told: Span) -> Status:
    if told.error is not None:
        return Status(code=Status.STATUS_CODE_ERROR, message=told.error)
    return Status(code=Status.STATUS_CODE_OK if told.end else Status.STATUS_CODE_UNSET)


def _logs(logs: Sequence[LogRecord]) -> bytes:
    request = ExportLogsServiceRequest()
    for resource, of in _by_resource(logs):
        scope = request.resource_logs.add(resource=resource).scope_logs.add(schema_url=semconv.SCHEMA_URL)
        scope.scope.name = SCOPE
        scope.log_records.extend(map(_log, of))
    return bytes(request.SerializeToString())


def _log(told: LogRecord) -> LogRecordMessage:
    return LogRecordMessage(
        time_unix_nano=told.at,
        observed_time_unix_nano=told.observed_at or told.at,
        trace_id=told.trace_id,
        span_id=told.span_id,
        event_name=told.event_name,
        severity_number=SeverityNumber.SEVERITY_NUMBER_WARN if told.is_warning else SeverityNumber.SEVERITY_NUMBER_INFO,
        body=AnyValue(string_value=told.body),
        attributes=_attributes(told.attributes),
    )


def _attributes(said: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in said.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    texts: list[Any] = [AnyValue(string_value=each) for each in value]
    return AnyValue(array_value=ArrayValue(values=texts))
