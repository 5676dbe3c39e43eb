"""`logging` records made inside a saga go to the collector with the saga's id.

No handler is added to the service's loggers: a handler on the root logger would silence `logging.basicConfig` and the
last-resort handler, and would be thrown out by `logging.config.dictConfig`.
"""

import logging
import traceback
from collections.abc import Callable
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes import exception_attributes

from sagascope._context import place_in
from sagascope._guard import Guard

_TAKING = Guard("taking a log record")

OURS = ("sagascope", "opentelemetry")
"""Loggers that are never taken: telemetry about telemetry would feed itself."""

_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (0, SeverityNumber.DEBUG, "DEBUG"),
)


class LogTap:
    """Sees every record that a logger handles, after the logger's own level and filters."""

    def __init__(self, put: Callable[[ReadableLogRecord], None], resource: Callable[[], Resource], level: int) -> None:
        self._put = put
        self._resource = resource
        self._level = level
        self._original: Callable[[logging.Logger, logging.LogRecord], None] | None = None

    def install(self) -> None:
        """Begin to see records."""
        original = self._original = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if record.levelno >= self._level and self._original is not None:
                with _TAKING:
                    self._take(record)
            original(logger, record)

        self._replacement = call_handlers
        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """See no more records."""
        original, self._original = self._original, None
        if original is not None and logging.Logger.callHandlers is self._replacement:
            logging.Logger.callHandlers = original  # type: ignore[method-assign, assignment]

    def _take(self, record: logging.LogRecord) -> None:
        context = get_current()
        place = place_in(context)
        if place is not None and not record.name.startswith(OURS):
            attributes = {**place.stamp, **_failure(record)}
            self._put(make_record(record, context, attributes, self._resource()))


def make_record(
    record: logging.LogRecord, context: Context, attributes: dict[str, Any], resource: Resource
) -> ReadableLogRecord:
    """The record as OpenTelemetry knows it."""
    number, text = next((number, text) for level, number, text in _SEVERITIES if record.levelno >= level)
    made = LogRecord(
        timestamp=int(record.created * 1e9),
        context=context,
        severity_number=number,
        severity_text=text,
        body=record.getMessage(),
        attributes=attributes,
    )
    return ReadableLogRecord(
        log_record=made, resource=resource, instrumentation_scope=InstrumentationScope(record.name)
    )


def _failure(record: logging.LogRecord) -> dict[str, str]:
    kind, error, trace = record.exc_info or (None, None, None)
    if kind is None or error is None:
        return {}
    return {
        exception_attributes.EXCEPTION_TYPE: f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        exception_attributes.EXCEPTION_MESSAGE: str(error),
        exception_attributes.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(kind, error, trace)),
    }
