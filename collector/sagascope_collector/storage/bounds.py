"""Between which commits the records of a saga lie. Pure."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

import orjson

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


def load(text: str) -> Bounds:
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
