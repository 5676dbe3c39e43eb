"""Counts what became of the records of this process, and says so at most once a minute."""

import logging
from threading import Lock
from time import monotonic

_logger = logging.getLogger("sagascope")

TOO_LATE = "the process ended first"
"""Why what still waits at the end is lost."""

BETWEEN_LINES = 60.0
"""Seconds between two log lines about telemetry that could not be sent."""


class Tally:
    """Counts of one process; a forked child has its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._said_at = 0.0
        self._said = (0, "")
        self.sent = 0
        self.dropped = 0
        self.spooled = 0
        self.last_error = ""

    def sent_some(self, count: int) -> None:
        """That many records were taken by the collector."""
        with self._lock:
            self.sent += count

    def lost_some(self, count: int, why: str) -> None:
        """That many records will never be sent."""
        with self._lock:
            self.dropped += count
            self.last_error = why

    def spooled_some(self, count: int) -> None:
        """That many more records wait on disk; fewer, if it is negative."""
        with self._lock:
            self.spooled += count

    def failed(self, why: str) -> None:
        """A request was not taken; its records are still there."""
        self.last_error = why

    def speak(self, waiting: int) -> None:
        """Log what is wrong, if it is new and the last line is a minute old. Called from our own threads only."""
        now = monotonic()
        news = (self.dropped, self.last_error)
        if not self.last_error or news == self._said or (self._said_at and now - self._said_at < BETWEEN_LINES):
            return
        self._said_at, self._said = now, news
        _logger.warning(
            "Saga telemetry cannot be sent: %s. %d records wait, %d wait on disk, %d were dropped so far.",
            self.last_error,
            waiting,
            self.spooled,
            self.dropped,
        )
