"""Which chunks may have a record of a span, by its id alone: a filter beside each chunk, of 12 bits a record.

A filter is made from the chunk's own files when nothing else is to be done, and can be made again at any time: a chunk
that has none yet is looked through. Places in it as A. Kirsch and M. Mitzenmacher, "Less hashing, same performance",
2006.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from sagascope_collector.store import chunk, chunkfile, fingerprints, mapped
from sagascope_collector.store.chunk import Chunk, Entry
from sagascope_collector.store.database import Database
from sagascope_collector.store.fingerprints import Fingerprints

BITS: Final = 12
PLACES: Final = 6
"""One answer in 300 is wrong."""

_SECOND: Final = np.uint64(0x9E3779B97F4A7C15)
_6, _63 = np.uint64(6), np.uint64(63)


class SpanFilters:
    """The filters of one folder. Any thread may ask; one at a time makes what is missing."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._known: dict[Entry, Fingerprints] = {}

    def among(self, chunks: Iterable[Chunk], span_id: int) -> list[Chunk]:
        """Those chunks that may have a record of the span whose id is this number; see `fingerprints.words`."""
        hashes = [int(each[0]) for each in _hashes(np.array([span_id], np.uint64))]
        return [each for each in chunks if (known := self._filter(each)) is None or _holds(known, *hashes)]

    def step(self, chunks: Sequence[Chunk]) -> bool:
        """Make the filter of a chunk that has none; False: all have one.

        Raises:
            StoreUnavailable: it is still to be made.
        """
        self._known = {each.entry: self._known[each.entry] for each in chunks if each.entry in self._known}
        for each in chunks:
            if self._filter(each) is None:
                self._make(each)
                return True
        return False

    def _filter(self, each: Chunk) -> Fingerprints | None:
        known = self._known.get(each.entry)
        if known is None:
            try:
                known = mapped.load(chunk.path_of(self._folder, each.entry.number, chunk.FILTER))
            except (OSError, ValueError):
                return None
            if known.size != _size(each.entry.records + each.entry.links) or known[0] != each.entry.bytes:
                return None
            self._known[each.entry] = known
        return known

    def _make(self, each: Chunk) -> None:
        parts = (part for file in each.files.values() for part in chunkfile.columns(file, ("span_id",)))
        ids = (fingerprints.words(part["span_id"]) for part in parts)
        path = chunk.path_of(self._folder, each.entry.number, chunk.FILTER)
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            np.save(
                file,
                _made(ids, _size(each.entry.records + each.entry.links), each.entry.bytes),
            )
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)


def _size(records: int) -> int:
    """Numbers in a filter."""
    return records * BITS // 64 + 2


def _made(ids: Iterable[Fingerprints], size: int, check: int) -> Fingerprints:
    """The filter of these ids; its first number says of which files it was made."""
    words = np.zeros(size, np.uint64)
    words[0] = check
    for part in ids:
        for places in _places(*_hashes(part), words.size - 1):
            np.bitwise_or.at(words, (places >> _6) + np.uint64(1), np.uint64(1) << (places & _63))
    return words


def _holds(words: Fingerprints, first: int, second: int) -> bool:
    # as `_places`, of one id without arrays, which would take five times as long
    bits = (words.size - 1) * 64
    places = ((first + number * second) % 2**64 % bits for number in range(PLACES))
    return all(int(words[place // 64 + 1]) >> place % 64 & 1 for place in places)


def _hashes(ids: Fingerprints) -> tuple[Fingerprints, Fingerprints]:
    first = fingerprints.mixed(ids)
    return first, fingerprints.mixed(first ^ _SECOND)


def _places(first: Fingerprints, second: Fingerprints, words: int) -> Iterable[Fingerprints]:
    bits = np.uint64(words * 64)
    with np.errstate(over="ignore"):
        for number in range(PLACES):
            yield (first + np.uint64(number) * second) % bits
