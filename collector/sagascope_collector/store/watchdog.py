"""A time by which reading has to end: what runs on after it is interrupted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import duckdb

from sagascope_collector.errors import ReadTooLong

AGAIN: Final = 0.05
"""Seconds between two interrupts of one statement: one that comes while it is prepared is forgotten by DuckDB."""

_end: ContextVar[float | None] = ContextVar("end", default=None)
"""By the monotonic clock; None: there is no such time."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """See `Store.within`; of two, one within the other, the earlier end counts."""
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


class Watchdog:
    """Looks after the statements that have a time by which to end, in one thread, which waits while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt what is run on this cursor inside, once the time of `within` is over.

        Raises:
            ReadTooLong: it is, or was before anything began.
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
        """End the thread; nothing is interrupted any more."""
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
                self._wakes = min((max(end, now + AGAIN) for end, _ in self._running.values()), default=float("inf"))
                self._changed.wait(self._wakes - now if self._running else None)

    def _interrupt(self, now: float) -> None:
        for end, cursor in self._running.values():
            if end <= now:
                cursor.interrupt()


TOO_LONG: Final = "This took longer than one call may read. Ask for less, for example with `since`, or try again later."
