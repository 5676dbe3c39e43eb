"""From export requests to what was heard. The collector's own reading, before it makes columns of it. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.conformance.heard import Heard, HeardLog, HeardSpan, Origin
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Payload, Signal
from sagascope_collector.otlp import anyvalue, marks
from sagascope_collector.otlp.decode import parse
from sagascope_collector.otlp.spans import INVALID_IDS, KINDS, SPAN_ID_BYTES, TRACE_ID_BYTES, valid_id
from sagascope_collector.values import word

_REQUESTS: Final[dict[Signal, Any]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


def take(payload: Payload, heard: Heard) -> None:
    """Add a request to what was heard.

    Raises:
        Undecodable: it is no OTLP; this is noted too.
    """
    try:
        request = parse(payload.body, payload.encoding, _REQUESTS[payload.signal])
    except Undecodable as error:
        heard.refused.append(str(error))
        raise
    if payload.signal is Signal.LOGS:
        heard.logs.extend(_logs(request, payload.received_at))
        return
    for span in _spans(request, payload.received_at):
        if span.trace_id and span.span_id:
            heard.spans.append(span)
        else:
            heard.refused.append(f"{span.where}: {INVALID_IDS}")


def _spans(request: ExportTraceServiceRequest, received_at: int) -> Iterator[HeardSpan]:
    for part in request.resource_spans:
        for of_scope in part.scope_spans:
            origin = _origin(part.resource, of_scope)
            for span in of_scope.spans:
                yield HeardSpan(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(span.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(span.span_id, SPAN_ID_BYTES).hex(),
                    parent_id=valid_id(span.parent_span_id, SPAN_ID_BYTES).hex(),
                    name=span.name,
                    kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else str(span.kind),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=anyvalue.plain(span.attributes),
                    links=tuple(anyvalue.plain(each.attributes) for each in span.links),
                )


def _logs(request: ExportLogsServiceRequest, received_at: int) -> Iterator[HeardLog]:
    for part in request.resource_logs:
        for of_scope in part.scope_logs:
            origin = _origin(part.resource, of_scope)
            for record in of_scope.log_records:
                attributes = anyvalue.plain(record.attributes)
                yield HeardLog(
                    origin=origin,
                    received_at=received_at,
                    trace_id=valid_id(record.trace_id, TRACE_ID_BYTES).hex(),
                    span_id=valid_id(record.span_id, SPAN_ID_BYTES).hex(),
                    at=record.time_unix_nano,
                    observed_at=record.observed_time_unix_nano,
                    event_name=record.event_name or word(attributes.get("event.name")),
                    body=anyvalue.read(record.body),
                    attributes=attributes,
                )


def _origin(resource: Any, of_scope: Any) -> Origin:
    attributes = anyvalue.plain(resource.attributes)
    return Origin(marks.process(attributes), attributes, of_scope.scope.name, of_scope.schema_url)
