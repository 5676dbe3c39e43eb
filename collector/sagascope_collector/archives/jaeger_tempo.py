"""Translates traces in the JSON of Jaeger and of Grafana Tempo, of their UIs and query APIs, into OTLP in JSON.

Traces that the query APIs of Tempo and of newer versions of Jaeger answer with are OTLP's messages in protobuf's own
JSON form: ids in base64, enums by name, under `batches` or within an envelope. Grafana saves the same with ids in hex,
and older versions of Tempo name scopes `instrumentationLibrary`.

Of Jaeger's own form, what OpenTelemetry adds to a span is moved back to its own fields: the kind, status, scope and
trace state that Jaeger keeps as tags. The mapping is that of OpenTelemetry's specification ("OpenTelemetry to Jaeger
Transformation" and "Mapping to non-OTLP formats") and of its OpenTracing compatibility, read in reverse.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope import semconv
from sagascope_collector.archives.documents import objects
from sagascope_collector.errors import Undecodable

MAX_REQUEST_SPANS: Final = 5_000
"""A trace with more is sent as several requests."""

NANOSECONDS_PER_MICROSECOND: Final = 1_000
UINT64: Final = 2**64
INT64: Final = 2**63

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES: Final = {"ok": 1, "error": 2}
_DROPPED: Final = {
    "otel.dropped_attributes_count": "droppedAttributesCount",
    "otel.dropped_events_count": "droppedEventsCount",
    "otel.dropped_links_count": "droppedLinksCount",
}
_OPENTRACING_ERROR: Final = {
    "error.kind": "exception.type",
    "message": "exception.message",
    "stack": "exception.stacktrace",
}
_NO_SERVICE: Final = "OTLPResourceNoServiceName"
"""What OpenTelemetry's exporters write for a resource without a service."""

_LISTS: Final = frozenset(
    {
        semconv.STEP_RESOURCES,
        semconv.PLAN,
        semconv.PLAN_COMPENSATIONS,
        semconv.PLAN_TIMEOUTS,
        semconv.PLAN_AFTER,
        semconv.PLAN_OPTIONAL,
        semconv.SCRUBBED,
        semconv.MAPPED,
    }
)
"""Attributes that are lists. Jaeger has no lists: such a tag is a text in JSON."""

Json = dict[str, Any]
Tags = dict[str, Any]
"""Encoded values by key."""


def jaeger_traces(document: Any) -> list[Json] | None:
    """Returns the traces of a document: an answer of the API, a trace, or a list of traces; None if it is neither."""
    found = document.get("data") if isinstance(document, dict) and "data" in document else document
    listed: list[Any] = found if isinstance(found, list) else [found]
    is_jaeger = listed and all(isinstance(each, dict) and {"spans", "processes"} <= each.keys() for each in listed)
    return listed if is_jaeger else None


def jaeger_requests(trace: Json) -> Iterator[Json | Undecodable]:
    """Yields requests in OTLP's JSON form, and an error for each span that cannot be translated."""
    processes = trace["processes"] if isinstance(trace["processes"], dict) else {}
    rest = iter(trace["spans"] if isinstance(trace["spans"], list) else [])
    while spans := list(islice(rest, MAX_REQUEST_SPANS)):
        resources: dict[bytes, tuple[Json, dict[bytes, Json]]] = {}
        for span in spans:
            try:
                scope, translated = _translate(span)
                resource = _resource(processes.get(span.get("processID")) or span.get("process"))
            except (Undecodable, AttributeError, TypeError, ValueError, KeyError) as error:
                reason = str(error) if isinstance(error, Undecodable) else "a field is missing or has a wrong type"
                yield Undecodable(f"A span cannot be read: {reason}.")
                continue
            _, scopes = resources.setdefault(orjson.dumps(resource), (resource, {}))
            scopes.setdefault(orjson.dumps(scope), {"scope": scope, "spans": []})["spans"].append(translated)
        if resources:
            yield {
                "resourceSpans": [
                    {"resource": resource, "scopeSpans": list(scopes.values())}
                    for resource, scopes in resources.values()
                ]
            }


def _resource(process: Any) -> Json:
    process = process if isinstance(process, dict) else {}
    tags = _tags(process.get("tags"))
    name = process.get("serviceName")
    if isinstance(name, str) and name and name != _NO_SERVICE:
        tags = {"service.name": {"stringValue": name}} | tags
    return {"attributes": _attributes(tags)}


def _translate(span: Json) -> tuple[Json, Json]:
    """Returns the scope and the span.

    Raises:
        Undecodable: the span has no time. Other errors: a field has a wrong type.
    """
    tags = _tags(span.get("tags"))
    trace_id, span_id = _id(span["traceID"], 16), _id(span["spanID"], 8)
    start, duration = _integer(span, "startTime"), _integer(span, "duration")
    end = start + duration if duration < INT64 else max(start + duration - UINT64, 0)
    parent, links = _references(span, trace_id)
    tags.pop("internal.span.format", None)
    translated: Json = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent,
        "traceState": _text(tags.pop("w3c.tracestate", None)),
        "flags": int(span.get("flags") or 0) & 1,  # sampled; the others are Jaeger's own
        "name": str(span.get("operationName") or ""),
        "kind": _KINDS.get(_text(tags.get("span.kind")).lower(), 0),
        "startTimeUnixNano": str(start * NANOSECONDS_PER_MICROSECOND),
        # a span without an end has a negative duration, to one microsecond
        "endTimeUnixNano": str(end * NANOSECONDS_PER_MICROSECOND if end > 1 else 0),
        "status": _status(tags),
        "events": [_event(log) for log in objects(span.get("logs"))],
        "links": links,
    }
    if translated["kind"]:
        del tags["span.kind"]
    elif "span.kind" not in tags:
        translated["kind"] = _KINDS["internal"]  # is written without a tag
    for key, field in _DROPPED.items():
        translated[field] = int(tags.pop(key, {}).get("intValue", 0))
    scope = {"name": _scope_part(tags, "name"), "version": _scope_part(tags, "version")}
    translated["attributes"] = _attributes(tags)
    return scope, translated


def _scope_part(tags: Tags, part: str) -> str:
    older = _text(tags.pop(f"otel.library.{part}", None))
    return _text(tags.pop(f"otel.scope.{part}", None)) or older


def _references(span: Json, trace_id: str) -> tuple[str, list[Json]]:
    """Returns the parent, and links for all other references."""
    parent = span.get("parentSpanID") or ""  # of older versions
    parent = _id(parent, 8) if parent else ""
    links = []
    for each in objects(span.get("references")):
        of_trace, of_span = _id(each["traceID"], 16), _id(each["spanID"], 8)
        is_child = each.get("refType") == "CHILD_OF"
        if is_child and of_trace == trace_id and parent in {"", of_span}:
            parent = of_span
            continue
        link: Json = {"traceId": of_trace, "spanId": of_span}
        if is_child:
            link["attributes"] = _attributes({"opentracing.ref_type": {"stringValue": "child_of"}})
        links.append(link)
    return parent if parent.strip("0") else "", links


def _status(tags: Tags) -> Json:
    message = _text(tags.pop("otel.status_description", None))
    code = _STATUSES.get(_text(tags.get("otel.status_code")).lower(), 0)
    if code:
        del tags["otel.status_code"]
    error = tags.get("error")
    if error in ({"boolValue": True}, {"stringValue": "true"}, {"boolValue": False}, {"stringValue": "false"}):
        code = code or (_STATUSES["error"] if error in ({"boolValue": True}, {"stringValue": "true"}) else 0)
        del tags["error"]
    return {"code": code, "message": message}


def _event(log: Json) -> Json:
    fields = _tags(log.get("fields"))
    name = _text(fields.get("event"))
    if name:
        del fields["event"]
    if name == "error":
        name = "exception"
        fields = {_OPENTRACING_ERROR.get(key, key): value for key, value in fields.items()}
    at = _integer(log, "timestamp") * NANOSECONDS_PER_MICROSECOND
    return {"timeUnixNano": str(at), "name": name, "attributes": _attributes(fields)}


def _id(value: Any, size: int) -> str:
    """Returns an id in hex; older versions leave out leading zeros."""
    if not isinstance(value, str):
        raise Undecodable("an id is not text")
    return value.lower().rjust(2 * size, "0")


def _integer(record: Json, name: str) -> int:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Undecodable(f"{name} is not a number of microseconds")
    return value


def _text(value: Json | None) -> str:
    return value.get("stringValue", "") if value else ""


def _tags(tags: Any) -> Tags:
    """Returns encoded values by key. If a key occurs several times, the last one counts."""
    return {str(each.get("key")): _value(each) for each in objects(tags)}


def _value(tag: Json) -> Json:
    """Encodes the value of a tag; as text where it does not fit the type of the tag."""
    kind, value = tag.get("type"), tag.get("value")
    if tag.get("key") in _LISTS and isinstance(value, str) and (items := _list(value)) is not None:
        values = map(float, items) if tag["key"] == semconv.PLAN_TIMEOUTS else items
        return {"arrayValue": {"values": [_plain(each) for each in values]}}
    try:
        match kind:
            case "int64" if -INT64 <= int(value) < INT64:  # type: ignore[arg-type]
                return {"intValue": str(int(value))}  # type: ignore[arg-type]  # beyond 53 bits it is text
            case "float64":
                return {"doubleValue": float(value)}  # type: ignore[arg-type]
            case "bool" if value in {"true", "false"}:
                return {"boolValue": value == "true"}
            case "binary" if isinstance(value, str):
                return {"bytesValue": value}
    except (ValueError, TypeError):
        pass
    return _plain(value)


def _plain(value: Any) -> Json:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int() if -INT64 <= value < INT64:
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"stringValue": orjson.dumps(value).decode()}


def _list(text: str) -> list[Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, list) else None


def _attributes(tags: Tags) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


_ENVELOPES: Final = ("trace", "result")
_BATCH_LISTS: Final = ("batches", "resourceSpans")
_KIND_NUMBERS: Final = dict(Span.SpanKind.items())
_STATUS_NUMBERS: Final = dict(Status.StatusCode.items())
_ID_BYTES: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def is_tempo_trace(document: dict[str, Any]) -> bool:
    """Returns whether a document is an answer of Tempo or of Jaeger's newer query API."""
    return "batches" in document or any(
        isinstance(inner := document.get(name), dict) and any(each in inner for each in _BATCH_LISTS)
        for name in _ENVELOPES
    )


def has_base64_ids(request: dict[str, Any]) -> bool:
    """Returns whether the first span of an OTLP request has an id in base64: one cut out of an answer."""
    spans = (
        span
        for resource in objects(request.get("resourceSpans"))
        for scope in objects(resource.get("scopeSpans"))
        for span in objects(scope.get("spans"))
    )
    trace_id = next(spans, {}).get("traceId")
    return isinstance(trace_id, str) and len(trace_id.rstrip("=")) == 22  # 16 bytes, in characters


def tempo_requests(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields requests in OTLP's JSON form. Changes the document."""
    trace = next((document[name] for name in _ENVELOPES if isinstance(document.get(name), dict)), document)
    part: list[dict[str, Any]] = []
    spans = 0
    for batch in (batch for name in _BATCH_LISTS for batch in objects(trace.get(name))):
        size = _translate_batch(batch)
        if part and spans + size > MAX_REQUEST_SPANS:
            yield {"resourceSpans": part}
            part, spans = [], 0
        part.append(batch)
        spans += size
    if part:
        yield {"resourceSpans": part}


def _translate_batch(batch: dict[str, Any]) -> int:
    """Translates a batch in place; returns its number of spans."""
    size = 0
    batch.setdefault("scopeSpans", batch.pop("instrumentationLibrarySpans", []))
    for scope in objects(batch["scopeSpans"]):
        if "instrumentationLibrary" in scope:
            scope["scope"] = scope.pop("instrumentationLibrary")
        for span in objects(scope.get("spans")):
            size += 1
            _translate_ids(span)
            for link in objects(span.get("links")):
                _translate_ids(link)
            _translate_enum(span, "kind", _KIND_NUMBERS)
            if isinstance(status := span.get("status"), dict):
                _translate_enum(status, "code", _STATUS_NUMBERS)
    return size


def _translate_ids(record: dict[str, Any]) -> None:
    for name, size in _ID_BYTES.items():
        value = record.get(name)
        if isinstance(value, str):
            record[name] = _hex(value, size)


def _translate_enum(record: dict[str, Any], field: str, numbers: Mapping[str, int]) -> None:
    if isinstance(value := record.get(field), str):
        record[field] = numbers.get(value, value)


def _hex(value: str, size: int) -> str:
    """Returns an id in hex, "" for zeros; unchanged if it is neither base64 nor hex."""
    try:
        content = b64decode(value + "=" * (-len(value) % 4), validate=True)
        if len(content) != size:
            content = bytes.fromhex(value.rjust(2 * size, "0"))
    except ValueError:
        return value
    return content.hex() if any(content) else ""
