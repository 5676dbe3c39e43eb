"""otel-partial: log records that carry an open span and announce how often they are sent.

The span is in the body: OTLP's TracesData, in protobuf as base64, or in JSON with hexadecimal ids and enums as names. A
body that cannot be read is ignored; the record is stored as an ordinary log record. Pure.
"""

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1 import trace_pb2

from sagascope_collector.records import Attributes, Event, Log, Span, Value

EVENT: Final = "partial.event"
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


@dataclass(frozen=True, slots=True)
class Partial:
    """The content of an otel-partial log record."""

    is_stop: bool
    interval: float | None
    """Seconds until the next record; None if unknown."""
    span: Mapping[str, Any] | None
    """The span in the body, as OTLP/JSON; None if it cannot be read."""

    @property
    def attributes(self) -> Attributes:
        """The span's attributes."""
        return _attributes(self.span.get("attributes")) if self.span else {}

    @property
    def name(self) -> str:
        """The span's name."""
        return _text(self.span.get("name")) if self.span else ""


def is_partial(attributes: Attributes) -> bool:
    """Returns whether a log record with these attributes is an otel-partial record."""
    return attributes.get(EVENT) in (HEARTBEAT, STOP)


def parse(attributes: Attributes, body: Value) -> Partial:
    """Parses an otel-partial record. Never raises."""
    return Partial(
        is_stop=attributes.get(EVENT) == STOP,
        interval=_seconds(attributes.get(FREQUENCY)),
        span=_span(body, attributes.get(BODY_TYPE) == JSON),
    )


def open_span(log: Log) -> Span | None:
    """Returns the span in a record, open or ended; None if its body cannot be read."""
    partial = parse(log.attributes, log.body)
    span = partial.span
    if span is None:
        return None
    trace_id, span_id = _hex_id(span.get("traceId"), 32), _hex_id(span.get("spanId"), 16)
    if not (trace_id and span_id):
        return None
    status = _mapping(span.get("status"))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_hex_id(span.get("parentSpanId"), 16),
        name=partial.name,
        kind=_enum(span.get("kind"), KINDS),
        start=_time_ns(span.get("startTimeUnixNano")) or log.at,
        end=(_time_ns(span.get("endTimeUnixNano")) or log.at) if partial.is_stop else 0,
        status=_enum(status.get("code"), STATUSES) if partial.is_stop else "unset",
        status_message=_text(status.get("message")),
        mark=log.mark,
        process=log.process,
        attributes=partial.attributes,
        events=_events(span.get("events")),
        resource=log.resource,
        scope=log.scope,
    )


def _seconds(value: Value) -> float | None:
    found = FREQUENCY_FORMAT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    seconds = float(found[1]) * SECONDS_BY_UNIT[found[2]]
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _span(body: Value, is_json: bool) -> Mapping[str, Any] | None:
    if not isinstance(body, str) or len(body) > MAX_BODY_CHARACTERS:
        return None
    return _span_from_json(body) if is_json or body.lstrip().startswith("{") else _span_from_protobuf(body)


def _span_from_json(body: str) -> Mapping[str, Any] | None:
    try:
        data = _mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
    for resource_spans in _mappings(data.get("resourceSpans")):
        for scope_spans in _mappings(resource_spans.get("scopeSpans")):
            for span in _mappings(scope_spans.get("spans")):
                return span
    return None


def _span_from_protobuf(body: str) -> Mapping[str, Any] | None:
    try:
        data = trace_pb2.TracesData.FromString(b64decode(body, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None
    scopes = (scope for resource in data.resource_spans for scope in resource.scope_spans)
    return next((_as_otlp_json(span) for scope in scopes for span in scope.spans), None)


def _as_otlp_json(span: trace_pb2.Span) -> Mapping[str, Any]:
    """Returns a span as OTLP/JSON, whose ids are hexadecimal, unlike those of protobuf's JSON mapping."""
    fields: dict[str, Any] = MessageToDict(span)
    ids = {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex(), "parentSpanId": span.parent_span_id.hex()}
    return fields | ids


def _mapping(value: Any) -> Mapping[str, Any]:
    """Returns the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Returns the mappings in a list."""
    return map(_mapping, value if isinstance(value, list) else ())


def _text(value: Any) -> str:
    """Returns the value if it is text, else ``""``."""
    return value if isinstance(value, str) else ""


def _hex_id(value: Any, length: int) -> str:
    text = _text(value).lower()
    return text if len(text) == length and set(text) <= set("0123456789abcdef") and set(text) != {"0"} else ""


def _time_ns(value: Any) -> int:
    """Returns nanoseconds from a number or its digits; 0 if the value is invalid."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(MAX_TIME_NS)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_TIME_NS else 0


def _enum(value: Any, names: Sequence[str]) -> str:
    """Returns an enum's value from its number or its name (``SPAN_KIND_SERVER``, ``SERVER``); else the first one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else names[0]
    name = _text(value).rpartition("_")[2].lower()
    return name if name in names else names[0]


def _events(value: Any) -> tuple[Event, ...]:
    """Reads a list of ``{"name": ..., "timeUnixNano": ..., "attributes": [...]}``."""
    return tuple(
        Event(_text(event.get("name")), _time_ns(event.get("timeUnixNano")), _attributes(event.get("attributes")))
        for event in _mappings(value)
    )


def _attributes(value: Any) -> dict[str, Value]:
    """Reads a list of ``{"key": ..., "value": {...}}``."""
    return {pair["key"]: _any_value(pair.get("value"), 0) for pair in _mappings(value) if _text(pair.get("key"))}


def _any_value(value: Any, depth: int) -> Value:
    """Reads an AnyValue, such as ``{"stringValue": ...}``."""
    for kind, content in _mapping(value).items():
        match kind:
            case "stringValue" | "bytesValue":
                return _text(content)
            case "boolValue":
                return content is True
            case "intValue":
                return _integer(content)
            case "doubleValue":
                return _number(content)
            case "arrayValue" if depth < MAX_VALUE_DEPTH:
                return [_any_value(each, depth + 1) for each in _mappings(_mapping(content).get("values"))]
            case "kvlistValue" if depth < MAX_VALUE_DEPTH:
                pairs = _mappings(_mapping(content).get("values"))
                return {_text(pair.get("key")): _any_value(pair.get("value"), depth + 1) for pair in pairs}
    return None


def _integer(content: Any) -> int | None:
    try:
        is_short = isinstance(content, str | int) and len(str(content)) <= len(str(MAX_TIME_NS))
        return int(content) if is_short else None
    except ValueError:
        return None


def _number(content: Any) -> float | None:
    try:
        number = float(content) if isinstance(content, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
