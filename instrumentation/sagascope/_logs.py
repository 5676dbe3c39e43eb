"""`logging` records made inside a saga go to the collector with the saga's id.

No handler is added to the service's loggers: a handler on the root logger would silence `logging.basicConfig` and the
last-resort handler, and would be thrown out by `logging.config.dictConfig`.
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

from sagascope._context import place_in
from sagascope._failure import describe_error
from sagascope._fitting import fit, fit_text
from sagascope._guard import Guard

_TAKING = Guard("taking a log record")

OURS = ("sagascope", "opentelemetry")
"""Loggers that are never taken, nor those below them: telemetry about telemetry would feed itself."""

_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
)


class LogTap:
    """Sees every record that a logger handles, after the logger's own level and filters."""

    def __init__(
        self,
        put: Callable[[ReadableLogRecord], None],
        lose: Callable[[int, str], None],
        resource: Callable[[], Resource],
        *,
        level: int,
        rate: float,
        longest: int,
    ) -> None:
        self._put = put
        self._lose = lose
        self._resource = resource
        self._level = level
        self._budget = Budget(rate)
        self._longest = longest
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
        if place is None or record.name.partition(".")[0] in OURS:
            return
        if self._budget.spend():
            self._put(self._made(record, context, place.stamp))
        else:
            self._lose(1, "more log records than log_rate allows")

    def _made(self, record: logging.LogRecord, context: Context, stamp: dict[str, Any]) -> ReadableLogRecord:
        number, text = _severity(record.levelno)
        error = record.exc_info[1] if record.exc_info else None
        made = LogRecord(
            timestamp=int(record.created * 1e9),
            context=context,
            severity_number=number,
            severity_text=text,
            body=fit_text(record.getMessage(), self._longest),
            attributes=fit({**stamp, **(describe_error(error, self._longest) if error else {})}, 2 * self._longest),
        )
        return ReadableLogRecord(made, self._resource(), InstrumentationScope(record.name))


class Budget:
    """So many in a second, in any second; what was not spent in one is gone in the next."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._second = 0
        self._spent = 0

    def spend(self) -> bool:
        """Take one; False when the second has none left."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._spent = second, 0
        self._spent += 1
        return self._spent <= self._rate


def _severity(level: int) -> tuple[SeverityNumber, str]:
    return next(
        ((number, text) for least, number, text in _SEVERITIES if level >= least), (SeverityNumber.TRACE, "TRACE")
    )
