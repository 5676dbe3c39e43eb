"""Computes a number for each record, equal for repeats, and holds such numbers in a set."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.uint64]
NONE: Final = np.empty(0, np.uint64)

Mask = npt.NDArray[np.bool_]

MIN_NUMBERS_IN_MEMORY: int = 2_000_000
"""Minimum number of records whose numbers are in memory; the maximum is twice that, in 64 MB."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
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
        found: Numbers = np.maximum(mixed ^ (mixed >> np.uint64(32)), np.uint64(1))
        return found


def _words(ids: pa.ChunkedArray, size: int) -> npt.NDArray[np.uint64]:
    """Returns ids of this size in bytes as numbers; 0 for an absent id."""
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


class NumberSet:
    """A set of numbers other than 0: a hash table that NumPy searches a column at a time."""

    def __init__(self) -> None:
        size = 1 << (2 * MIN_NUMBERS_IN_MEMORY - 1).bit_length()
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
