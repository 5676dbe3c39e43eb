"""Spans of sagas, much cheaper than the SDK's, and their encoding with log records as OTLP requests.

Encoding and redaction happen in background threads.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from time import time_ns
from typing import Any, NamedTuple

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import service_attributes
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from sagascope import semconv
from sagascope._attributes import error_summary, exception_attributes, truncate, truncate_text
from sagascope._errors import report
from sagascope._runtime import Attributes, DetachedSpan

SCOPE = InstrumentationScope("sagascope", version("sagascope"), semconv.SCHEMA_URL)
"""The scope of everything that Sagascope itself sends."""

REDACTION_FAILED = "[could not be redacted]"
"""Sent in place of a value for which `redact` raised an error."""

_UNSET = Status()

_PLAIN_TYPES = frozenset({str, bool, int, float})
"""Types of values that need no check."""

MAX_EVENTS = MAX_LINKS = MAX_ATTRIBUTES = 128
"""Events, links and attributes of one span, as by OpenTelemetry's SDK. Beyond it the oldest event is dropped, a new
link, and a new attribute that is not the saga's; all are counted. The links with which a span starts are all kept."""


def _valid_attributes(attributes: Attributes | None, limit: int | None = None) -> BoundedAttributes:
    """Returns a copy with values that OpenTelemetry knows; a key that is not a string is left out."""
    named = {key: value for key, value in (attributes or {}).items() if isinstance(key, str)}
    return BoundedAttributes(limit, named)


class SagaSpan(Span):
    """An open or ended span of a saga, from which an exported one is made in the background.

    It costs a fraction of the SDK's: attributes at the start are ours, and need no check.
    """

    __slots__ = (
        "attributes", "context", "dropped_attributes", "dropped_events", "dropped_links", "end_time", "events", "kind",
        "links", "name", "on_end", "parent", "start_time", "status",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link],
        on_end: "Callable[[SagaSpan], None]",
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.attributes = dict(attributes)
        self.links = list(links)
        self.on_end = on_end
        self.events: deque[tuple[str, Attributes, int]] | None = None
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0
        self.status: Status | None = None
        self.end_time: int | None = None
        self.start_time = time_ns()

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.end_time is not None:
            return
        for key, value in attributes.items():
            if type(key) is not str or not key or type(value) not in _PLAIN_TYPES:
                attributes = _valid_attributes(attributes)
                break
        if len(self.attributes) + len(attributes) <= MAX_ATTRIBUTES:
            self.attributes.update(attributes)
            return
        for key, value in attributes.items():
            if len(self.attributes) < MAX_ATTRIBUTES or key in self.attributes or key.startswith("saga."):
                self.attributes[key] = value
            else:
                self.dropped_attributes += 1

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        if self.end_time is not None:
            return
        if self.events is None:
            self.events = deque(maxlen=MAX_EVENTS)
        self.dropped_events += len(self.events) == MAX_EVENTS
        self.events.append((name, _valid_attributes(attributes, MAX_ATTRIBUTES), timestamp or time_ns()))

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if self.end_time is not None:
            return
        if len(self.links) < MAX_LINKS:
            self.links.append(Link(context, _valid_attributes(attributes, MAX_ATTRIBUTES)))
        else:
            self.dropped_links += 1

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Adds an exception event without a stack trace; `_context` writes one with its attributes of its own."""
        self.add_event("exception", {"exception.type": type(exception).__qualname__, **(attributes or {})}, timestamp)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status; one that was set to OK stays, and UNSET has no effect, as OpenTelemetry specifies."""
        new = status if isinstance(status, Status) else Status(status, description)
        was_ok = self.status is not None and self.status.status_code is StatusCode.OK
        if self.end_time is None and not was_ok and new.status_code is not StatusCode.UNSET:
            self.status = new

    def update_name(self, name: str) -> None:
        self.name = name

    def end(self, end_time: int | None = None) -> None:
        """Ends it; a second call has no effect."""
        if self.end_time is None:
            self.end_time = end_time or time_ns()
            self.on_end(self)

    def readable(self, resource: Resource) -> ReadableSpan:
        """Returns it in the form that the SDK's encoder takes, within the SDK's default limits."""
        events = BoundedList.from_seq(MAX_EVENTS, (Event(*event) for event in self.events or ()))
        events.dropped = self.dropped_events
        attributes = dict(self.attributes)
        if len(attributes) > MAX_ATTRIBUTES:  # the first ones are dropped, and those of the saga must not be
            attributes = dict(sorted(attributes.items(), key=lambda pair: pair[0].startswith("saga.")))
        kept = BoundedAttributes(MAX_ATTRIBUTES, attributes, immutable=False)
        kept.dropped += self.dropped_attributes
        links = BoundedList.from_seq(len(self.links), self.links)  # each saga of a batch is one
        links.dropped += self.dropped_links
        status = self.status or _UNSET
        return _readable(
            self, resource, self.start_time, self.end_time, attributes=kept, events=events, links=links, status=status
        )


def _readable(
    span: "SagaSpan | DetachedSpan", resource: Resource, start: int, end: int | None, **parts: Any
) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        resource,
        kind=span.kind,
        start_time=start,
        end_time=end,
        instrumentation_scope=SCOPE,
        **parts,
    )


def log_record(
    body: str,
    context: Context,
    attributes: Mapping[str, Any],
    resource: Resource,
    at: int,
    observed_at: int,
    event_name: str = "",
) -> ReadableLogRecord:
    """Returns a log record of Sagascope's own, or an event if it has a name; times are in nanoseconds since 1970."""
    record = LogRecord(
        timestamp=at,
        observed_timestamp=observed_at,
        context=context,
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body=body,
        attributes=attributes,
        event_name=event_name or None,
    )
    return ReadableLogRecord(record, resource, SCOPE)


# --- requests ---------------------------------------------------------------------------------------

Redact = Callable[[str, Any], Any]


class InstanceRename(NamedTuple):
    """The instance id of a parent process, and that of its forked child."""

    before: str
    after: str


class Encoder:
    """Encodes requests with the id of this process, after redaction."""

    def __init__(
        self, process_id: str, resource: Resource, redact: Redact | None = None, rename: InstanceRename | None = None
    ) -> None:
        self._resource = resource
        # not in the resource, which a forked child shares with its parent
        self._process_id = KeyValue(key=semconv.PROCESS_ID, value=AnyValue(string_value=process_id))
        self._redact = redact
        self._rename = rename

    def encode_spans(self, batch: Sequence[ReadableSpan | SagaSpan]) -> bytes:
        spans = [span.readable(self._resource) if isinstance(span, SagaSpan) else span for span in batch]
        request = encode_spans(spans)
        if self._redact is not None:
            _redact_spans(self._redact, request)
        self._identify_process(request.resource_spans)
        return bytes(request.SerializeToString())

    def encode_logs(self, batch: Sequence[ReadableLogRecord]) -> bytes:
        request = encode_logs(batch)
        if self._redact is not None:
            _redact_logs(self._redact, request)
        self._identify_process(request.resource_logs)
        return bytes(request.SerializeToString())

    def _identify_process(self, groups: Any) -> None:
        for group in groups:
            if self._rename is not None:
                for pair in group.resource.attributes:
                    is_instance = pair.key == service_attributes.SERVICE_INSTANCE_ID
                    if is_instance and pair.value.string_value == self._rename.before:
                        pair.value.string_value = self._rename.after
            if all(pair.key != semconv.PROCESS_ID for pair in group.resource.attributes):
                group.resource.attributes.append(self._process_id)


# --- redaction -------------------------------------------------------------------------------------

_EXEMPT_KEYS = frozenset(
    {
        *semconv.BAGGAGE_MEMBERS,
        *(value for name, value in vars(semconv).items() if name.startswith(("HEARTBEAT_", "SPAN_"))),
    }
)
"""Keys that are not redacted here: identifiers of the saga were redacted when it started, before they went into
headers; the others are not the user's data."""


def redact_value(redact: Redact, key: str, value: Any) -> Any:
    """Returns a redacted value; of a list or mapping, each item. If `redact` fails, the value is not sent."""
    if isinstance(value, list):
        return [kept for item in value if (kept := redact_value(redact, key, item)) is not None]
    if isinstance(value, dict):
        return {name: kept for name, item in value.items() if (kept := redact_value(redact, key, item)) is not None}
    try:
        return redact(key, value)
    except Exception as error:  # noqa: BLE001 - the user's function, in our thread
        report("calling redact", error)
        return REDACTION_FAILED


def _redact_spans(redact: Redact, request: Any) -> None:
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                _redact_attributes(redact, span.attributes)
                for part in (*span.events, *span.links):
                    _redact_attributes(redact, part.attributes)
                if span.status.message:
                    span.status.message = str(redact_value(redact, "status.message", span.status.message) or "")


def _redact_logs(redact: Redact, request: Any) -> None:
    for group in request.resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                _redact_attributes(redact, record.attributes)
                record.body.CopyFrom(_to_any_value(redact_value(redact, "body", _from_any_value(record.body))))


def _redact_attributes(redact: Redact, attributes: Any) -> None:
    kept = []
    for pair in attributes:
        if pair.key in _EXEMPT_KEYS:
            kept.append(pair)
            continue
        value = redact_value(redact, pair.key, _from_any_value(pair.value))
        if value is not None:
            kept.append(KeyValue(key=pair.key, value=_to_any_value(value)))
    del attributes[:]
    attributes.extend(kept)


def _from_any_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_from_any_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _from_any_value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def _to_any_value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[_to_any_value(item) for item in value]))
        case dict():
            pairs = [KeyValue(key=str(key), value=_to_any_value(item)) for key, item in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
        case _:
            return AnyValue(string_value=str(value))


# --- detached spans --------------------------------------------------------------------------------


def to_readable_span(span: DetachedSpan, resource: Resource, max_length: int) -> ReadableSpan:
    """Returns a detached span in the form that the SDK's encoder takes, with truncated values."""
    status = Status()
    events: tuple[Event, ...] = ()
    if span.error is not None:
        status = Status(StatusCode.ERROR, truncate_text(error_summary(span.error), max_length))
        events = (Event("exception", exception_attributes(span.error, max_length), span.end or span.start),)
    attributes = truncate(span.attributes, max_length)
    return _readable(
        span, resource, span.start, span.end, attributes=attributes, events=events, links=span.links, status=status
    )
