"""Tracks which sagas have records newer than their summaries, and between which commits the records of a saga lie.

Changes are kept in memory. After a restart they are read from the table `changed_sagas`, and from the records of later
commits.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple

import orjson

from sagascope_collector.records import SagaId

MAX_INTERVALS: Final = 16
"""Maximum number of intervals per saga; beyond it, `long_running` moves its records together."""

MERGE_GAP: int = 20_000
"""Intervals with fewer other records between them are merged: reading those costs less than a further query."""

Interval = tuple[int, int]
"""The first and the last `seq`, both inclusive."""


class Bounds(NamedTuple):
    """The location of a saga's records. `seq` counts records, so the width of an interval is the cost of reading it."""

    intervals: tuple[Interval, ...] = ()
    """Intervals in `span_records` and `log_records`, in order, without overlap."""
    move: int = 0
    """The `seq` of its records in the tables of long-running sagas; 0: there are none."""
    records: int = 0
    """The approximate number of spans and log records."""

    def dump(self) -> str:
        """Returns the stored form."""
        return orjson.dumps(tuple(self)).decode()

    def extended(self, seq: int, records: int) -> "Bounds":
        """Returns these bounds with the given number of records of a later commit added."""
        *before, (first, last) = self.intervals or ((seq, seq),)
        if seq <= last + MERGE_GAP:
            return Bounds((*before, (first, seq)), self.move, self.records + records)
        return Bounds((*self.intervals, (seq, seq)), self.move, self.records + records)

    def joined(self, other: "Bounds") -> "Bounds":
        """Returns bounds that cover both."""
        intervals = merged([*self.intervals, *other.intervals])
        return Bounds(intervals, max(self.move, other.move), self.records + other.records)

    def narrowed(self) -> "Bounds":
        """Returns these bounds with at most `MAX_INTERVALS` intervals; the smallest gaps are closed."""
        intervals = list(self.intervals)
        while len(intervals) > MAX_INTERVALS:
            gaps = [after[0] - before[1] for before, after in pairwise(intervals)]
            index = gaps.index(min(gaps))
            intervals[index : index + 2] = [(intervals[index][0], intervals[index + 1][1])]
        return self._replace(intervals=tuple(intervals))


NO_BOUNDS: Final = Bounds()

DOWNSAMPLED: Final = Bounds((), 0, -1)
"""The bounds of a saga of which only the summary is kept."""


def load_bounds(text: str) -> Bounds:
    """Parses the output of `Bounds.dump`."""
    intervals, move, records = orjson.loads(text)
    return Bounds(tuple((first, last) for first, last in intervals), move, records)


def merged(intervals: Iterable[Interval], gap: int | None = None) -> tuple[Interval, ...]:
    """Returns the intervals in order; those that overlap, or are at most a gap (`MERGE_GAP`) apart, are merged."""
    gap = MERGE_GAP if gap is None else gap
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + gap:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def covering(many: Iterable[Bounds]) -> tuple[Interval, ...]:
    """Returns the merged intervals that contain the records of several sagas, so that each is read once."""
    return merged(interval for each in many for interval in each.intervals)


class Backlog(NamedTuple):
    """The number of sagas that wait for a summary, and the waiting time of the first in seconds."""

    sagas: int
    seconds: float


class Change(NamedTuple):
    """The records of one saga that its summary does not include."""

    bounds: Bounds
    first_at: float
    """The time at which the first of them was added, or at which the saga was deferred."""
    last_at: float


class Changes:
    """Changed sagas in the order of their first change. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changed: dict[SagaId, Change] = {}
        self._claimed: dict[SagaId, Change] = {}
        self._waiting_since: dict[SagaId, float] = {}

    def add(self, seq: int, records: Mapping[SagaId, int]) -> None:
        """Adds the numbers of records by saga of one commit, which is later than those added before."""
        now = self._clock()
        with self._lock:
            for saga, count in records.items():
                known = self._changed.get(saga)
                if known is None:
                    self._changed[saga] = Change(Bounds(((seq, seq),), 0, count), now, now)
                    self._waiting_since.setdefault(saga, now)
                else:
                    last_at = max(known.first_at, now)  # for a deferred saga, the end of the deferral
                    self._changed[saga] = Change(known.bounds.extended(seq, count), known.first_at, last_at)

    def restore(self, found: Mapping[SagaId, Bounds]) -> None:
        """Adds the changes that were pending when the database was closed."""
        now = self._clock()
        with self._lock:
            for saga, bounds in found.items():
                known = self._changed.get(saga)
                self._changed[saga] = Change(known.bounds.joined(bounds) if known else bounds, now, now)
                self._waiting_since.setdefault(saga, now)

    def backlog(self) -> Backlog:
        """Returns the size and age of the backlog."""
        with self._lock:
            since = next(iter(self._waiting_since.values()), None)
            sagas = self._changed.keys() | self._claimed.keys()
            return Backlog(len(sagas), 0.0 if since is None else self._clock() - since)

    def claim(self, limit: int, *, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """Returns the first sagas without new records for `quiet` seconds, or that have waited for `within` seconds.

        Only one reader may claim at a time. `settle` settles the records that existed at the claim; later records
        change the sagas again. Sagas that an earlier claim did not settle are claimed again.
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
        """Records that the summaries of these sagas include the claimed records."""
        with self._lock:
            for saga in sagas:
                if self._claimed.pop(saga, None) is None:
                    continue
                self._waiting_since.pop(saga, None)
                if again := self._changed.get(saga):
                    self._waiting_since[saga] = again.first_at

    def defer(self, sagas: Iterable[SagaId], *, seconds: float | None = None) -> None:
        """Moves these sagas behind all others, or delays them by `seconds`, which the backlog does not count."""
        now = self._clock()
        with self._lock:
            for saga in sagas:
                if saga in self._claimed or saga in self._changed:
                    bounds, at = self._bounds(saga), now + (seconds or 0.0)
                    self._claimed.pop(saga, None)
                    self._changed.pop(saga, None)  # so that it is the last one
                    self._changed[saga] = Change(bounds, at, at)
                if seconds is not None:
                    self._waiting_since.pop(saga, None)

    def drop(self, sagas: Iterable[SagaId]) -> None:
        """Removes these sagas, claimed or not."""
        with self._lock:
            for saga in sagas:
                for each in (self._claimed, self._changed, self._waiting_since):
                    each.pop(saga, None)

    def bounds(self, sagas: Iterable[SagaId]) -> dict[SagaId, Bounds]:
        """Returns the bounds of records that no summary includes; sagas without such records are absent."""
        with self._lock:
            found = {saga: self._bounds(saga) for saga in sagas}
        return {saga: bounds for saga, bounds in found.items() if bounds != NO_BOUNDS}

    def claimed(self, saga: SagaId) -> Bounds:
        """Returns the bounds of a saga's claimed records."""
        with self._lock:
            change = self._claimed.get(saga)
            return change.bounds if change else NO_BOUNDS

    def called(self, saga_id: str) -> list[SagaId]:
        """Returns the changed sagas with this id, in any environment."""
        with self._lock:
            return [saga for saga in (*self._claimed, *self._changed) if saga.id == saga_id]

    def all(self) -> dict[SagaId, Bounds]:
        """Returns all pending changes, claimed or not."""
        with self._lock:
            return {saga: self._bounds(saga) for saga in (*self._claimed, *self._changed)}

    def holds(self, saga: SagaId) -> bool:
        """Returns whether a saga has pending changes."""
        with self._lock:
            return saga in self._changed or saga in self._claimed

    def _bounds(self, saga: SagaId) -> Bounds:
        parts = [each.bounds for each in (self._claimed.get(saga), self._changed.get(saga)) if each]
        return NO_BOUNDS if not parts else parts[0] if len(parts) == 1 else parts[0].joined(parts[1])

    def _unclaim(self) -> None:
        """Makes claimed and unsettled changes claimable again, in their former position."""
        if not self._claimed:
            return
        found: dict[SagaId, Change] = {}
        for saga, claimed in self._claimed.items():
            again = self._changed.pop(saga, None)
            joined = claimed.bounds if again is None else claimed.bounds.joined(again.bounds)
            found[saga] = Change(joined, claimed.first_at, again.last_at if again else claimed.last_at)
        self._changed = dict(sorted((found | self._changed).items(), key=lambda item: item[1].first_at))
        self._claimed = {}
