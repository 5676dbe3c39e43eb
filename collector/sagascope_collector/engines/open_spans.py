"""Formats for open spans: the log records of otel-partial, and Logfire's pending spans.

A record of otel-partial carries an open span and announces how often it is sent. The span is in the body: OTLP's
TracesData, in protobuf as base64, or in JSON with hexadecimal ids and enums as names. A body that cannot be read is
ignored; the record is stored as an ordinary log record. Pure.
"""

import binascii
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from sagascope_collector.records import Attributes, Event, Log, Span, Value

PARTIAL_EVENT: Final = "partial.event"
FREQUENCY: Final = "partial.frequency"
BODY_TYPE: Final = "partial.body.type"
HEARTBEAT, STOP = "heartbeat", "stop"
JSON: Final = "json/v1"

FREQUENCY_FORMAT: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m)?\s*")
"""The format in otel-partial's specification: a number without a unit counts milliseconds."""
SECONDS_BY_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 0.001}

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

MAX_BODY_CHARACTERS: Final = 4 * 1024 * 1024
"""A larger body is not read."""
MAX_VALUE_DEPTH: Final = 32
"""Deeper levels of an attribute's value are not read."""
MAX_TIME_NS: Final = 2**63
"""The exclusive upper bound of a valid time, in nanoseconds."""

JSON_IDS: Final = ("traceId", "spanId", "parentSpanId")
"""Hexadecimal in OTLP's JSON, base64 in protobuf's own JSON mapping."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The content of an otel-partial log record."""

    is_stop: bool
    interval: float | None
    """Seconds until the next record; None if unknown."""
    span: trace_pb2.Span | None
    """The span in the body; None if it cannot be read."""

    @property
    def attributes(self) -> Attributes:
        """The span's attributes."""
        return _attributes(self.span.attributes) if self.span else {}

    @property
    def name(self) -> str:
        """The span's name."""
        return self.span.name if self.span else ""


def is_partial(attributes: Attributes) -> bool:
    """Returns whether a log record with these attributes is an otel-partial record."""
    return attributes.get(PARTIAL_EVENT) in (HEARTBEAT, STOP)


def parse_partial(attributes: Attributes, body: Value) -> Partial:
    """Parses an otel-partial record. Never raises."""
    return Partial(
        is_stop=attributes.get(PARTIAL_EVENT) == STOP,
        interval=_seconds(attributes.get(FREQUENCY)),
        span=_span(body, attributes.get(BODY_TYPE) == JSON),
    )


def open_span(log: Log) -> Span | None:
    """Returns the span in a record, open or ended; None if its body cannot be read."""
    partial = parse_partial(log.attributes, log.body)
    span = partial.span
    if span is None:
        return None
    trace_id, span_id = _hex_id(span.trace_id, 16), _hex_id(span.span_id, 8)
    if not (trace_id and span_id):
        return None
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_hex_id(span.parent_span_id, 8),
        name=partial.name,
        kind=_name(span.kind, KINDS),
        start=_time_ns(span.start_time_unix_nano) or log.at,
        end=(_time_ns(span.end_time_unix_nano) or log.at) if partial.is_stop else 0,
        status=_name(span.status.code, STATUSES) if partial.is_stop else "unset",
        status_message=span.status.message,
        mark=log.mark,
        process=log.process,
        attributes=partial.attributes,
        events=tuple(
            Event(each.name, _time_ns(each.time_unix_nano), _attributes(each.attributes)) for each in span.events
        ),
        resource=log.resource,
        scope=log.scope,
    )


def _seconds(value: Value) -> float | None:
    found = FREQUENCY_FORMAT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    seconds = float(found[1]) * SECONDS_BY_UNIT[found[2]]
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _span(body: Value, is_json: bool) -> trace_pb2.Span | None:
    if not isinstance(body, str) or len(body) > MAX_BODY_CHARACTERS:
        return None
    return _span_from_json(body) if is_json or body.lstrip().startswith("{") else _span_from_protobuf(body)


def _span_from_json(body: str) -> trace_pb2.Span | None:
    try:
        resources = orjson.loads(body)["resourceSpans"]
        span: dict[str, Any] = next(
            span for each in resources for scope in each["scopeSpans"] for span in scope["spans"]
        )
        ids = {name: b64encode(bytes.fromhex(span[name])).decode() for name in JSON_IDS if span.get(name)}
        # links have hexadecimal ids as well, and nothing reads them
        return ParseDict({**span, **ids, "links": []}, trace_pb2.Span(), ignore_unknown_fields=True)
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration, ParseError):
        return None


def _span_from_protobuf(body: str) -> trace_pb2.Span | None:
    try:
        data = trace_pb2.TracesData.FromString(b64decode(body, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None
    return next((span for each in data.resource_spans for scope in each.scope_spans for span in scope.spans), None)


def _hex_id(value: bytes, size: int) -> str:
    return value.hex() if len(value) == size and any(value) else ""


def _time_ns(value: int) -> int:
    return value if value < MAX_TIME_NS else 0


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value, 0) for pair in pairs if pair.key}


def _value(value: AnyValue, depth: int) -> Value:
    match kind := value.WhichOneof("value"):
        case "array_value" if depth < MAX_VALUE_DEPTH:
            return [_value(each, depth + 1) for each in value.array_value.values]
        case "kvlist_value" if depth < MAX_VALUE_DEPTH:
            return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
        case "string_value" | "bool_value" | "int_value" | "double_value" | "bytes_value":
            known: Value = getattr(value, kind)
            return known
    return None


SPAN_TYPE: Final = "logfire.span_type"
PENDING_SPAN: Final = "pending_span"
PENDING_PARENT_ID: Final = "logfire.pending_parent_id"
NO_PARENT: Final = "0" * 16


def is_pending(span: Span) -> bool:
    """Returns whether this span only announces the start of its parent."""
    return span.attributes.get(SPAN_TYPE) == PENDING_SPAN and span.parent_id != ""


def in_flight(pending: Span) -> Span:
    """Returns the open span that a pending span announces."""
    above = pending.attributes.get(PENDING_PARENT_ID)
    parent = above.lower() if isinstance(above, str) and above != NO_PARENT else ""
    attributes = {key: value for key, value in pending.attributes.items() if key not in (SPAN_TYPE, PENDING_PARENT_ID)}
    return replace(pending, span_id=pending.parent_id, parent_id=parent, end=0, attributes=attributes, status="unset")
