"""otel-partial: log records that carry an open span, and say how often they come.

The span is in the body: OTLP's TracesData in protobuf as base64, or in JSON with ids in hex and enums as names. What
cannot be read says nothing, and is kept as the log record that it is. Pure.
"""

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from sagascope_collector.engines import spelling
from sagascope_collector.records import Attributes, Log, Span, Value

EVENT: Final = "partial.event"
FREQUENCY: Final = "partial.frequency"
BODY_TYPE: Final = "partial.body.type"
HEARTBEAT, STOP = "heartbeat", "stop"
JSON: Final = "json/v1"

DURATION: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m)?\s*")
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 0.001}

LARGEST: Final = 4 * 1024 * 1024
"""Characters of a body that is read; a larger one is no span."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What such a record says."""

    is_stop: bool
    interval: float | None
    """Seconds until the next; None where it does not say it."""
    span: Mapping[str, Any] | None
    """The span in its body, as OTLP spells it in JSON; None where it cannot be read."""

    @property
    def attributes(self) -> Attributes:
        """Those of the span."""
        return spelling.attributes(self.span.get("attributes")) if self.span else {}

    @property
    def name(self) -> str:
        """That of the span."""
        return spelling.text(self.span.get("name")) if self.span else ""


def is_partial(attributes: Attributes) -> bool:
    """Whether a log record's attributes are those of such a record."""
    return attributes.get(EVENT) in (HEARTBEAT, STOP)


def parse(attributes: Attributes, body: Value) -> Partial:
    """Read such a record; never raises, whatever it holds."""
    return Partial(
        is_stop=attributes.get(EVENT) == STOP,
        interval=_seconds(attributes.get(FREQUENCY)),
        span=_span(body, attributes.get(BODY_TYPE) == JSON),
    )


def open_span(log: Log) -> Span | None:
    """The span that a record tells of: open, or as it ended; None where its body cannot be read."""
    told = parse(log.attributes, log.body)
    if told.span is None:
        return None
    trace_id, span_id = _id(told.span, "traceId", 32), _id(told.span, "spanId", 16)
    if not (trace_id and span_id):
        return None
    status = spelling.mapping(told.span.get("status"))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_id(told.span, "parentSpanId", 16),
        name=told.name,
        kind=spelling.enum(told.span.get("kind"), spelling.KINDS),
        start=spelling.moment(told.span.get("startTimeUnixNano")) or log.at,
        end=(spelling.moment(told.span.get("endTimeUnixNano")) or log.at) if told.is_stop else 0,
        status=spelling.enum(status.get("code"), spelling.STATUSES) if told.is_stop else "unset",
        status_message=spelling.text(status.get("message")),
        mark=log.mark,
        process=log.process,
        attributes=told.attributes,
        events=spelling.events(told.span.get("events")),
        resource=log.resource,
        scope=log.scope,
    )


def _seconds(value: Value) -> float | None:
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    seconds = float(found[1]) * SECONDS[found[2]]
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _span(body: Value, is_json: bool) -> Mapping[str, Any] | None:
    if not isinstance(body, str) or len(body) > LARGEST:
        return None
    return _of_json(body) if is_json or body.lstrip().startswith("{") else _of_protobuf(body)


def _of_json(body: str) -> Mapping[str, Any] | None:
    try:
        said = spelling.mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
    for of_resource in spelling.items(said.get("resourceSpans")):
        for of_scope in spelling.items(of_resource.get("scopeSpans")):
            for span in spelling.items(of_scope.get("spans")):
                return span
    return None


def _of_protobuf(body: str) -> Mapping[str, Any] | None:
    try:
        data = TracesData.FromString(b64decode(body, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None
    spans = (span for of in data.resource_spans for scope in of.scope_spans for span in scope.spans)
    return next((spelling.of_protobuf(span) for span in spans), None)


def _id(span: Mapping[str, Any], key: str, length: int) -> str:
    said = spelling.text(span.get(key)).lower()
    return said if len(said) == length and set(said) <= set("0123456789abcdef") and set(said) != {"0"} else ""
