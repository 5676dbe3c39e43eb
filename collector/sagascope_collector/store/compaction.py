"""Makes large chunks of many that lie next to each other in time, piece by piece: whoever seals never waits long.

A piece is all that the old chunks have of a range of saga ids: small enough for memory, and in the order of the new
files. What a crash leaves half written is removed at the next start, and begun anew.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, takewhile
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from sagascope_collector.store import chunk, chunkfile, fingerprints
from sagascope_collector.store.catalogue import Catalogue
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.database import Database
from sagascope_collector.store.generation import KINDS, NEVER
from sagascope_collector.store.sql import Query

SMALL: int = 1_000_000
"""Records below which a chunk is small."""

MANY: int = 512
"""Small chunks up to which they are left alone: in a small one a saga is found sooner, and nothing is written twice.
Twice as many do not wait until there is time."""

TOGETHER: int = 16
"""Chunks of which one is made, the oldest of the small ones."""

LARGE: int = 4_000_000
"""Records that a chunk is given at most."""

PIECE: int = 250_000
"""Records that are held in memory at once."""

IDLE: float = 10_000.0
"""Records a second up to which the store has time for this."""

LOOK: float = 2.0
"""Seconds over which they are counted."""

SELECT: Final = {
    "spans": Query.SELECT_SPANS_BETWEEN,
    "logs": Query.SELECT_LOGS_BETWEEN,
    "links": Query.SELECT_LINKS_BETWEEN,
}

Range = tuple[str | None, str | None]
"""Saga ids after the one, up to the other; None: from the first, to the last."""


@dataclass(slots=True)
class _Work:
    """A chunk that is being made."""

    old: Sequence[Chunk]
    number: int
    ranges: Iterator[Range]
    writers: dict[str, pq.ParquetWriter] = field(default_factory=dict)

    def close(self) -> None:
        """Write the ends of its files."""
        for each in self.writers.values():
            each.close()


class Compaction:
    """One piece at a time, whichever thread asks for it."""

    def __init__(self, catalogue: Catalogue, database: Database, stored: Callable[[], int]) -> None:
        """`stored` is how many records there are: from it is told how busy the store is."""
        self._catalogue = catalogue
        self._database = database
        self._stored = stored
        self._seen = time.monotonic(), stored()
        self._is_idle = True
        self._work: _Work | None = None

    def step(self) -> bool:
        """Do one piece; False: there is nothing to do, or no time for it.

        Raises:
            StoreUnavailable: what was begun is begun anew by the next.
        """
        with self._catalogue.working:
            if self._work is None and not self._begin():
                return False
            try:
                self._advance()
            except BaseException:
                self._give_up()
                raise
            return True

    def give_up(self) -> None:
        """Remove what is half made, with all that is in it; it is begun anew by the next `step`."""
        with self._catalogue.working:
            self._give_up()

    def _begin(self) -> bool:
        chunks = self._catalogue.tiers.view.chunks
        small = [each for each in chunks if each.entry.records < SMALL]
        if len(small) <= MANY or not (self._has_time() or len(small) > 2 * MANY):
            return False
        sizes = accumulate(each.entry.records for each in small)
        old = small[: max(len(list(takewhile(lambda size: size <= LARGE, sizes))), 2)][:TOGETHER]
        number = self._catalogue.number()
        self._catalogue.unfinished.add(number)
        self._work = _Work(old, number, iter(_ranges(old)))
        return True

    def _has_time(self) -> bool:
        (at, before), now, stored = self._seen, time.monotonic(), self._stored()
        if now - at >= LOOK:
            self._is_idle = (stored - before) / (now - at) < IDLE
            self._seen = now, stored
        return self._is_idle

    def _advance(self) -> None:
        work = self._work
        if work is None or not set(map(id, work.old)) <= set(map(id, self._catalogue.tiers.view.chunks)):
            self._give_up()  # sagas have left one of them meanwhile
        elif (between := next(work.ranges, None)) is not None:
            self._piece(work, between)
        else:
            self._finish(work)

    def _piece(self, work: _Work, between: Range) -> None:
        for kind in KINDS:
            if files := [str(each.files[kind]) for each in work.old if kind in each.files]:
                values = {"files": files, "after": between[0], "through": between[1]}
                rows = self._database.arrow(SELECT[kind], values)
                if kind not in work.writers:
                    path = chunk.path_of(self._catalogue.tiers.folder, work.number, kind)
                    work.writers[kind] = chunkfile.writer(path, rows.schema)
                chunkfile.add(work.writers[kind], rows)

    def _finish(self, work: _Work) -> None:
        work.close()
        folder, bounds = self._catalogue.tiers.folder, NEVER
        for each in work.old:
            bounds = bounds.with_(each.bounds)
        indexes = ([each.sagas for each in work.old], [each.groups for each in work.old])
        chunk.save_index(folder, work.number, *(fingerprints.distinct(np.concatenate(each)) for each in indexes))
        counts = {kind: sum(getattr(each.entry, kind) for each in work.old) for kind in KINDS}
        self._catalogue.replace(work.old, [self._catalogue.finished(work.number, counts, bounds)])
        self._work = None
        self._catalogue.unfinished.discard(work.number)

    def _give_up(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.close()
            chunk.discard(self._catalogue.tiers.folder, work.number)
            self._catalogue.unfinished.discard(work.number)


def _ranges(chunks: Sequence[Chunk]) -> list[Range]:
    """Ranges of saga ids with so many records each as are held at once, as far as row groups tell."""
    ends = sorted(end for each in chunks for path in each.files.values() for end in chunkfile.ends(path))
    cuts: list[str] = []
    held = 0
    for saga_id, rows in ends:
        held += rows
        if held >= PIECE and saga_id not in cuts[-1:]:
            cuts.append(saga_id)
            held = 0
    return list(pairwise([None, *cuts, None]))
