"""Stamps what the service's own OpenTelemetry makes inside a saga, and passes a copy on to us."""

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from sagascope import semconv
from sagascope._context import place_in
from sagascope._guard import Guard

_STAMPING = Guard("stamping a span")


class SpanStamp(SpanProcessor):
    """On the service's tracer provider: saga attributes on every span that starts inside a saga.

    Its sampler has decided before; what it left out is not seen here, and nothing is added to what it exports.
    """

    def __init__(self) -> None:
        self._pass_on: Callable[[ReadableSpan], None] | None = None

    def pass_on_to(self, pass_on: Callable[[ReadableSpan], None] | None) -> None:
        """Where spans of sagas go when they end; None: nowhere, and none are stamped."""
        self._pass_on = pass_on

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp it, from the context that it is started in."""
        if self._pass_on is not None:
            with _STAMPING:
                place = place_in(get_current() if parent_context is None else parent_context)
                if place is not None:
                    span.set_attributes(place.stamp)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on what belongs to a saga."""
        pass_on = self._pass_on
        if pass_on is not None and span.attributes and semconv.SAGA_ID in span.attributes:
            with _STAMPING:
                pass_on(span)

    def shutdown(self) -> None:
        """Do nothing from now on; a provider cannot be rid of a processor."""
        self._pass_on = None


class LogStamp(LogRecordProcessor):
    """On the service's logger provider: saga attributes on every log record made inside a saga."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Stamp it, from the context that it was made in."""
        with _STAMPING:
            record = log_record.log_record
            place = place_in(record.context or get_current())
            if place is not None:
                stamped: Any = {**(record.attributes or {}), **place.stamp}
                _set(record, stamped)

    def shutdown(self) -> None:
        """Nothing is kept here."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        return True


def _set(record: Any, attributes: dict[str, Any]) -> None:
    if hasattr(record.attributes, "__setitem__"):
        for key, value in attributes.items():
            record.attributes[key] = value
    else:
        record.attributes = attributes
