"""Recognises the JSON documents of a file: requests, traces of another system, or something that is not supported.

Traces that the query APIs of Grafana Tempo and Jaeger answer with are OTLP's messages in protobuf's own JSON form: ids
in base64, enums by name, under `batches` or within an envelope. Grafana saves the same with ids in hex, and older
versions of Tempo name scopes `instrumentationLibrary`.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope_collector.archives import jaeger
from sagascope_collector.archives.documents import JSON_FIELDS, Document, Message, Unreadable, counts_of_json, objects
from sagascope_collector.errors import Undecodable

MAX_NAMED_KEYS: Final = 5
MAX_KEY_CHARACTERS: Final = 40

_OTLP_NAMES: Final = frozenset(name for _, name, *_ in JSON_FIELDS)

_PROMETHEUS: Final = (
    "This is a Prometheus or metrics export: Sagascope stores spans and log records, and no metrics. Keep it in "
    "Prometheus, and import the traces of the same time."
)
_TEMPORAL: Final = (
    "This is a Temporal history: use `sagascope bridge temporal`, which follows the workflows themselves."
)
_ZIPKIN: Final = (
    "This is a list of Zipkin spans: send it to the `zipkin` receiver of an OpenTelemetry Collector, and import what "
    "its `file` exporter writes."
)
_TEMPO_SEARCH: Final = (
    "This is the result of a search in Tempo, which holds no spans: import what /api/traces/ID answers for each trace."
)
_JAEGER_ERROR: Final = "This is an answer of Jaeger without a trace: it reports errors, or the trace was not found."

_METRIC_LINE: Final = re.compile(
    rb"#\s(?:HELP|TYPE|UNIT|EOF)\b|[a-zA-Z_:][\w:]*(?:\{[^{}\n]*\})?\s+[-+\d.][\d.eE+-]*(?:\s|$)"
)


def messages(document: Document) -> Iterator[Message | Unreadable]:
    """Yields the requests that a document holds, in OTLP; or the reason for which there are none."""
    number, value = document.number, document.value
    if isinstance(value, dict) and (not value or not _OTLP_NAMES.isdisjoint(value)):
        if _has_base64_ids(value):
            yield from _translated(number, {"trace": value})
        else:
            yield Message(number, json=True, body=document.body, counts=counts_of_json(value))
    elif _is_list_of_documents(value):
        for each in value:
            yield from messages(Document(number, orjson.dumps(each), each))
    else:
        yield from _translated(number, value)


def _is_list_of_documents(value: Any) -> bool:
    is_list = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return is_list and jaeger.traces(value) is None and _unsupported(value) is None


def _translated(number: int, value: Any) -> Iterator[Message | Unreadable]:
    if isinstance(value, dict) and _is_tempo_trace(value):
        for request in _tempo_requests(value):
            yield _message(number, request)
    elif traces := jaeger.traces(value):
        for each in (each for trace in traces for each in jaeger.requests(trace)):
            yield Unreadable(number, str(each), records=1) if isinstance(each, Undecodable) else _message(number, each)
    else:
        yield Unreadable(number, _unsupported(value) or f"This is not recognised: {_described(value)}.")


def _message(number: int, request: dict[str, Any]) -> Message:
    return Message(number, json=True, body=orjson.dumps(request), counts=counts_of_json(request))


def unsupported_text(start: bytes) -> str | None:
    """Returns what to do with a file that is not JSON but known, by its first bytes."""
    return _PROMETHEUS if _METRIC_LINE.match(start.lstrip()) else None


def _unsupported(value: Any) -> str | None:
    """Returns what to do with a document that is known and not supported."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return None
    if _is_temporal(first):
        return _TEMPORAL
    if isinstance(value, list):
        return _ZIPKIN if first.keys() >= {"traceId", "id"} else None
    data = first.get("data")
    if "status" in first and isinstance(data, dict | list) and (isinstance(data, list) or "resultType" in data):
        return _PROMETHEUS
    if "data" in first and "errors" in first and not data:
        return _JAEGER_ERROR
    found = first.get("traces")
    if isinstance(found, list) and all(isinstance(each, dict) and "rootTraceName" in each for each in found):
        return _TEMPO_SEARCH
    return None


def _is_temporal(value: dict[str, Any]) -> bool:
    """Returns whether this is a history or one of its events, as `temporal workflow show` and the web UI write them."""
    inner = value.get("history")
    events = (inner if isinstance(inner, dict) else value).get("events")
    event = events[0] if isinstance(events, list) and events else value
    return isinstance(event, dict) and event.keys() >= {"eventId", "eventType"}


def _described(value: Any) -> str:
    """Returns what a document begins with: the keys, never a value."""
    if isinstance(value, list):
        return f"a list of {_described(value[0])}" if value and not isinstance(value[0], list) else "a list"
    if not isinstance(value, dict):
        return "a value that is not an object"
    keys = [each[:MAX_KEY_CHARACTERS] for each in value][:MAX_NAMED_KEYS]
    return f"an object with the keys {', '.join(keys)}{', ...' if len(value) > len(keys) else ''}"


_ENVELOPES: Final = ("trace", "result")
_LISTS: Final = ("batches", "resourceSpans")
_KINDS: Final = dict(Span.SpanKind.items())
_STATUSES: Final = dict(Status.StatusCode.items())
_ID_BYTES: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def _is_tempo_trace(document: dict[str, Any]) -> bool:
    """Returns whether a document is an answer of Tempo or of Jaeger's newer query API."""
    return "batches" in document or any(
        isinstance(inner := document.get(name), dict) and any(each in inner for each in _LISTS) for name in _ENVELOPES
    )


def _has_base64_ids(request: dict[str, Any]) -> bool:
    """Returns whether the first span of an OTLP request has an id in base64: one cut out of an answer."""
    spans = (
        span
        for resource in objects(request.get("resourceSpans"))
        for scope in objects(resource.get("scopeSpans"))
        for span in objects(scope.get("spans"))
    )
    trace_id = next(spans, {}).get("traceId")
    return isinstance(trace_id, str) and len(trace_id.rstrip("=")) == 22  # 16 bytes, in characters


def _tempo_requests(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields requests in OTLP's JSON form. Changes the document."""
    trace = next((document[name] for name in _ENVELOPES if isinstance(document.get(name), dict)), document)
    part: list[dict[str, Any]] = []
    spans = 0
    for batch in (batch for name in _LISTS for batch in objects(trace.get(name))):
        size = _translate_batch(batch)
        if part and spans + size > jaeger.MAX_REQUEST_SPANS:
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
            _translate_enum(span, "kind", _KINDS)
            if isinstance(status := span.get("status"), dict):
                _translate_enum(status, "code", _STATUSES)
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
