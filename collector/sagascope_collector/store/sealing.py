"""Turns closed generations into chunks, and small chunks into larger ones, while records go on coming in."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sagascope_collector.store import chunk, chunkfile, fingerprints
from sagascope_collector.store.catalogue import Catalogue
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.database import Database
from sagascope_collector.store.generation import KINDS, NEVER, Generation
from sagascope_collector.store.leaving import NOBODY
from sagascope_collector.store.sql import Query
from sagascope_collector.store.statistics import Statistics

SMALL: int = 100_000
"""Records below which a chunk is to be merged with others."""

TOGETHER: int = 8
"""Small chunks that are merged at once: each record is written again about log(n) / log(this) times."""

AGE_EVERY: Final = 3_600.0
"""Seconds between two times that old statistics are put together."""

MERGE: Final = {"spans": Query.MERGE_SPANS, "logs": Query.MERGE_LOGS, "links": Query.MERGE_LINKS}


class Sealing:
    """The work of the background. One piece at a time, whichever thread asks for it."""

    def __init__(
        self, catalogue: Catalogue, database: Database, statistics: Statistics, beside: Callable[[int], None]
    ) -> None:
        """Seal what is closed; `beside` adds to the transaction what the journals up to one held besides."""
        self._catalogue = catalogue
        self._tiers = catalogue.tiers
        self._database = database
        self._statistics = statistics
        self._aged_at = 0.0
        self._beside = beside

    def step(self) -> bool:
        """Do one piece of work; False: there was none.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self._catalogue.working:
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
            number = self._catalogue.number()
            rows = {kind: chunkfile.gathered(kind, generation) for kind in KINDS}
            for kind, table in rows.items():
                if table.num_rows:
                    chunkfile.write(kind, table, chunk.path_of(folder, number, kind))
            chunk.save_index(folder, number, generation.sagas(), generation.groups())
            counts = {kind: table.num_rows for kind, table in rows.items()}
            made = [self._catalogue.finished(number, counts, generation.bounds())]
            counted = self._statistics.rolled(rows["spans"])

        def beside() -> None:
            self._beside(generation.number)
            if counted is not None:
                self._statistics.add(counted)

        self._catalogue.sealed(generation, made, beside)

    def _age(self) -> None:
        if time.monotonic() - self._aged_at > AGE_EVERY:
            self._aged_at = time.monotonic()
            with self._database.transaction():
                self._statistics.age(int(time.time()))

    def _merge(self, small: Sequence[Chunk]) -> None:
        folder, number, bounds = self._tiers.folder, self._catalogue.number(), NEVER
        for each in small:
            bounds = bounds.with_(each.bounds)
        for kind in KINDS:
            if files := [str(each.files[kind]) for each in small if kind in each.files]:
                values = {"files": files, "file": str(chunk.path_of(folder, number, kind)), "before": 0}
                self._database.rows(MERGE[kind], values, left_out=NOBODY)
        indexes = ([each.sagas for each in small], [each.groups for each in small])
        chunk.save_index(folder, number, *(fingerprints.distinct(np.concatenate(each)) for each in indexes))
        counts = {kind: sum(getattr(each.entry, kind) for each in small) for kind in KINDS}
        self._catalogue.replace(small, [self._catalogue.finished(number, counts, bounds)])
