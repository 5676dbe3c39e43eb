"""Encodes records as lines of OTLP JSON, which `reader` and any OpenTelemetry Collector can read."""

import math
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import orjson

from sagascope_collector.json_values import non_finite_name
from sagascope_collector.records import Attributes, Event, Link, Log, Resource, Scope, Span, Value

LINE_RECORDS: Final = 500

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

Record = TypeVar("Record", Span, Log)
Json = dict[str, Any]


def lines(spans: Iterable[Span], logs: Iterable[Log]) -> Iterator[bytes]:
    """Yields the lines of a file; each ends with a newline."""
    for part in _parts(spans):
        yield _line(part, _span, "resourceSpans", "scopeSpans", "spans")
    for of_logs in _parts(logs):
        yield _line(of_logs, _log, "resourceLogs", "scopeLogs", "logRecords")


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while part := list(islice(rest, LINE_RECORDS)):
        yield part


def _line(records: Sequence[Record], encode: Callable[[Record], Json], outer: str, inner: str, leaf: str) -> bytes:
    """Encodes one request, in which records are grouped by resource and scope."""
    resources: dict[Hashable, tuple[Resource, dict[Hashable, tuple[Scope, list[Json]]]]] = {}
    for each in records:
        _, scopes = resources.setdefault(orjson.dumps(_resource(each.resource)), (each.resource, {}))
        _, leaves = scopes.setdefault(orjson.dumps(_scope(each.scope)), (each.scope, []))
        leaves.append(encode(each))
    resource_records = [
        _without_defaults(
            {
                "resource": _resource(resource),
                "schemaUrl": resource.schema_url,
                inner: [
                    _without_defaults({"scope": _scope(scope), "schemaUrl": scope.schema_url, leaf: leaves})
                    for scope, leaves in scopes.values()
                ],
            }
        )
        for resource, scopes in resources.values()
    ]
    return orjson.dumps({outer: resource_records}) + b"\n"


def _resource(resource: Resource) -> Json:
    entities = [
        _without_defaults(
            {
                "schemaUrl": each.schema_url,
                "type": each.type,
                "idKeys": list(each.id_keys),
                "descriptionKeys": list(each.description_keys),
            }
        )
        for each in resource.entities
    ]
    return _without_defaults(
        {
            "attributes": _attributes(resource.attributes),
            "droppedAttributesCount": resource.dropped_attributes,
            "entityRefs": entities,
        }
    )


def _scope(scope: Scope) -> Json:
    return _without_defaults(
        {
            "name": scope.name,
            "version": scope.version,
            "attributes": _attributes(scope.attributes),
            "droppedAttributesCount": scope.dropped_attributes,
        }
    )


def _span(span: Span) -> Json:
    return _without_defaults(
        {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            "traceState": span.trace_state,
            "parentSpanId": span.parent_id,
            "flags": span.flags,
            "name": span.name,
            "kind": _number(KINDS, span.kind),
            "startTimeUnixNano": str(span.start),
            "endTimeUnixNano": str(span.end),
            "attributes": _attributes(span.attributes),
            "droppedAttributesCount": span.dropped_attributes,
            "events": list(map(_event, span.events)),
            "droppedEventsCount": span.dropped_events,
            "links": list(map(_link, span.links)),
            "droppedLinksCount": span.dropped_links,
            "status": _without_defaults({"message": span.status_message, "code": _number(STATUSES, span.status)}),
        }
    )


def _event(event: Event) -> Json:
    return _without_defaults(
        {
            "timeUnixNano": str(event.at),
            "name": event.name,
            "attributes": _attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes,
        }
    )


def _link(link: Link) -> Json:
    return _without_defaults(
        {
            "traceId": link.trace_id,
            "spanId": link.span_id,
            "traceState": link.trace_state,
            "attributes": _attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes,
            "flags": link.flags,
        }
    )


def _log(log: Log) -> Json:
    return _without_defaults(
        {
            "timeUnixNano": str(log.timestamp),
            "observedTimeUnixNano": str(log.observed_at),
            "severityNumber": log.severity,
            "severityText": log.severity_text,
            "body": None if log.body is None else _value(log.body),
            "attributes": _attributes(log.attributes),
            "droppedAttributesCount": log.dropped_attributes,
            "flags": log.flags,
            "traceId": log.trace_id,
            "spanId": log.span_id,
            "eventName": log.event_name,
        }
    )


def _without_defaults(fields: Json) -> Json:
    """Leaves out default values: an absent field means the same."""
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [], {})}


def _number(names: Sequence[str], name: str) -> int:
    """Returns the number of an enum value; a value without a name is its number as text."""
    return names.index(name) if name in names else int(name)


def _attributes(attributes: Attributes) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> Json:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if math.isfinite(value) else non_finite_name(value)}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": b64encode(value).decode("ascii")}
        case Mapping():
            return {"kvlistValue": {"values": _attributes(value)}}
        case _:
            return {"arrayValue": {"values": list(map(_value, value))}}
