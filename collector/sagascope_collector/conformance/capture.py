"""The telemetry of an emitter as it was received, before the collector converts it to columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope import semconv
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Payload, Signal
from sagascope_collector.otlp import anyvalue, marks
from sagascope_collector.otlp.decode import REQUESTS, parse
from sagascope_collector.otlp.spans import INVALID_IDS, KINDS, SPAN_ID_BYTES, TRACE_ID_BYTES, valid_id
from sagascope_collector.records import Process, as_text

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource and scope that the records of one scope in one request share."""

    process: Process
    resource: Attributes
    scope: str = ""
    schema_url: str = ""

    @property
    def service(self) -> str:
        """The service's name for a reader."""
        return self.process.service or "a service without a name"


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """A span as received; ``end == 0`` means that it was sent while it was open."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    links: tuple[Attributes, ...] = ()

    @property
    def where(self) -> str:
        """Identifies the span for a reader."""
        return f"span {self.name!r} ({self.span_id}) of {self.origin.service}"


@dataclass(frozen=True, slots=True)
class CapturedLog:
    """A log record as received."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    at: int
    observed_at: int
    event_name: str
    body: Any
    attributes: Attributes

    @property
    def where(self) -> str:
        """Identifies the log record for a reader."""
        return f"log record {(self.event_name or str(self.body))[:80]!r} of {self.origin.service}"


Record = CapturedSpan | CapturedLog


@dataclass
class Capture:
    """All received records, with the indexes that checks use."""

    spans: list[CapturedSpan] = field(default_factory=list)
    logs: list[CapturedLog] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    """The reasons for which requests, or records of them, were rejected."""
    grace_seconds: float = 1.0
    """The transport delay that checks of timeliness tolerate."""

    def add(self, payload: Payload) -> None:
        """Decodes a request and keeps its records.

        Raises:
            Undecodable: the payload is not OTLP; the reason is also added to `rejected`.
        """
        try:
            request = parse(payload.body, payload.encoding, REQUESTS[payload.signal])
        except Undecodable as error:
            self.rejected.append(str(error))
            raise
        if payload.signal is Signal.LOGS:
            self.logs.extend(_logs(request, payload.received_at))
            return
        for span in _spans(request, payload.received_at):
            if span.trace_id and span.span_id:
                self.spans.append(span)
            else:
                self.rejected.append(f"{span.where}: {INVALID_IDS}")

    @property
    def records(self) -> Iterator[Record]:
        """All spans, then all log records."""
        yield from self.spans
        yield from self.logs

    @property
    def saga_records(self) -> Iterator[Record]:
        """Records that have ``saga.id``."""
        return (each for each in self.records if semconv.SAGA_ID in each.attributes)

    @property
    def attempts(self) -> Iterator[CapturedSpan]:
        """Spans whose ``saga.role`` is ``step``."""
        return (each for each in self.spans if each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP)

    @property
    def start_records(self) -> Iterator[CapturedLog]:
        """Log records that announce open spans."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_SPAN_START)

    @property
    def heartbeats(self) -> Iterator[CapturedLog]:
        """Log records that are heartbeats, or parts of one."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_HEARTBEAT)

    @cached_property
    def by_id(self) -> dict[tuple[str, str], CapturedSpan]:
        """Spans by trace id and span id; the final form wins over the open one."""
        ordered = sorted(self.spans, key=lambda each: each.end != 0)
        return {(each.trace_id, each.span_id): each for each in ordered}

    @cached_property
    def ended_ids(self) -> set[str]:
        """The span ids of ended spans."""
        return {each.span_id for each in self.spans if each.end}

    def parent(self, span: CapturedSpan) -> CapturedSpan | None:
        """Returns the parent span, if it was received."""
        return self.by_id.get((span.trace_id, span.parent_id))

    def enclosing_span(self, record: CapturedLog) -> CapturedSpan | None:
        """Returns the span in whose context a log record was written, if it was received."""
        return self.by_id.get((record.trace_id, record.span_id))


def _spans(request: ExportTraceServiceRequest, received_at: int) -> Iterator[CapturedSpan]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            origin = _origin(resource_spans.resource, scope_spans)
            for span in scope_spans.spans:
                yield CapturedSpan(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(span.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(span.span_id, SPAN_ID_BYTES).hex(),
                    parent_id=valid_id(span.parent_span_id, SPAN_ID_BYTES).hex(),
                    name=span.name,
                    kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else str(span.kind),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=anyvalue.as_dict(span.attributes),
                    links=tuple(anyvalue.as_dict(each.attributes) for each in span.links),
                )


def _logs(request: ExportLogsServiceRequest, received_at: int) -> Iterator[CapturedLog]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            origin = _origin(resource_logs.resource, scope_logs)
            for record in scope_logs.log_records:
                attributes = anyvalue.as_dict(record.attributes)
                yield CapturedLog(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(record.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(record.span_id, SPAN_ID_BYTES).hex(),
                    at=record.time_unix_nano,
                    observed_at=record.observed_time_unix_nano,
                    event_name=record.event_name or as_text(attributes.get("event.name")),
                    body=anyvalue.read(record.body),
                    attributes=attributes,
                )


def _origin(resource: Any, scope_records: Any) -> Origin:
    attributes = anyvalue.as_dict(resource.attributes)
    return Origin(marks.process(attributes), attributes, scope_records.scope.name, scope_records.schema_url)
