"""Told telemetry as OTLP requests, one record each, as exporters of the told processes would send them."""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from sagascope import semconv
from support.telemetry import SECOND, EmittedLog, EmittedSpan, Moment, Process, Telemetry, by_label, start_attributes

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

Request = tuple[str, bytes]
"""(path below the receiver's address, protobuf)."""


def requests(told: Telemetry, environment: str, started: int, until: float) -> list[Request]:
    """Everything that had been sent ``until`` then; ``started`` is the story's start, nanoseconds since the epoch."""
    return [*_traces(told, environment, started, until), *_logs(told, environment, started, until)]


def _traces(told: Telemetry, environment: str, started: int, until: float) -> Iterator[Request]:
    for each in told.spans:
        sent_at = each.start if each.end is None else each.end
        if each.form in ("final", "zero") and sent_at <= until:
            span = _span(each, started)
            scope = ScopeSpans(spans=[span], schema_url=semconv.SCHEMA_URL if each.process.ours else "")
            body = ExportTraceServiceRequest(
                resource_spans=[ResourceSpans(resource=_resource(each.process, environment), scope_spans=[scope])]
            )
            yield "/v1/traces", body.SerializeToString()


def _logs(told: Telemetry, environment: str, started: int, until: float) -> Iterator[Request]:
    labels = by_label(told.spans)
    for each in told.logs:
        if each.observed <= until:
            scope = ScopeLogs(log_records=[_log(each, labels, started)])
            body = ExportLogsServiceRequest(
                resource_logs=[ResourceLogs(resource=_resource(each.process, environment), scope_logs=[scope])]
            )
            yield "/v1/logs", body.SerializeToString()


def _span(told: EmittedSpan, started: int) -> Span:
    span = Span(
        trace_id=bytes.fromhex(told.trace_id),
        span_id=bytes.fromhex(told.span_id),
        parent_span_id=bytes.fromhex(told.parent_id),
        name=told.name,
        kind=KINDS[told.kind],
        start_time_unix_nano=_moment(told.process, told.start, started),
        end_time_unix_nano=0 if told.end is None else _moment(told.process, told.end, started),
        attributes=_attributes(told.attributes, started),
    )
    if told.error:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR))
    if failed := told.error or told.exception:
        kind, _, message = failed.partition(": ")
        said = {"exception.type": kind, "exception.message": message}
        span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano, attributes=_attributes(said, started))
    for link in told.links:
        span.links.add(trace_id=b"\xff" * 16, span_id=b"\xee" * 8, attributes=_attributes(link, started))
    return span


def _log(told: EmittedLog, labels: dict[str, EmittedSpan], started: int) -> LogRecord:
    span = labels.get(told.span)
    attributes = told.attributes
    if told.event == semconv.EVENT_SPAN_START and span is not None:
        attributes = start_attributes(span)
    return LogRecord(
        time_unix_nano=_moment(told.process, told.at, started),
        observed_time_unix_nano=_moment(told.process, told.observed, started),
        severity_number=9,
        event_name=told.event,
        body=AnyValue(string_value=told.body) if told.body else None,
        trace_id=bytes.fromhex(span.trace_id) if span else b"",
        span_id=bytes.fromhex(span.span_id) if span else b"",
        attributes=_attributes(attributes, started),
    )


def _moment(process: Process, at: float, started: int) -> int:
    return started + round((at + process.skew) * SECOND)


def _resource(process: Process, environment: str) -> Resource:
    return Resource(attributes=_attributes({**process.resource(), "deployment.environment.name": environment}, 0))


def _attributes(said: dict[str, Any], started: int) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value, started)) for key, value in said.items()]


def _value(value: Any, started: int) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, Moment):
        return AnyValue(double_value=float(value) + started / SECOND)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(each, started) for each in value]))
    return AnyValue(string_value=str(value))
