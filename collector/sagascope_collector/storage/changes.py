"""Which sagas have records newer than their summaries, and between which commits the records of a saga lie.

Changes are kept in memory. After a restart they are read from the table `changed_sagas`, and from the records of the
commits since.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple

import orjson

from sagascope_collector.records import SagaId

MAX_INTERVALS: Final = 16
"""Intervals that are kept for a saga; beyond them its records are moved together, see `long_running`."""

MERGE_GAP: int = 20_000
"""Intervals with fewer records of others between them are one: reading past those costs less than another look."""

Interval = tuple[int, int]
"""The first and the last `seq`, both included."""


class Bounds(NamedTuple):
    """Where a saga's records are. `seq` counts records, so the width of an interval tells what reading it costs."""

    intervals: tuple[Interval, ...] = ()
    """In `span_records` and `log_records`, in order, without overlap."""
    move: int = 0
    """The `seq` of its records in the tables of long-running sagas; 0: there are none."""
    records: int = 0
    """Spans and log records, about."""

    def dump(self) -> str:
        """Returns the text that is stored."""
        return orjson.dumps(tuple(self)).decode()

    def extended(self, seq: int, records: int) -> "Bounds":
        """Returns the same with so many records of a later commit."""
        *before, (first, last) = self.intervals or ((seq, seq),)
        if seq <= last + MERGE_GAP:
            return Bounds((*before, (first, seq)), self.move, self.records + records)
        return Bounds((*self.intervals, (seq, seq)), self.move, self.records + records)

    def joined(self, other: "Bounds") -> "Bounds":
        """Returns what both cover."""
        intervals = merged([*self.intervals, *other.intervals])
        return Bounds(intervals, max(self.move, other.move), self.records + other.records)

    def narrowed(self) -> "Bounds":
        """Returns the same with `MAX_INTERVALS` intervals at most, the smallest gaps filled."""
        intervals = list(self.intervals)
        while len(intervals) > MAX_INTERVALS:
            gaps = [after[0] - before[1] for before, after in pairwise(intervals)]
            place = gaps.index(min(gaps))
            intervals[place : place + 2] = [(intervals[place][0], intervals[place + 1][1])]
        return self._replace(intervals=tuple(intervals))


NO_BOUNDS: Final = Bounds()

DOWNSAMPLED: Final = Bounds((), 0, -1)
"""Of a saga of which only the summary is kept."""


def load_bounds(text: str) -> Bounds:
    """Reads what `Bounds.dump` wrote."""
    intervals, move, records = orjson.loads(text)
    return Bounds(tuple((first, last) for first, last in intervals), move, records)


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Returns the intervals in order; those that overlap, or lie within `MERGE_GAP` of each other, as one."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + MERGE_GAP:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def covering(many: Iterable[Bounds]) -> tuple[Interval, ...]:
    """Returns the intervals in which the records of several sagas lie, merged: each is read once for all of them."""
    return merged(interval for each in many for interval in each.intervals)


class Backlog(NamedTuple):
    """How many sagas wait for a summary, and for how many seconds the first of them has."""

    sagas: int
    seconds: float


class Change(NamedTuple):
    """The records of one saga that no summary has seen."""

    bounds: Bounds
    first_at: float
    """When the first of them came; of one that was deferred, when that was."""
    last_at: float


class Changes:
    """Changed sagas in the order in which they changed first. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changed: dict[SagaId, Change] = {}
        self._claimed: dict[SagaId, Change] = {}
        self._waiting_since: dict[SagaId, float] = {}

    def add(self, seq: int, records: Mapping[SagaId, int]) -> None:
        """Adds so many records of each saga, all of one commit, which is later than those added before."""
        now = self._clock()
        with self._lock:
            for saga, count in records.items():
                known = self._changed.get(saga)
                if known is None:
                    self._changed[saga] = Change(Bounds(((seq, seq),), 0, count), now, now)
                    self._waiting_since.setdefault(saga, now)
                else:
                    last_at = max(known.first_at, now)  # of one that was deferred, when that is over
                    self._changed[saga] = Change(known.bounds.extended(seq, count), known.first_at, last_at)

    def restore(self, found: Mapping[SagaId, Bounds]) -> None:
        """Adds what was waiting when the database was closed."""
        now = self._clock()
        with self._lock:
            for saga, bounds in found.items():
                known = self._changed.get(saga)
                self._changed[saga] = Change(known.bounds.joined(bounds) if known else bounds, now, now)
                self._waiting_since.setdefault(saga, now)

    def backlog(self) -> Backlog:
        """Returns how much waits."""
        with self._lock:
            since = next(iter(self._waiting_since.values()), None)
            sagas = self._changed.keys() | self._claimed.keys()
            return Backlog(len(sagas), 0.0 if since is None else self._clock() - since)

    def claim(self, limit: int, *, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """Returns the first of them that were quiet for so many seconds, or have waited for `within` seconds.

        One reader claims at a time. `settle` settles the records that they had by then; what comes later changes them
        again. What an earlier claim left unsettled is claimed anew.
        """
        now = self._clock()
        with self._lock:
            self._unclaim()
            due = ((saga, each) for saga, each in self._changed.items() if each.first_at <= now - quiet)
            ready = (saga for saga, each in due if each.last_at <= now - quiet or each.first_at <= now - within)
            self._claimed = {saga: self._changed[saga] for saga in islice(ready, limit)}
            for saga in self._claimed:
                del self._changed[saga]
            return list(self._claimed)

    def settle(self, sagas: Iterable[SagaId]) -> None:
        """Notes that the summaries of these have seen what was claimed."""
        with self._lock:
            for saga in sagas:
                if self._claimed.pop(saga, None) is None:
                    continue
                self._waiting_since.pop(saga, None)
                if again := self._changed.get(saga):
                    self._waiting_since[saga] = again.first_at

    def defer(self, sagas: Iterable[SagaId], *, seconds: float | None = None) -> None:
        """Lets these come after all others; or not for so many seconds, which the backlog does not count as delay."""
        now = self._clock()
        with self._lock:
            for saga in sagas:
                claimed, changed = self._claimed.pop(saga, None), self._changed.pop(saga, None)
                found = [each.bounds for each in (claimed, changed) if each]
                if found:
                    bounds = found[0] if len(found) == 1 else found[0].joined(found[1])
                    at = now + (seconds or 0.0)
                    self._changed[saga] = Change(bounds, at, at)
                if seconds is not None:
                    self._waiting_since.pop(saga, None)

    def drop(self, sagas: Iterable[SagaId]) -> None:
        """Forgets these, whatever was claimed of them."""
        with self._lock:
            for saga in sagas:
                for each in (self._claimed, self._changed, self._waiting_since):
                    each.pop(saga, None)

    def bounds(self, sagas: Iterable[SagaId]) -> dict[SagaId, Bounds]:
        """Returns where the records of these lie that no summary has seen; nothing of those without any."""
        with self._lock:
            found = {saga: self._bounds(saga) for saga in sagas}
        return {saga: bounds for saga, bounds in found.items() if bounds != NO_BOUNDS}

    def claimed(self, saga: SagaId) -> Bounds:
        """Returns where the records lie that were claimed of a saga."""
        with self._lock:
            change = self._claimed.get(saga)
            return change.bounds if change else NO_BOUNDS

    def called(self, saga_id: str) -> list[SagaId]:
        """Returns the changed sagas with this id, in any environment."""
        with self._lock:
            return [saga for saga in (*self._claimed, *self._changed) if saga.id == saga_id]

    def all(self) -> dict[SagaId, Bounds]:
        """Returns everything that waits, claimed or not."""
        with self._lock:
            return {saga: self._bounds(saga) for saga in (*self._claimed, *self._changed)}

    def holds(self, saga: SagaId) -> bool:
        """Returns whether it waits."""
        with self._lock:
            return saga in self._changed or saga in self._claimed

    def _bounds(self, saga: SagaId) -> Bounds:
        parts = [each.bounds for each in (self._claimed.get(saga), self._changed.get(saga)) if each]
        return NO_BOUNDS if not parts else parts[0] if len(parts) == 1 else parts[0].joined(parts[1])

    def _unclaim(self) -> None:
        """Lets what was claimed and not settled be claimed again, in its old place."""
        if not self._claimed:
            return
        found: dict[SagaId, Change] = {}
        for saga, claimed in self._claimed.items():
            again = self._changed.pop(saga, None)
            joined = claimed.bounds if again is None else claimed.bounds.joined(again.bounds)
            found[saga] = Change(joined, claimed.first_at, again.last_at if again else claimed.last_at)
        self._changed = dict(sorted((found | self._changed).items(), key=lambda item: item[1].first_at))
        self._claimed = {}
