"""Brings summaries to rest: moves those that are due onto a shelf, and merges small shelves into large ones.

First the files are written and on disk, then one transaction puts them into the catalogue and takes out what they
replace. A crash before it leaves files that nothing names; after it, files that nothing needs. Both are removed at the
next start.
"""

import threading
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store import shelf
from sagascope_collector.store.database import Database
from sagascope_collector.store.rested import NOWHERE, Owner, Rested
from sagascope_collector.store.shelf import Shelf
from sagascope_collector.store.sql import Query

AFTER: Final = 60_000_000_000
"""Nanoseconds since a saga's last sign of life after which it is at rest."""

TOGETHER: int = 20_000
"""Summaries that are moved at once, at least: each move reads all that are not at rest."""

MERGED: int = 12
"""Small shelves that are merged at once."""

SMALL: int = 100_000
"""Summaries below which a shelf is small."""

MOST: int = 100_000
"""Saga ids whose summaries are moved at once, at most: they are held in memory meanwhile."""

SPOILED: float = 0.2
"""Part of a shelf's rows that are gone at which it is written anew."""

ENTRIES: Final = pa.schema(
    [
        *((name, pa.uint64()) for name in ("number", "sagas")),
        *((name, pa.int64()) for name in ("earliest", "latest")),
        ("bytes", pa.uint64()),
        *((name, pa.string()) for name in ("steps", "services")),
    ]
)

LEFT_OUT: Final = pa.schema([("filename", pa.string()), ("file_row_number", pa.int64())])
NOTHING: Final = pa.schema([("environment", pa.string()), ("id", pa.string())]).empty_table()


Made = tuple[Shelf, pa.Table]


class Resting:
    """Writes shelves. `changing` is held while summaries change, here and by whoever puts them."""

    def __init__(self, database: Database, rested: Rested, changing: threading.Lock) -> None:
        self._database = database
        self._rested = rested
        self._changing = changing
        self.working = threading.Lock()
        """Held while files are written or exchanged."""
        ((self._written,),) = database.rows(Query.COUNT_SAGAS)
        self._woken: list[SagaId] | None = None
        """Those that were woken while shelves are merged."""

    def written(self, rows: int) -> None:
        """So many summaries were written that may come to rest."""
        self._written += rows

    def wake(self, ids: Sequence[SagaId]) -> list[Owner]:
        """Within a transaction: take out the summaries of these, which get new ones, or none."""
        if owners := self._rested.owners(ids) if ids else []:
            self._rested.take_out(owners)
        return owners

    def woken(self, owners: Sequence[Owner]) -> None:
        """The transaction in which `wake` gave these is over."""
        if owners:
            self._rested.taken_out(owners)
            if self._woken is not None:
                self._woken += [each.saga for each in owners]

    def step(self, now: int) -> bool:
        """Do one piece of work, if there is any; whether there was.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        with self.working:
            return self._move(now) or self._merge(self._due())

    def over(self, before: int, limit: int) -> Sequence[SagaId]:
        """Ids at rest of which nothing was heard since `before`: those whose sagas started first, of one shelf."""
        view = self._rested.view
        for each in reversed(view.shelves):
            gone = view.gone.get(each.entry.number, NOWHERE)
            values = {"before": before, "limit": limit}
            if rows := self._rested.at(each, gone, Query.SELECT_OVER, values):
                return [SagaId(*row) for row in rows]
        return []

    def purge(self) -> None:
        """Write anew every shelf with rows that are gone, so that nothing of them is left on disk.

        Raises:
            StoreUnavailable: something is left.
        """
        with self.working:
            gone = self._rested.view.gone
            for each in self._rested.view.shelves:
                if each.entry.number in gone:
                    self._merge([each])

    def _move(self, now: int) -> bool:
        if self._written < TOGETHER:
            return False
        with self._changing:
            resting = self._database.arrow(Query.SELECT_RESTING, {"before": now - AFTER, "limit": MOST})
            if resting.num_rows < MOST:
                self._written = 0
            if not resting.num_rows:
                return False
            rows = self._database.arrow(Query.SELECT_RESTING_ROWS, resting=resting)
            number = self._number()
            self._database.rows(Query.WRITE_SHELF, {"file": self._file(number)}, rows=rows)
            self._exchange([], self._finished(number, rows), resting)
        return True

    def _merge(self, old: Sequence[Shelf]) -> bool:
        if not old:
            return False
        with self._changing:
            self._woken = []
            gone = self._rested.view.gone
        number = self._number()
        values = {"files": [str(each.rows) for each in old], "file": self._file(number)}
        left_out = [
            {"filename": str(each.rows), "file_row_number": place}
            for each in old
            for place in gone.get(each.entry.number, ())
        ]
        self._database.rows(Query.MERGE_SHELVES, values, left_out=pa.Table.from_pylist(left_out, schema=LEFT_OUT))
        rows = self._database.arrow(Query.SELECT_SHELF, {"file": self._file(number)})
        made = self._finished(number, rows)
        with self._changing:
            self._exchange(old, made, NOTHING)
        if not rows.num_rows:
            shelf.discard(self._rested.folder, number)
        for each in old:
            shelf.discard(self._rested.folder, each.entry.number)
        return True

    def _due(self) -> Sequence[Shelf]:
        """Shelves that are to be written anew together; those next to each other in time."""
        view = self._rested.view
        for each in view.shelves:
            if len(view.gone.get(each.entry.number, ())) > each.entry.sagas * SPOILED:
                return [each]
        small = [each for each in view.shelves if each.entry.sagas < SMALL]
        return small[-MERGED:] if len(small) >= MERGED else []

    def _finished(self, number: int, rows: pa.Table) -> Made | None:
        """The shelf of a file that was written, and how many sagas of each flow it has; None: there are none."""
        if not rows.num_rows:
            return None
        entry = shelf.finish(self._rested.folder, number, rows)
        flows = self._database.arrow(Query.COUNT_SHELF, {"file": self._file(number)})
        named = zip(*(flows[name].to_pylist() for name in ("environment", "name", "status")), strict=True)
        return shelf.load(self._rested.folder, entry, named), flows

    def _exchange(self, old: Sequence[Shelf], made: Made | None, settled: pa.Table) -> None:
        """Replace shelves, or summaries elsewhere, by another shelf."""
        before = self._rested.view
        # shown before they are gone from where they were: whoever reads now finds them twice, not nowhere
        self._rested.show([made[0]] if made else [], old)
        try:
            with self._database.transaction():
                self._leave(old)
                if made:
                    self._enter(*made)
                if settled.num_rows:
                    self._database.count(Query.DELETE_SAGAS, settled=settled)
                owners = self.wake(self._woken or [])
        except BaseException:
            self._rested.view = before
            raise
        self._rested.taken_out(owners)
        self._woken = None

    def _enter(self, made: Shelf, flows: pa.Table) -> None:
        entries = pa.Table.from_pylist([made.entry._asdict()], schema=ENTRIES)
        self._database.count(Query.INSERT_SHELVES, entries=entries)
        self._database.count(Query.INSERT_SHELF_FLOWS, {"shelf": made.entry.number}, flows=flows)

    def _leave(self, old: Sequence[Shelf]) -> None:
        numbers = {"numbers": [each.entry.number for each in old]}
        for query in (Query.DELETE_SHELVES, Query.DELETE_SHELF_FLOWS, Query.DELETE_SHELF_GONE) if old else ():
            self._database.count(query, numbers)

    def _number(self) -> int:
        """A number that no shelf has."""
        taken = [each.entry.number for each in self._rested.view.shelves]
        shelf.discard_unfinished(self._rested.folder, taken)
        return max(taken, default=0) + 1

    def _file(self, number: int) -> str:
        return str(shelf.path_of(self._rested.folder, number, shelf.ROWS))
