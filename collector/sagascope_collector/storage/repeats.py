"""Finds records that are stored already. Senders repeat a request whose answer they did not get.

Most repeats come soon. A record whose few numbers (ids and times) are not among those of the recent ones is new without
a look into the database, unless it is older than what is remembered. The others are compared with what is stored, in
full: a copy that differs in anything is no repeat.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database

SQL: Final = statements("records")

Numbers = npt.NDArray[np.uint64]
NONE: Final = np.empty(0, np.uint64)

Mask = npt.NDArray[np.bool_]

MIN_NUMBERS_IN_MEMORY: int = 2_000_000
"""Records whose numbers are in memory, at least; at most twice as many, in 64 MB."""

MAX_SKEW_NS: Final = 60_000_000_000
"""By how much a sender's clock may be ahead for its records to be looked for where they would be."""

RANGE_GAP_NS: Final = 600_000_000_000
"""Records whose times lie further apart are looked for in two ranges of time."""

MAX_RANGES: Final = 32

RECEIPT_RANGE_NS: Final = 3_600_000_000_000
"""A log record without a time was given that of its receipt: its original is looked for so far back."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


class Repeats:
    """Knows what came lately. Used by the one thread that appends."""

    def __init__(self, database: Database, since: int) -> None:
        """Remembers nothing from before `since`, in nanoseconds; 0: nothing is stored from before."""
        self._database = database
        self._since = self._newer_since = since
        self._older, self._newer = _Numbers(), _Numbers()

    def remember(self, numbers: Numbers, now: int) -> None:
        """Takes in the numbers of records that are stored now."""
        if len(self._newer) + numbers.size > MIN_NUMBERS_IN_MEMORY:
            self._older, self._newer = self._newer, _Numbers()
            self._since, self._newer_since = self._newer_since, now
        self._newer.add(numbers)

    def fresh_spans(self, spans: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored spans are no repeats, and the numbers of all."""
        numbers = span_numbers(spans)
        start, end = spans["start"].to_numpy(), spans["end"].to_numpy()
        doubtful = self._doubtful(numbers, np.maximum(start, end))
        return self._fresh(spans, doubtful, start, SQL["select_repeated_spans"], "late_spans"), numbers

    def fresh_logs(self, logs: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored log records are no repeats, and the numbers of all."""
        numbers = log_numbers(logs)
        at = logs["at"].to_numpy()
        doubtful = self._doubtful(numbers, at)
        timeless = (logs["timestamp"].to_numpy() == 0) & (logs["observed_at"].to_numpy() == 0)
        since = np.where(timeless, np.maximum(at, RECEIPT_RANGE_NS) - np.uint64(RECEIPT_RANGE_NS), at)
        return self._fresh(logs, doubtful, since, SQL["select_repeated_logs"], "late_logs", at), numbers

    def _doubtful(self, numbers: Numbers, latest: Numbers) -> Mask:
        """Returns which may be repeats: of what is remembered, of what came before that, or of each other."""
        doubtful = self._newer.has(numbers) | self._older.has(numbers)
        if self._since:
            doubtful |= latest < np.uint64(self._since + MAX_SKEW_NS)
        _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        return doubtful | (counts[places] > 1)

    def _fresh(
        self, rows: pa.Table, doubtful: Mask, since: Numbers, statement: str, name: str, until: Numbers | None = None
    ) -> Mask:
        fresh = np.ones(rows.num_rows, np.bool_)
        places = np.flatnonzero(doubtful)
        if not places.size:
            return fresh
        until = since if until is None else until
        chosen = rows.take(pa.array(places)).append_column("number", pa.array(places))
        for within in _ranges(since[places]):
            values = {"since": int(since[places[within]].min()), "until": int(until[places[within]].max())}
            found = self._database.rows(statement, values, **{name: chosen.take(pa.array(within))})
            fresh[[number for (number,) in found]] = False
        _drop_doubles(chosen, places, fresh)
        return fresh


def _ranges(times: Numbers) -> Iterator[npt.NDArray[np.int64]]:
    """Returns the positions of times that lie close together, in few groups."""
    order = np.argsort(times)
    gaps = np.diff(times[order])
    cuts = np.flatnonzero(gaps > RANGE_GAP_NS)
    if cuts.size >= MAX_RANGES:
        cuts = np.sort(cuts[np.argsort(gaps[cuts])[-MAX_RANGES + 1 :]])
    yield from np.split(order, cuts + 1)


def _drop_doubles(rows: pa.Table, places: npt.NDArray[np.int64], fresh: Mask) -> None:
    """Lets one of several rows with the same content be fresh."""
    compared = rows.drop_columns([name for name in ("received_at", "at", "number") if name in rows.column_names])
    seen: set[tuple[Any, ...]] = set()
    for place, row in zip(places, zip(*(each.to_pylist() for each in compared.columns), strict=True), strict=True):
        if row in seen:
            fresh[place] = False
        seen.add(row)


def span_numbers(spans: pa.Table) -> Numbers:
    """Returns a number of each span: the same for repeats, another for nearly all others."""
    trace = _words(spans["trace_id"], 16)
    span = _words(spans["span_id"], 8)
    return _mixed(trace[:, 0], trace[:, 1], span[:, 0], spans["end"].to_numpy())


def log_numbers(logs: pa.Table) -> Numbers:
    """Returns a number of each log record, likewise."""
    trace = _words(logs["trace_id"], 16)
    span = _words(logs["span_id"], 8)
    times = (logs[name].to_numpy() for name in ("timestamp", "observed_at"))
    sizes = (_sizes(logs[name]) for name in ("body", "attribute_values"))
    return _mixed(trace[:, 0], trace[:, 1], span[:, 0], *times, *sizes)


def _mixed(*columns: Numbers) -> Numbers:
    with np.errstate(over="ignore"):
        mixed = np.zeros(len(columns[0]), np.uint64)
        for each in columns:
            mixed = (mixed ^ each) * _FIRST + _STEP
            mixed = (mixed ^ (mixed >> np.uint64(29))) * _SECOND
        found: Numbers = np.maximum(mixed ^ (mixed >> np.uint64(32)), np.uint64(1))
        return found


def _words(ids: pa.ChunkedArray, size: int) -> npt.NDArray[np.uint64]:
    """Returns ids of this size as numbers; 0 where there is none."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    count = size // 8
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


def _sizes(texts: pa.ChunkedArray) -> Numbers:
    found: Numbers = pc.binary_length(texts).to_numpy().astype(np.uint64)
    return found


class _Numbers:
    """A set of numbers other than 0, as a hash table that NumPy looks through a column at a time."""

    def __init__(self) -> None:
        size = 1 << (2 * MIN_NUMBERS_IN_MEMORY - 1).bit_length()
        self._slots: Numbers = np.zeros(size, np.uint64)
        self._mask = np.uint64(size - 1)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, numbers: Numbers) -> Mask:
        """Returns which of these are in the set."""
        found = np.zeros(numbers.size, np.bool_)
        if not self._count:
            return found
        left, slots = np.arange(numbers.size), numbers & self._mask
        while left.size:
            there = self._slots[slots]
            found[left[there == numbers[left]]] = True
            going_on = (there != 0) & (there != numbers[left])
            left, slots = left[going_on], (slots[going_on] + np.uint64(1)) & self._mask
        return found

    def add(self, numbers: Numbers) -> None:
        """Adds these; more than fit are left out."""
        wanted = numbers[: MIN_NUMBERS_IN_MEMORY * 3 // 2 - self._count]
        slots = wanted & self._mask
        while wanted.size:
            empty = self._slots[slots] == 0
            self._slots[slots[empty]] = wanted[empty]
            placed = self._slots[slots] == wanted
            self._count += int(np.count_nonzero(placed & empty))
            going_on = ~placed
            wanted, slots = wanted[going_on], (slots[going_on] + np.uint64(1)) & self._mask
