"""Translates the traces that Grafana Tempo's and Jaeger's query APIs answer with into OTLP in JSON.

They are OTLP's messages in protobuf's own JSON form: ids in base64, enums by name, under `batches` or within an
envelope. Grafana saves the same with ids in hex, and older versions of Tempo name scopes `instrumentationLibrary`.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope_collector.archives.messages import objects

MAX_REQUEST_SPANS: Final = 5_000
"""A trace with more is sent as several requests."""

_ENVELOPES: Final = ("trace", "result")
_LISTS: Final = ("batches", "resourceSpans")
_KINDS: Final = dict(Span.SpanKind.items())
_STATUSES: Final = dict(Status.StatusCode.items())
_ID_BYTES: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def is_trace(document: dict[str, Any]) -> bool:
    """Returns whether a document is such an answer."""
    return "batches" in document or any(
        isinstance(inner := document.get(name), dict) and any(each in inner for each in _LISTS) for name in _ENVELOPES
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


def requests(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields requests in OTLP's JSON form. Changes the document."""
    trace = next((document[name] for name in _ENVELOPES if isinstance(document.get(name), dict)), document)
    part: list[dict[str, Any]] = []
    spans = 0
    for batch in (batch for name in _LISTS for batch in objects(trace.get(name))):
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
