"""Builds OTLP messages back from the records that were stored, to compare them with what was sent."""

from opentelemetry.proto.common.v1.common_pb2 import EntityRef, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope_collector import records
from support.otlp import any_value, attributes

KINDS = {name.removeprefix("SPAN_KIND_").lower(): number for name, number in Span.SpanKind.items()}
STATUSES = {name.removeprefix("STATUS_CODE_").lower(): number for name, number in Status.StatusCode.items()}


def span(said: records.Span) -> Span:
    """The span message of a stored span."""
    return Span(
        trace_id=bytes.fromhex(said.trace_id),
        span_id=bytes.fromhex(said.span_id),
        parent_span_id=bytes.fromhex(said.parent_id),
        trace_state=said.trace_state,
        flags=said.flags,
        name=said.name,
        kind=_number(KINDS, said.kind),
        start_time_unix_nano=said.start,
        end_time_unix_nano=said.end,
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
        events=[_event(each) for each in said.events],
        dropped_events_count=said.dropped_events,
        links=[_link(each) for each in said.links],
        dropped_links_count=said.dropped_links,
        status=Status(code=_number(STATUSES, said.status), message=said.status_message),
    )


def log(said: records.Log) -> LogRecord:
    """The log message of a stored log record."""
    return LogRecord(
        time_unix_nano=said.timestamp,
        observed_time_unix_nano=said.observed_at,
        severity_number=said.severity,
        severity_text=said.severity_text,
        body=any_value(said.body),
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
        flags=said.flags,
        trace_id=bytes.fromhex(said.trace_id),
        span_id=bytes.fromhex(said.span_id),
        event_name=said.event_name,
    )


def resource(said: records.Resource) -> Resource:
    """The resource message of a stored resource; its schema is beside it in OTLP."""
    return Resource(
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
        entity_refs=[_entity(each) for each in said.entities],
    )


def scope(said: records.Scope) -> InstrumentationScope:
    """The scope message of a stored scope; its schema is beside it in OTLP."""
    return InstrumentationScope(
        name=said.name,
        version=said.version,
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
    )


def _number(known: dict[str, int], name: str) -> int:
    return known[name] if name in known else int(name)


def _event(said: records.Event) -> Span.Event:
    return Span.Event(
        time_unix_nano=said.at,
        name=said.name,
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
    )


def _link(said: records.Link) -> Span.Link:
    return Span.Link(
        trace_id=bytes.fromhex(said.trace_id),
        span_id=bytes.fromhex(said.span_id),
        trace_state=said.trace_state,
        attributes=attributes(said.attributes),
        dropped_attributes_count=said.dropped_attributes,
        flags=said.flags,
    )


def _entity(said: records.Entity) -> EntityRef:
    return EntityRef(
        schema_url=said.schema_url, type=said.type, id_keys=said.id_keys, description_keys=said.description_keys
    )
