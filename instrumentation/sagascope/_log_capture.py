"""Sends `logging` records made inside a saga to the collector, with the saga's id.

It adds no handler to the service's loggers: a handler on the root logger would disable `logging.basicConfig` and the
last-resort handler, and `logging.config.dictConfig` would remove it.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sagascope._attributes import exception_attributes, truncate, truncate_text
from sagascope._context import get_saga_context
from sagascope._guard import Guard
from sagascope._runtime import NANOSECONDS_PER_SECOND

_CAPTURING = Guard("capturing a log record")

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
    """Captures every record that a logger handles, after the logger's own level and filters."""

    def __init__(
        self,
        add: Callable[[ReadableLogRecord], None],
        drop: Callable[[int, str], None],
        resource: Callable[[], Resource],
        *,
        level: int,
        rate: float,
        max_length: int,
    ) -> None:
        self._add = add
        self._drop = drop
        self._resource = resource
        self._level = level
        self._rate_limit = RateLimit(rate)
        self._max_length = max_length
        self._original: Callable[[logging.Logger, logging.LogRecord], None] | None = None

    def install(self) -> None:
        """Starts capturing."""
        original = self._original = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if record.levelno >= self._level and self._original is not None:
                with _CAPTURING:
                    self._capture(record)
            original(logger, record)

        self._replacement = call_handlers
        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """Stops capturing."""
        original, self._original = self._original, None
        if original is not None and logging.Logger.callHandlers is self._replacement:
            logging.Logger.callHandlers = original  # type: ignore[method-assign, assignment]

    def _capture(self, record: logging.LogRecord) -> None:
        context = get_current()
        saga_context = get_saga_context(context)
        if saga_context is None or record.name.partition(".")[0] in EXCLUDED_LOGGERS:
            return
        if self._rate_limit.acquire():
            self._add(self._converted(record, context, saga_context.attributes))
        else:
            self._drop(1, "more log records than log_rate allows")

    def _converted(self, record: logging.LogRecord, context: Context, attributes: dict[str, Any]) -> ReadableLogRecord:
        number, text = _severity(record.levelno)
        error = record.exc_info[1] if record.exc_info else None
        attributes = dict(attributes)
        if error is not None:
            attributes |= exception_attributes(error, self._max_length)
        converted = LogRecord(
            timestamp=int(record.created * NANOSECONDS_PER_SECOND),
            context=context,
            severity_number=number,
            severity_text=text,
            body=truncate_text(record.getMessage(), self._max_length),
            attributes=truncate(attributes, 2 * self._max_length),
        )
        return ReadableLogRecord(converted, self._resource(), InstrumentationScope(record.name))


class RateLimit:
    """Allows a number of records in each second; unused ones do not carry over."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._second = 0
        self._count = 0

    def acquire(self) -> bool:
        """Returns whether one more record is allowed in this second."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._rate


def _severity(level: int) -> tuple[SeverityNumber, str]:
    return next(
        ((number, text) for minimum, number, text in _SEVERITIES if level >= minimum), (SeverityNumber.TRACE, "TRACE")
    )
