"""When this collector was not listening, though somebody may have spoken: deadlines do not run meanwhile."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sagascope_collector.store.contract import Store

Interval = tuple[int, int]
"""From and to, in nanoseconds."""

TOGETHER: Final = 10_000_000_000
"""Nanoseconds: refusals that lie closer together are one interval, since clients wait before they try again."""

REMEMBERED: Final = 1_000
"""Intervals that are kept in memory; older ones can hardly decide anything any more."""


class Deafness:
    """The intervals known of a database, and the one that may be going on. Safe from any thread."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[Interval, ...] = tuple(store.deaf_intervals(0))[-REMEMBERED:]
        self._current: Interval | None = None
        self._kept: Interval | None = None

    def refused(self, since: int | None = None) -> None:
        """Somebody was refused just now, or was kept waiting `since` then."""
        now = self._clock()
        with self._lock:
            start, end = self._current or (now, now)
            if now - end > TOGETHER:
                self._end()
                start = now
            self._current = (min(start, since or now), now)

    def intervals(self) -> Sequence[Interval]:
        """All of them, earliest first."""
        with self._lock:
            return (*self._known, *([self._current] if self._current else []))

    def keep(self) -> None:
        """Write down what is new, so that it outlives this process.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self._lock:
            current, kept = self._current, self._kept
        if current and current != kept:
            self._store.note_deaf(*current)
            with self._lock:
                self._kept = current

    def _end(self) -> None:
        if self._current:
            self._known = (*self._known, self._current)[-REMEMBERED:]
            self._current = None
