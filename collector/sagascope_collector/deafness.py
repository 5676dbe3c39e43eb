"""When this collector was not listening, though somebody may have spoken: deadlines do not run meanwhile."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sagascope_collector.sagas.words import dated
from sagascope_collector.store.contract import Store

Interval = tuple[int, int]
"""From and to, in nanoseconds."""

TOGETHER: Final = 10_000_000_000
"""Nanoseconds: refusals that lie closer together are one interval, since clients wait before they try again."""

REMEMBERED: Final = 1_000
"""Intervals that are kept in memory; older ones can hardly decide anything any more."""

STOPPED: Final = 5_000_000_000
"""Nanoseconds: a collector that noted no life for longer was itself stopped, or its machine slept."""

RETURN: Final = 30_000_000_000
"""Nanoseconds for which senders may wait before they try again, at most; none waits for longer than it has waited."""

TOLD_OF: Final = 3_600_000_000_000
"""Nanoseconds after which a deafness is no news any more."""


class Deafness:
    """The intervals known of a database, and the one that may be going on. Safe from any thread."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[Interval, ...] = tuple(store.deaf_intervals(0))[-REMEMBERED:]
        self._current: Interval | None = None
        self._alive_at: int | None = None
        self._stops: list[Interval] = []
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

    def alive(self) -> None:
        """Note that this process runs; call it every few seconds."""
        with self._lock:
            stop, self._alive_at = self._stop(), self._clock()
            if stop:
                self._known = (*self._known, stop)[-REMEMBERED:]
                self._stops.append(stop)

    def intervals(self) -> Sequence[Interval]:
        """All of them, each with the time that senders may take to return."""
        return [(begin, end + min(end - begin, RETURN)) for begin, end in self._heard_nothing()]

    def notices(self) -> Sequence[str]:
        """What readers of lists should know: the latest deafness, for an hour."""
        now = self._clock()
        long = [each for each in self._heard_nothing() if each[1] - each[0] > STOPPED and now - each[1] < TOLD_OF]
        if not long:
            return []
        begin, end = max(long, key=lambda each: each[1])
        return [
            f"deaf: this collector took nothing in from {dated(begin)} until {dated(end)}; no deadline ran meanwhile, "
            "and what its senders did not keep is missing."
        ]

    def _heard_nothing(self) -> Sequence[Interval]:
        with self._lock:
            stop = self._stop()  # whoever asks right after a stop must not judge before it was noted
            return [*self._known, *(each for each in (self._current, stop) if each)]

    def _stop(self) -> Interval | None:
        now, since = self._clock(), self._alive_at
        return (since, now) if since is not None and now - since > STOPPED else None

    def keep(self) -> None:
        """Write down what is new, so that it outlives this process.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self._lock:
            current, kept, stops = self._current, self._kept, self._stops
            self._stops = []
        for each in stops:
            self._store.note_deaf(*each)
        if current and current != kept:
            self._store.note_deaf(*current)
            with self._lock:
                self._kept = current

    def _end(self) -> None:
        if self._current:
            self._known = (*self._known, self._current)[-REMEMBERED:]
            self._current = None
