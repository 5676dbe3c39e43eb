"""Tells spans, log records and metrics apart by what a message holds, since a file does not say it. Pure."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.errors import Undecodable


class Kind(StrEnum):
    """What a message holds."""

    SPANS = "spans"
    LOG_RECORDS = "log records"
    METRICS = "metrics"


_JSON: Final = (
    (Kind.SPANS, "resourceSpans", "scopeSpans", "spans"),
    (Kind.LOG_RECORDS, "resourceLogs", "scopeLogs", "logRecords"),
    (Kind.METRICS, "resourceMetrics", "scopeMetrics", "metrics"),
)
_PROTOBUF: Final[Mapping[Kind, tuple[Any, str, str, str]]] = {
    Kind.SPANS: (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    Kind.LOG_RECORDS: (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
    Kind.METRICS: (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
}

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
TRACE_ID, SPAN_ID = 16, 8


def in_json(body: bytes) -> dict[Kind, int]:
    """How many records of each kind a request in JSON holds; empty: it is an empty one.

    Raises:
        Undecodable: it is no OTLP in JSON.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"This is no JSON: {error}.") from error
    if not isinstance(found, dict) or (found and not any(name in found for _, name, *_ in _JSON)):
        names = ", ".join(name for _, name, *_ in _JSON)
        raise Undecodable(f"This is no OTLP: it is no object with one of {names}.")
    return {kind: _counted(found[name], inner, leaf) for kind, name, inner, leaf in _JSON if name in found}


def in_protobuf(body: bytes) -> dict[Kind, int]:
    """Likewise for a request in protobuf.

    Raises:
        Undecodable: it is none.
    """
    if not body:
        return {}
    try:
        kind = _kind(_first_record(body))
        message, outer, inner, leaf = _PROTOBUF[kind]
        request = message.FromString(body)
    except (DecodeError, ValueError) as error:
        raise Undecodable("This is no OTLP in protobuf.") from error
    return {kind: sum(len(getattr(scope, leaf)) for of in getattr(request, outer) for scope in getattr(of, inner))}


def _counted(resources: Any, inner: str, leaf: str) -> int:
    """Records in a list of resources; what is not as it should be is left for the collector to refuse."""
    scopes = (scope for of in _objects(resources) for scope in _objects(of.get(inner)))
    return sum(len(records) for scope in scopes if isinstance(records := scope.get(leaf), list))


def _objects(found: Any) -> Iterator[dict[str, Any]]:
    return (each for each in found if isinstance(each, dict)) if isinstance(found, list) else iter(())


def _first_record(body: bytes) -> bytes:
    """The first record of the first scope that has one; empty: there is none.

    Raises:
        ValueError: this is no protobuf.
    """
    resources = (part for number, wire, part in _fields(body) if (number, wire) == (1, LENGTH))
    scopes = (part for of in resources for number, wire, part in _fields(of) if (number, wire) == (2, LENGTH))
    records = (part for scope in scopes for number, wire, part in _fields(scope) if (number, wire) == (2, LENGTH))
    return next(records, b"")


def _kind(record: bytes) -> Kind:
    """What a record is: spans begin and end in fields that others have not, log records have times or severities."""
    seen = {(number, wire): len(part) for number, wire, part in _fields(record)}
    if (7, FIXED64) in seen or (seen.get((1, LENGTH)) == TRACE_ID and seen.get((2, LENGTH)) == SPAN_ID):
        return Kind.SPANS
    if seen.keys() & {(1, FIXED64), (11, FIXED64), (2, VARINT), (8, FIXED32)} or (1, LENGTH) not in seen:
        return Kind.LOG_RECORDS if record else Kind.SPANS
    return Kind.METRICS


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and content of each field; numbers and fixed ones without content."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire, start = tag >> 3, tag & 7, place
        if wire == LENGTH:
            size, start = _varint(message, place)
            place = start + size
        elif wire == VARINT:
            _, place = _varint(message, place)
        elif wire in {FIXED64, FIXED32}:
            place += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(wire)
        if place > len(message):
            raise ValueError(place)
        yield number, wire, message[start:place] if wire == LENGTH else b""


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:  # bits
        byte = message[place]
        value, place, shift = value | (byte & 0x7F) << shift, place + 1, shift + 7
        if byte < 0x80:  # the last one
            return value, place
    raise ValueError(place)
