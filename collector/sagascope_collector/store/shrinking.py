"""Of sagas that completed long ago the summaries stay, and their records go.

A moment is kept, up to which that holds; it only grows. Records go after it was set, chunk by chunk: what the moment
says counts, also while records of such a saga are still there, or come again.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.contract import SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.leaving import Leaving
from sagascope_collector.store.rested import Rested
from sagascope_collector.store.resting import AFTER
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers

SECOND: Final = 1_000_000_000

EVERY: float = 3_600.0
"""Seconds between two times that the moment is set: chunks that hold both sides of it are written anew each time."""

IDS: Final = pa.schema([(name, pa.string()) for name in SagaId._fields])

COMPLETED: Final = "completed"


class Shrinking:
    """Knows which sagas were shrunk, and shrinks others. One thread at a time shrinks; any may ask."""

    def __init__(
        self,
        seconds: float | None,
        database: Database,
        tiers: Tiers,
        rested: Rested,
        leaving: Leaving,
        seal: Callable[[], None],
    ) -> None:
        """Shrink what completed and was not heard of for so many seconds; None: nothing more than was by now."""
        self._seconds = seconds
        self._database = database
        self._tiers = tiers
        self._rested = rested
        self._leaving = leaving
        self._seal = seal
        ((before,),) = database.rows(Query.SELECT_SHRUNK_BEFORE)
        self._before = int(before)
        self._next = 0.0
        self._seen: set[int] = set()

    def step(self, now: int) -> bool:
        """Shrink what lies in one chunk; False: there is nothing to do now.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        if self._seconds is None:
            return False
        if time.monotonic() >= self._next:
            self._set(now - max(round(self._seconds * SECOND), AFTER))
            self._next = time.monotonic() + EVERY
        for each in self._tiers.view.chunks:
            if each.entry.number not in self._seen and each.entry.earliest < self._before:
                self._shrink(each)
                return True
        return False

    @property
    def is_any(self) -> bool:
        """Whether any saga may have been shrunk."""
        return self._before > 0

    def is_shrunk(self, row: SagaRow) -> bool:
        """Whether this summary is all there is."""
        is_over = row.status == COMPLETED and row.attention is None and row.due_at is None
        return is_over and row.updated_at < self._before

    def among(self, ids: Sequence[SagaId]) -> set[SagaId]:
        """Those of these that were shrunk."""
        if not self._before or not ids:
            return set()
        settled = pa.Table.from_pylist([each._asdict() for each in ids], schema=IDS)
        rows = self._database.rows(Query.SELECT_SHRUNK, {"before": self._before}, settled=settled)
        at: defaultdict[int, list[int]] = defaultdict(list)
        for owner in self._rested.owners(ids):
            at[owner.shelf].append(owner.place)
        for each in self._rested.view.shelves:
            if places := at.get(each.entry.number):
                told = np.array(places, np.int64), Query.SELECT_SHRUNK_OF_SHELF, {"before": self._before}
                rows += self._rested.at(each, *told)
        return {SagaId(*row) for row in rows}

    def _set(self, before: int) -> None:
        if before <= self._before:
            return
        if any(each.records and each.bounds().earliest < before for each in self._tiers.view.generations):
            self._seal()
        self._database.rows(Query.UPDATE_SHRUNK_BEFORE, {"before": before})
        self._before = before
        self._seen.clear()

    def _shrink(self, each: Chunk) -> None:
        files = [str(path) for path in each.files.values()]
        found = {SagaId(*row) for path in files for row in self._database.rows(*_sagas_in(path))}
        self._leaving.without(self.among([saga for saga in found if saga.id]))
        self._seen.add(each.entry.number)


def _sagas_in(path: str) -> tuple[Query, dict[str, list[str]]]:
    return Query.SELECT_SEALED_SAGAS, {"files": [path]}
