"""Counts what became of the telemetry of this process."""

import logging
from threading import Lock
from time import monotonic
from typing import NamedTuple

_logger = logging.getLogger("sagascope")

PROCESS_ENDED = "the process ended first"
"""Reason for records that were still queued at the end of the process."""

LOG_INTERVAL_SECONDS = 60.0
"""Minimum time between two log lines about telemetry that cannot be sent."""


class Stats(NamedTuple):
    """What became of the saga telemetry of this process so far."""

    sent: int = 0
    """Ended spans and log records that the collector accepted."""
    waiting: int = 0
    """Ended spans and log records that are queued in memory."""
    spooled: int = 0
    """Records that this process wrote to disk and that are still there."""
    dropped: int = 0
    """Records that could not be sent and never will be; every heartbeat reports the number too."""
    open_spans: int = 0
    """Saga spans that are open now."""
    last_error: str = ""
    """Why records were not sent, the last time; ``""`` if that never happened."""


class Counters:
    """The counters of one process, and the log line about problems. A forked child has its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._logged_at = 0.0
        self._logged = (0, "")
        self.sent = 0
        self.dropped = 0
        self.spooled = 0
        self.last_error = ""

    def count_sent(self, count: int) -> None:
        """Counts records that the collector accepted."""
        with self._lock:
            self.sent += count

    def count_dropped(self, count: int, reason: str) -> None:
        """Counts records that will never be sent."""
        with self._lock:
            self.dropped += count
            self.last_error = reason

    def count_spooled(self, count: int) -> None:
        """Counts records that were written to disk; a negative count for records that left it."""
        with self._lock:
            self.spooled += count

    def record_error(self, reason: str) -> None:
        """Records why a request failed whose records are still queued."""
        self.last_error = reason

    def log_problems(self, queued: int) -> None:
        """Logs problems that are new, at most once in `LOG_INTERVAL_SECONDS`. Only background threads call it."""
        now = monotonic()
        current = (self.dropped, self.last_error)
        is_due = not self._logged_at or now - self._logged_at >= LOG_INTERVAL_SECONDS
        if not self.last_error or current == self._logged or not is_due:
            return
        self._logged_at, self._logged = now, current
        _logger.warning(
            "Saga telemetry cannot be sent: %s. Records queued in memory: %d, queued on disk: %d, dropped so far: %d.",
            self.last_error,
            queued,
            self.spooled,
            self.dropped,
        )
