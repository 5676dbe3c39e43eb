"""Encodes spans and log records as OTLP requests, in background threads. Redaction happens here."""

import os
import socket
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv._incubating.attributes import deployment_attributes, service_attributes
from opentelemetry.trace import Status, StatusCode

from sagascope import semconv
from sagascope._attributes import error_summary, exception_attributes, truncate, truncate_text
from sagascope._guard import report
from sagascope._runtime import DetachedSpan
from sagascope._saga_span import MAX_ATTRIBUTES, MAX_EVENTS, MAX_LINKS, SagaSpan

SCOPE = InstrumentationScope("sagascope", version("sagascope"), semconv.SCHEMA_URL)
"""The scope of everything that Sagascope itself sends."""

MAX_HOST_NAME_LENGTH = 40

REDACTION_FAILED = "[could not be redacted]"
"""Sent in place of a value for which `redact` raised an error."""

_UNSET = Status()

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
        self._process_id = KeyValue(key=semconv.PROCESS_ID, value=AnyValue(string_value=process_id))
        self._redact = redact
        self._rename = rename

    def encode_spans(self, batch: Sequence[ReadableSpan | SagaSpan]) -> bytes:
        spans = [self._exported(span) if isinstance(span, SagaSpan) else span for span in batch]
        request = encode_spans(spans)
        if self._redact is not None:
            _redact_spans(self._redact, request)
        self._identify_process(request.resource_spans)
        return bytes(request.SerializeToString())

    def _exported(self, span: SagaSpan) -> ReadableSpan:
        """Returns a saga span in the form that the SDK's encoder takes, within the SDK's default limits."""
        events = BoundedList.from_seq(
            MAX_EVENTS, (Event(name, attributes, at) for name, attributes, at in span.events or ())
        )
        events.dropped = span.dropped_events
        attributes = dict(span.attributes)
        if len(attributes) > MAX_ATTRIBUTES:  # the first ones are dropped, and those of the saga must not be
            attributes = dict(sorted(attributes.items(), key=lambda pair: pair[0].startswith("saga.")))
        kept = BoundedAttributes(MAX_ATTRIBUTES, attributes, immutable=False)
        kept.dropped += span.dropped_attributes
        links = BoundedList.from_seq(MAX_LINKS, span.links)
        links.dropped += span.dropped_links
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=self._resource,
            attributes=kept,
            events=events,
            links=links,
            kind=span.kind,
            status=span.status or _UNSET,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=SCOPE,
        )

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


def default_instance_id() -> str:
    """Returns ``host:pid``, for people to read; ``sagascope.process.id`` is what is unique."""
    host = socket.gethostname().partition(".")[0][:MAX_HOST_NAME_LENGTH] or "localhost"
    return f"{host}:{os.getpid()}"


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

_SERVICE_ATTRIBUTES = (
    service_attributes.SERVICE_NAME,
    service_attributes.SERVICE_NAMESPACE,
    service_attributes.SERVICE_VERSION,
    deployment_attributes.DEPLOYMENT_ENVIRONMENT_NAME,
    "deployment.environment",
)


def resource_without_process(resource: Resource) -> Resource:
    """Returns the service's resource without a process, so that the end of a process loses no detached span."""
    kept = {key: resource.attributes[key] for key in _SERVICE_ATTRIBUTES if key in resource.attributes}
    return Resource({**kept, semconv.PROCESS_ID: ""})


def to_readable_span(span: DetachedSpan, resource: Resource, max_length: int) -> ReadableSpan:
    """Returns a detached span in the form that the SDK's encoder takes, with truncated values."""
    status = Status()
    events: tuple[Event, ...] = ()
    if span.error is not None:
        status = Status(StatusCode.ERROR, truncate_text(error_summary(span.error), max_length))
        events = (Event("exception", exception_attributes(span.error, max_length), span.end or span.start),)
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=resource,
        attributes=truncate(span.attributes, max_length),
        events=events,
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=SCOPE,
    )
