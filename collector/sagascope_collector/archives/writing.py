"""Writes facts as OTLP in JSON, a request a line: what `reading` reads, and any OpenTelemetry collector. Pure."""

import math
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import orjson

from sagascope_collector.records import Attributes, Event, Link, Log, Resource, Scope, Span, Value

TOGETHER: Final = 500
"""Records on a line."""

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

Record = TypeVar("Record", Span, Log)
Json = dict[str, Any]


def lines(spans: Iterable[Span], logs: Iterable[Log]) -> Iterator[bytes]:
    """The lines of a file; each ends with a newline."""
    for part in _parts(spans):
        yield _line(part, _span, "resourceSpans", "scopeSpans", "spans")
    for of_logs in _parts(logs):
        yield _line(of_logs, _log, "resourceLogs", "scopeLogs", "logRecords")


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while part := list(islice(rest, TOGETHER)):
        yield part


def _line(records: Sequence[Record], spelt: Callable[[Record], Json], outer: str, inner: str, leaf: str) -> bytes:
    """One request: records that share a resource and a scope stand together."""
    resources: dict[Hashable, tuple[Resource, dict[Hashable, tuple[Scope, list[Json]]]]] = {}
    for each in records:
        _, scopes = resources.setdefault(_key(_resource(each.resource)), (each.resource, {}))
        _, leaves = scopes.setdefault(_key(_scope(each.scope)), (each.scope, []))
        leaves.append(spelt(each))
    told = [
        _without_nothing(
            {
                "resource": _resource(resource),
                "schemaUrl": resource.schema_url,
                inner: [
                    _without_nothing({"scope": _scope(scope), "schemaUrl": scope.schema_url, leaf: leaves})
                    for scope, leaves in scopes.values()
                ],
            }
        )
        for resource, scopes in resources.values()
    ]
    return orjson.dumps({outer: told}) + b"\n"


def _key(spelt: Json) -> bytes:
    return orjson.dumps(spelt)


def _resource(resource: Resource) -> Json:
    entities = [
        _without_nothing(
            {
                "schemaUrl": each.schema_url,
                "type": each.type,
                "idKeys": list(each.id_keys),
                "descriptionKeys": list(each.description_keys),
            }
        )
        for each in resource.entities
    ]
    return _without_nothing(
        {
            "attributes": _attributes(resource.attributes),
            "droppedAttributesCount": resource.dropped_attributes,
            "entityRefs": entities,
        }
    )


def _scope(scope: Scope) -> Json:
    return _without_nothing(
        {
            "name": scope.name,
            "version": scope.version,
            "attributes": _attributes(scope.attributes),
            "droppedAttributesCount": scope.dropped_attributes,
        }
    )


def _span(span: Span) -> Json:
    return _without_nothing(
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
            "status": _without_nothing({"message": span.status_message, "code": _number(STATUSES, span.status)}),
        }
    )


def _event(event: Event) -> Json:
    return _without_nothing(
        {
            "timeUnixNano": str(event.at),
            "name": event.name,
            "attributes": _attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes,
        }
    )


def _link(link: Link) -> Json:
    return _without_nothing(
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
    return _without_nothing(
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


def _without_nothing(fields: Json) -> Json:
    """Without what says nothing: an absent field means the same."""
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [], {})}


def _number(names: Sequence[str], name: str) -> int:
    """An enum's number; one that had no name is kept as its number."""
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
            return {"doubleValue": value if math.isfinite(value) else _name_of(value)}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": b64encode(value).decode("ascii")}
        case Mapping():
            return {"kvlistValue": {"values": _attributes(value)}}
        case _:
            return {"arrayValue": {"values": list(map(_value, value))}}


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
