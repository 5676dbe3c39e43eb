"""The service's own spans and log records: adds saga attributes to them, and forwards those inside a saga."""

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sagascope import semconv
from sagascope._attributes import exception_attributes, truncate, truncate_text
from sagascope._context import get_saga_context
from sagascope._errors import Guard
from sagascope._runtime import NANOSECONDS_PER_SECOND
from sagascope._settings import Settings

_ADDING_ATTRIBUTES = Guard("adding saga attributes to the service's telemetry")
_CAPTURING = Guard("capturing a log record")

# --- spans and log records of OpenTelemetry --------------------------------------------------------


class SagaSpanProcessor(SpanProcessor):
    """Adds saga attributes to the spans of the service's tracer provider, and forwards those spans when they end.

    The service's sampler decides before: spans that it drops are not seen here, and its exporters get no more spans.
    """

    def __init__(self) -> None:
        self.forward: Callable[[ReadableSpan], None] | None = None
        """Receives the ended spans of sagas. None: the processor does nothing, since a provider cannot remove it."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Adds the attributes of the saga in the context that the span starts in."""
        if self.forward is not None:
            with _ADDING_ATTRIBUTES:
                saga_context = get_saga_context(get_current() if parent_context is None else parent_context)
                if saga_context is not None:
                    span.set_attributes(saga_context.attributes)

    def on_end(self, span: ReadableSpan) -> None:
        """Forwards a span that belongs to a saga."""
        forward = self.forward
        if forward is not None and span.attributes and semconv.SAGA_ID in span.attributes:
            with _ADDING_ATTRIBUTES:
                forward(span)

    def shutdown(self) -> None:
        self.forward = None


class SagaLogProcessor(LogRecordProcessor):
    """Adds saga attributes to the log records of the service's logger provider. It holds no records."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        with _ADDING_ATTRIBUTES:
            record = log_record.log_record
            saga_context = get_saga_context(record.context or get_current())
            if saga_context is not None:
                _add_attributes(record, saga_context.attributes)

    def shutdown(self) -> None:
        """Does nothing."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


_span_processors: "WeakKeyDictionary[TracerProvider, SagaSpanProcessor]" = WeakKeyDictionary()
_log_processors: "WeakKeyDictionary[LoggerProvider, SagaLogProcessor]" = WeakKeyDictionary()


def forward_spans(provider: TracerProvider, forward: Callable[[ReadableSpan], None]) -> None:
    """Adds saga attributes to the provider's spans, and forwards those of sagas; replaces an earlier receiver."""
    processor = _span_processors.get(provider)
    if processor is None:
        processor = _span_processors[provider] = SagaSpanProcessor()
        provider.add_span_processor(processor)
    processor.forward = forward


def add_attributes_to_logs(provider: LoggerProvider) -> None:
    """Adds saga attributes to the provider's log records; a second call has no effect."""
    if provider not in _log_processors:
        _log_processors[provider] = SagaLogProcessor()
        provider.add_log_record_processor(_log_processors[provider])


def _add_attributes(record: Any, attributes: Mapping[str, Any]) -> None:
    if hasattr(record.attributes, "__setitem__"):
        for key, value in attributes.items():
            record.attributes[key] = value
    else:
        record.attributes = {**(record.attributes or {}), **attributes}


# --- records of `logging` --------------------------------------------------------------------------

EXCLUDED_LOGGERS = ("sagascope", "opentelemetry")
"""Loggers that are not captured, nor those below them: telemetry about telemetry would loop."""

_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
)


class LogCapture:
    """Captures the `logging` records made inside a saga, after the logger's own level and filters.

    It adds no handler to the service's loggers: a handler on the root logger would disable `logging.basicConfig` and
    the last-resort handler, and `logging.config.dictConfig` would remove it.
    """

    def __init__(
        self,
        settings: Settings,
        resource: Resource,
        add: Callable[[ReadableLogRecord], None],
        drop: Callable[[str], None],
    ) -> None:
        self._level = settings.log_level_number
        self._records_per_second = settings.log_rate
        self._max_length = settings.max_value_length
        self._resource = resource
        self._add = add
        self._drop = drop
        self._second = 0
        self._records_in_second = 0
        self._original: Callable[[logging.Logger, logging.LogRecord], None] | None = None

    def install(self) -> None:
        level = self._level
        if level is None:
            return
        original = self._original = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if record.levelno >= level and self._original is not None:
                with _CAPTURING:
                    self._capture(record)
            original(logger, record)

        self._replacement = call_handlers
        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        original, self._original = self._original, None
        if original is not None and logging.Logger.callHandlers is self._replacement:
            logging.Logger.callHandlers = original  # type: ignore[method-assign, assignment]

    def _capture(self, record: logging.LogRecord) -> None:
        context = get_current()
        saga_context = get_saga_context(context)
        if saga_context is None or record.name.partition(".")[0] in EXCLUDED_LOGGERS:
            return
        if self._is_within_rate():
            self._add(self._converted(record, context, saga_context.attributes))
        else:
            self._drop("more log records than log_rate allows")

    def _is_within_rate(self) -> bool:
        """Counts a record, and returns whether it may be sent. What is left of a second does not carry over."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._records_in_second = second, 0
        self._records_in_second += 1
        return self._records_in_second <= self._records_per_second

    def _converted(self, record: logging.LogRecord, context: Context, attributes: dict[str, Any]) -> ReadableLogRecord:
        severities = ((number, text) for level, number, text in _SEVERITIES if record.levelno >= level)
        number, text = next(severities, (SeverityNumber.TRACE, "TRACE"))
        attributes = dict(attributes)
        if record.exc_info and record.exc_info[1] is not None:
            attributes |= exception_attributes(record.exc_info[1], self._max_length)
        converted = LogRecord(
            timestamp=int(record.created * NANOSECONDS_PER_SECOND),
            context=context,
            severity_number=number,
            severity_text=text,
            body=truncate_text(record.getMessage(), self._max_length),
            attributes=truncate(attributes, 2 * self._max_length),
        )
        return ReadableLogRecord(converted, self._resource, InstrumentationScope(record.name))
