"""Finds records that are already stored: senders repeat a request whose answer they did not receive.

Most repeats arrive soon. A record whose number (of its ids and times) is not among those of recent records is new
without a query, unless it is older than the numbers in memory. All other records are compared in full with the stored
ones: a copy that differs in any value is not a repeat.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database

Numbers = npt.NDArray[np.uint64]
NONE: Final = np.empty(0, np.uint64)

Mask = npt.NDArray[np.bool_]

MIN_NUMBERS_IN_MEMORY: int = 2_000_000
"""Minimum number of records whose numbers are in memory; the maximum is twice that, in 64 MB."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # the constants of SplitMix64
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


def span_numbers(spans: pa.Table) -> Numbers:
    """Returns a number for each span: equal for repeats, and different for nearly all others."""
    trace = _words(spans["trace_id"], 16)
    span = _words(spans["span_id"], 8)
    return _mixed(trace[:, 0], trace[:, 1], span[:, 0], spans["end"].to_numpy())


def log_numbers(logs: pa.Table) -> Numbers:
    """Returns a number for each log record: equal for repeats, and different for nearly all others."""
    trace = _words(logs["trace_id"], 16)
    span = _words(logs["span_id"], 8)
    times = (logs[name].to_numpy() for name in ("timestamp", "observed_at"))
    sizes = (pc.binary_length(logs[name]).to_numpy().astype(np.uint64) for name in ("body", "attribute_values"))
    return _mixed(trace[:, 0], trace[:, 1], span[:, 0], *times, *sizes)


def _mixed(*columns: Numbers) -> Numbers:
    with np.errstate(over="ignore"):
        mixed = np.zeros(len(columns[0]), np.uint64)
        for each in columns:
            mixed = (mixed ^ each) * _FIRST + _STEP
            mixed = (mixed ^ (mixed >> np.uint64(29))) * _SECOND
        found: Numbers = np.maximum(mixed ^ (mixed >> np.uint64(32)), np.uint64(1))  # 0 is an empty slot
        return found


def _words(ids: pa.ChunkedArray, size: int) -> npt.NDArray[np.uint64]:
    """Returns ids of this size in bytes as numbers; 0 for an absent id."""
    array, count = ids.combine_chunks(), size // 8
    if not len(array):
        return np.zeros((0, count), np.uint64)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    has = np.diff(offsets) == size
    words = np.zeros((len(array), count), np.uint64)
    if has.any():
        content = np.frombuffer(array.buffers()[2], np.uint8)
        places = offsets[:-1][has][:, None] + np.arange(size)
        words[has] = content[places].view(np.uint64).reshape(-1, count)
    return words


class NumberSet:
    """A set of numbers other than 0: a hash table that NumPy searches a column at a time."""

    def __init__(self) -> None:
        size = 1 << (2 * MIN_NUMBERS_IN_MEMORY - 1).bit_length()  # a power of two, so that a mask gives the slot
        self._slots: Numbers = np.zeros(size, np.uint64)
        self._mask = np.uint64(size - 1)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, numbers: Numbers) -> Mask:
        """Returns which of the numbers are in the set."""
        found = np.zeros(numbers.size, np.bool_)
        if not self._count:
            return found
        left, slots = np.arange(numbers.size), numbers & self._mask
        while left.size:
            there = self._slots[slots]
            found[left[there == numbers[left]]] = True
            probing = (there != 0) & (there != numbers[left])
            left, slots = left[probing], (slots[probing] + np.uint64(1)) & self._mask
        return found

    def add(self, numbers: Numbers) -> None:
        """Adds the numbers; those that exceed the capacity are omitted."""
        wanted = numbers[: MIN_NUMBERS_IN_MEMORY * 3 // 2 - self._count]
        slots = wanted & self._mask
        while wanted.size:
            empty = self._slots[slots] == 0
            self._slots[slots[empty]] = wanted[empty]
            placed = self._slots[slots] == wanted
            self._count += int(np.count_nonzero(placed & empty))
            probing = ~placed
            wanted, slots = wanted[probing], (slots[probing] + np.uint64(1)) & self._mask


SQL: Final = statements("records")

MAX_SKEW_NS: Final = 60_000_000_000
"""Maximum time by which a sender's clock may be ahead without its repeats being missed."""

RANGE_GAP_NS: Final = 600_000_000_000
"""Records whose times differ by more are searched in separate time ranges."""

MAX_RANGES: Final = 32

RECEIPT_RANGE_NS: Final = 3_600_000_000_000
"""A log record without a time has its time of receipt: its original is searched this far back."""


class Repeats:
    """Detects repeats of recent records. Used by the one thread that appends."""

    def __init__(self, database: Database, since: int) -> None:
        """Starts without numbers of records before `since`, in nanoseconds; 0: no earlier records are stored."""
        self._database = database
        self._since = self._newer_since = since
        self._older, self._newer = NumberSet(), NumberSet()

    def remember(self, numbers: Numbers, now: int) -> None:
        """Adds the numbers of records that are stored now."""
        if len(self._newer) + numbers.size > MIN_NUMBERS_IN_MEMORY:
            self._older, self._newer = self._newer, NumberSet()
            self._since, self._newer_since = self._newer_since, now
        self._newer.add(numbers)

    def fresh_spans(self, spans: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored spans are not repeats, and the numbers of all."""
        numbers = span_numbers(spans)
        start, end = spans["start"].to_numpy(), spans["end"].to_numpy()
        doubtful = self._doubtful(numbers, np.maximum(start, end))
        return self._fresh(spans, doubtful, start, SQL["select_repeated_spans"], "late_spans"), numbers

    def fresh_logs(self, logs: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored log records are not repeats, and the numbers of all."""
        numbers = log_numbers(logs)
        at = logs["at"].to_numpy()
        doubtful = self._doubtful(numbers, at)
        timeless = (logs["timestamp"].to_numpy() == 0) & (logs["observed_at"].to_numpy() == 0)
        since = np.where(timeless, np.maximum(at, RECEIPT_RANGE_NS) - np.uint64(RECEIPT_RANGE_NS), at)
        return self._fresh(logs, doubtful, since, SQL["select_repeated_logs"], "late_logs", at), numbers

    def _doubtful(self, numbers: Numbers, latest: Numbers) -> Mask:
        """Returns which may be repeats: of records in memory, of earlier ones, or of each other."""
        doubtful = self._newer.has(numbers) | self._older.has(numbers)
        if self._since:
            doubtful |= latest < np.uint64(self._since + MAX_SKEW_NS)
        _, indexes, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        return doubtful | (counts[indexes] > 1)

    def _fresh(
        self, rows: pa.Table, doubtful: Mask, since: Numbers, statement: str, name: str, until: Numbers | None = None
    ) -> Mask:
        fresh = np.ones(rows.num_rows, np.bool_)
        indexes = np.flatnonzero(doubtful)
        if not indexes.size:
            return fresh
        until = since if until is None else until
        chosen = rows.take(pa.array(indexes)).append_column("number", pa.array(indexes))
        for within in _ranges(since[indexes]):
            values = {"since": int(since[indexes[within]].min()), "until": int(until[indexes[within]].max())}
            found = self._database.rows(statement, values, **{name: chosen.take(pa.array(within))})
            fresh[[number for (number,) in found]] = False
        _drop_doubles(chosen, indexes, fresh)
        return fresh


def _ranges(times: Numbers) -> Iterator[npt.NDArray[np.int64]]:
    """Yields the positions of times that are close together, in a few groups."""
    order = np.argsort(times)
    gaps = np.diff(times[order])
    cuts = np.flatnonzero(gaps > RANGE_GAP_NS)
    if cuts.size >= MAX_RANGES:
        cuts = np.sort(cuts[np.argsort(gaps[cuts])[-MAX_RANGES + 1 :]])
    yield from np.split(order, cuts + 1)


def _drop_doubles(rows: pa.Table, indexes: npt.NDArray[np.int64], fresh: Mask) -> None:
    """Marks only one of several rows with equal content as not a repeat."""
    compared = rows.drop_columns([name for name in ("received_at", "at", "number") if name in rows.column_names])
    seen: set[tuple[Any, ...]] = set()
    for index, row in zip(indexes, zip(*(each.to_pylist() for each in compared.columns), strict=True), strict=True):
        if row in seen:
            fresh[index] = False
        seen.add(row)
