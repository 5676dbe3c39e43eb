"""Tells records that are stored already from new ones, in both tiers, without an index that grows with history.

Generations know all their fingerprints. Of chunks a small filter says which traces they may hold; only for a record of
such a trace is the chunk read, and what was read is held for the next.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.store import chunkfile, fingerprints
from sagascope_collector.store.bloom import Bloom
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.database import Database
from sagascope_collector.store.fingerprints import NONE, Fingerprints, among
from sagascope_collector.store.generation import Bounds, Generation, bounds_of, columns_of, keys_of

HELD: int = 64 * 1024 * 1024
"""Bytes of fingerprints of chunks that are held in memory, the youngest among them; those of one in any case."""

Mask = npt.NDArray[np.bool_]


class Duplicates:
    """Knows every record there is. `without` is for the one thread that appends."""

    def __init__(self, database: Database, chunks: Sequence[Chunk]) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._chunks = list(chunks)
        self._held: OrderedDict[int, Fingerprints] = OrderedDict()
        self._traces = Bloom()
        for each in chunks:
            self._traces.add(np.asarray(each.groups))

    def without(
        self, generations: Iterable[Generation], spans: pa.Table, logs: pa.Table
    ) -> tuple[pa.Table, pa.Table, Fingerprints]:
        """The records that are new, each once, and their fingerprints, sorted."""
        keys = keys_of(spans, logs)
        distinct, first = np.unique(keys, return_index=True)
        known = np.zeros(distinct.size, np.bool_)
        for each in generations:
            known |= each.known.holds(distinct)
        known |= self._sealed_before(distinct, first, known, spans, logs)
        if distinct.size == keys.size and not known.any():
            return spans, logs, distinct
        chosen = np.sort(first[~known])
        of_spans, of_logs = chosen[chosen < spans.num_rows], chosen[chosen >= spans.num_rows] - spans.num_rows
        return spans.take(pa.array(of_spans)), logs.take(pa.array(of_logs)), distinct[~known]

    def sealed(self, generations: Sequence[Generation], old: Sequence[Chunk], new: Sequence[Chunk]) -> None:
        """Generations became a chunk, or chunks another."""
        with self._lock:
            self._chunks = [each for each in self._chunks if each not in old] + list(new)
            for chunk in new:
                if generations:
                    self._hold(chunk, fingerprints.distinct(np.concatenate([each.known.all() for each in generations])))
                    self._traces.add(np.asarray(chunk.groups))
            for chunk in old:
                self._held.pop(chunk.entry.number, None)

    def _sealed_before(
        self, distinct: Fingerprints, first: npt.NDArray[np.intp], known: Mask, spans: pa.Table, logs: pa.Table
    ) -> Mask:
        """Which records are in a chunk. Nearly always: none may be, and that is all that is looked at."""
        nothing = np.zeros(distinct.size, np.bool_)
        if not self._chunks:
            return nothing
        groups = np.concatenate([columns_of("spans", spans).groups, columns_of("logs", logs).groups])[first]
        doubtful = ~known & self._traces.may_hold(groups)
        if not doubtful.any():
            return nothing
        bounds = bounds_of(spans, logs)
        while True:
            with self._lock:
                chunks = list(self._chunks)
            try:
                return self._in_chunks(chunks, distinct, groups, doubtful, bounds)
            except StoreUnavailable:
                with self._lock:
                    if chunks == self._chunks:
                        raise  # else their files were exchanged for others meanwhile

    def _in_chunks(
        self, chunks: Sequence[Chunk], distinct: Fingerprints, groups: Fingerprints, doubtful: Mask, bounds: Bounds
    ) -> Mask:
        found, asked = np.zeros(distinct.size, np.bool_), np.unique(groups[doubtful])
        for each in reversed(chunks):
            if each.bounds.meets(bounds) and among(asked, each.groups).any():
                found[doubtful] |= among(distinct[doubtful], self._keys(each))
        return found

    def _keys(self, chunk: Chunk) -> Fingerprints:
        """The fingerprints of a chunk's records, sorted."""
        with self._lock:
            held = self._held.get(chunk.entry.number)
            if held is not None:
                self._held.move_to_end(chunk.entry.number)
                return held
        keys = self._read(chunk)
        with self._lock:
            self._hold(chunk, keys)
        return keys

    def _hold(self, chunk: Chunk, keys: Fingerprints) -> None:
        self._held[chunk.entry.number] = keys
        while len(self._held) > 1 and sum(each.nbytes for each in self._held.values()) > HELD:
            self._held.popitem(last=False)

    def _read(self, chunk: Chunk) -> Fingerprints:
        found = [NONE]
        if path := chunk.files.get("spans"):
            for part in chunkfile.columns(path, ("trace_id", "span_id", "end")):
                traces = fingerprints.of_traces(part["trace_id"])
                found.append(fingerprints.of_spans(traces, part["span_id"], part["end"]))
        if path := chunk.files.get("logs"):
            found += [fingerprints.of_logs(part["key"]) for part in chunkfile.columns(path, ("key",))]
        return fingerprints.distinct(np.concatenate(found))
