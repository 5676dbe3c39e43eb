"""Turns closed generations into chunks, and small chunks into larger ones, while records go on coming in.

First the files are written and on disk, then one transaction puts them into the catalogue, then readers are turned to
them, then what they replace is removed. A crash before the transaction leaves files that nothing names; after it,
files that nothing needs. Both are removed at the next start.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from sagascope_collector.store import chunk, chunkfile, fingerprints
from sagascope_collector.store.chunk import Chunk, Entry
from sagascope_collector.store.database import Database
from sagascope_collector.store.generation import KINDS, NEVER, Bounds, Generation
from sagascope_collector.store.sql import Query
from sagascope_collector.store.statistics import Statistics
from sagascope_collector.store.tiers import Tiers

SMALL: int = 100_000
"""Records below which a chunk is to be merged with others."""

TOGETHER: int = 8
"""Small chunks that are merged at once: each record is written again about log(n) / log(this) times."""

AGE_EVERY: Final = 3_600.0
"""Seconds between two times that old statistics are put together."""

MERGE: Final = {"spans": Query.MERGE_SPANS, "logs": Query.MERGE_LOGS, "links": Query.MERGE_LINKS}

ENTRIES: Final = pa.schema([(name, pa.uint64()) for name in Entry._fields])


class Sealing:
    """The work of the background. One piece at a time, whichever thread asks for it."""

    def __init__(self, tiers: Tiers, database: Database, statistics: Statistics, beside: Callable[[int], None]) -> None:
        """Seal what `tiers` has closed; `beside` adds to the transaction what the journals up to one held besides."""
        self._tiers = tiers
        self._database = database
        self._statistics = statistics
        self._aged_at = 0.0
        self._beside = beside
        self.working = threading.Lock()
        """Held while files are written or exchanged."""

    def step(self) -> bool:
        """Do one piece of work; False: there was none.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self.working:
            view = self._tiers.view
            if view.closed:
                self._seal(view.closed[0])
                return True
            small = [each for each in view.chunks if each.entry.records < SMALL][:TOGETHER]
            if len(small) == TOGETHER:
                self._merge(small)
                return True
            return False

    def _seal(self, generation: Generation) -> None:
        self._age()
        folder, made, counted = self._tiers.folder, [], None
        if generation.records:
            number = self._number()
            rows = {kind: chunkfile.gathered(kind, generation) for kind in KINDS}
            for kind, table in rows.items():
                if table.num_rows:
                    chunkfile.write(kind, table, chunk.path_of(folder, number, kind))
            chunk.save_index(folder, number, generation.sagas(), generation.groups())
            counts = {kind: table.num_rows for kind, table in rows.items()}
            made = [self._finished(number, counts, generation.bounds())]
            counted = self._statistics.rolled(rows["spans"])
        with self._database.transaction():
            self._catalogue(made, [])
            self._beside(generation.number)
            if counted is not None:
                self._statistics.add(counted)
        self._tiers.exchange([generation], [], made)
        generation.journal.path.unlink(missing_ok=True)

    def _age(self) -> None:
        if time.monotonic() - self._aged_at > AGE_EVERY:
            self._aged_at = time.monotonic()
            with self._database.transaction():
                self._statistics.age(int(time.time()))

    def _merge(self, small: Sequence[Chunk]) -> None:
        folder, number, bounds = self._tiers.folder, self._number(), NEVER
        for each in small:
            bounds = bounds.with_(each.bounds)
        for kind in KINDS:
            if files := [str(each.files[kind]) for each in small if kind in each.files]:
                values = {"files": files, "file": str(chunk.path_of(folder, number, kind))}
                self._database.rows(MERGE[kind], values)
        indexes = ([each.sagas for each in small], [each.groups for each in small])
        chunk.save_index(folder, number, *(fingerprints.distinct(np.concatenate(each)) for each in indexes))
        counts = {kind: sum(getattr(each.entry, kind) for each in small) for kind in KINDS}
        made = [self._finished(number, counts, bounds)]
        with self._database.transaction():
            self._catalogue(made, small)
        self._tiers.exchange([], small, made)
        for each in small:
            chunk.discard(folder, each.entry.number)

    def _number(self) -> int:
        """A number that no file has, nor had."""
        taken = [each.entry.number for each in self._tiers.view.chunks]
        number = max(taken, default=0) + 1
        chunk.discard_unfinished(self._tiers.folder, taken)
        return number

    def _finished(self, number: int, counts: Mapping[str, int], bounds: Bounds) -> Chunk:
        size = chunk.settle(self._tiers.folder, number)
        return chunk.load(self._tiers.folder, Entry(number, **counts, earliest=bounds[0], latest=bounds[1], bytes=size))

    def _catalogue(self, made: Sequence[Chunk], gone: Sequence[Chunk]) -> None:
        if gone:
            self._database.rows(Query.DELETE_CHUNKS, {"numbers": [each.entry.number for each in gone]})
        if made:
            entries = pa.Table.from_pylist([each.entry._asdict() for each in made], schema=ENTRIES)
            self._database.rows(Query.INSERT_CHUNKS, entries=entries)
