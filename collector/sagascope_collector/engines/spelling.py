"""Reads a span as OTLP spells it in JSON, where nothing can be relied on. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1 import trace_pb2

from sagascope_collector.records import Event, Value

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

DEEPEST: Final = 32
"""Levels of a value that are read."""

LATEST: Final = 2**63
"""Nanoseconds: a later moment is none."""


def of_protobuf(span: trace_pb2.Span) -> Mapping[str, Any]:
    """A span's message in that spelling."""
    said: dict[str, Any] = MessageToDict(span)
    ids = {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex(), "parentSpanId": span.parent_span_id.hex()}
    return said | ids


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, where it is a mapping."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> Iterator[Mapping[str, Any]]:
    """The mappings in a list."""
    return map(mapping, value if isinstance(value, list) else ())


def text(value: Any) -> str:
    """The value, where it is text."""
    return value if isinstance(value, str) else ""


def moment(value: Any) -> int:
    """Nanoseconds, as a number or its digits; 0 where there are none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(LATEST)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < LATEST else 0


def enum(value: Any, names: Sequence[str]) -> str:
    """A value by its number, or by its name in any spelling (``SPAN_KIND_SERVER``, ``SERVER``); else the first."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else names[0]
    last = text(value).rpartition("_")[2].lower()
    return last if last in names else names[0]


def attributes(value: Any) -> dict[str, Value]:
    """A list of ``{"key": ..., "value": {...}}``."""
    return {each["key"]: any_value(each.get("value"), 0) for each in items(value) if text(each.get("key"))}


def any_value(value: Any, depth: int) -> Value:
    """``{"stringValue": ...}`` and its like."""
    for kind, said in mapping(value).items():
        match kind:
            case "stringValue":
                return text(said)
            case "boolValue":
                return said is True
            case "intValue":
                return _integer(said)
            case "doubleValue":
                return _number(said)
            case "arrayValue" if depth < DEEPEST:
                return [any_value(each, depth + 1) for each in items(mapping(said).get("values"))]
            case "kvlistValue" if depth < DEEPEST:
                pairs = items(mapping(said).get("values"))
                return {text(each.get("key")): any_value(each.get("value"), depth + 1) for each in pairs}
            case "bytesValue":
                return text(said)
    return None


def _integer(said: Any) -> int | None:
    try:
        return int(said) if isinstance(said, str | int) and len(str(said)) < len(str(LATEST)) + 1 else None
    except ValueError:
        return None


def _number(said: Any) -> float | None:
    try:
        number = float(said) if isinstance(said, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def events(value: Any) -> tuple[Event, ...]:
    """A list of ``{"name": ..., "timeUnixNano": ..., "attributes": [...]}``."""
    return tuple(
        Event(text(each.get("name")), moment(each.get("timeUnixNano")), attributes(each.get("attributes")))
        for each in items(value)
    )
