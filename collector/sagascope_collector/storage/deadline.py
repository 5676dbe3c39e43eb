"""Deadlines of reads: what goes on after one is interrupted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import duckdb

from sagascope_collector.errors import ReadTooLong

INTERRUPT_INTERVAL_SECONDS: Final = 0.05
"""Time between two interrupts of one statement: DuckDB forgets one that comes while the statement is prepared."""

_end: ContextVar[float | None] = ContextVar("end", default=None)
"""By the monotonic clock; None: there is none."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Gives this task, or thread, so many seconds for all that it reads inside; outside there is no bound.

    What then still runs in the database is interrupted, and a transaction under way is rolled back; whatever is read
    next raises too. Of two deadlines, one within the other, the earlier one counts.

    Raises:
        ReadTooLong: from the method that was called.
    """
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


class Watchdog:
    """Interrupts statements at their deadlines, in one thread, which waits while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts what runs on this cursor inside, once the time of `within` is over.

        Raises:
            ReadTooLong: it is, or was before anything started.
        """
        end = _end.get()
        if end is None:
            yield
            return
        if time.monotonic() >= end:
            raise ReadTooLong(TOO_LONG)
        self._enter(cursor, end)
        try:
            yield
        except duckdb.InterruptException as error:
            raise ReadTooLong(TOO_LONG) from error
        finally:
            self._leave(cursor)

    def close(self) -> None:
        """Ends the thread; nothing is interrupted any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _enter(self, cursor: duckdb.DuckDBPyConnection, end: float) -> None:
        with self._changed:
            self._running[id(cursor)] = end, cursor
            if not self._thread:
                self._thread = threading.Thread(target=self._watch, name="read-watchdog", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()

    def _leave(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._changed:
            del self._running[id(cursor)]

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                self._interrupt(now)
                self._wakes = min(
                    (max(end, now + INTERRUPT_INTERVAL_SECONDS) for end, _ in self._running.values()),
                    default=float("inf"),
                )
                self._changed.wait(self._wakes - now if self._running else None)

    def _interrupt(self, now: float) -> None:
        for end, cursor in self._running.values():
            if end <= now:
                cursor.interrupt()


TOO_LONG: Final = "This took longer than one call may read. Ask for less, for example with `since`, or try again later."
