"""Summaries that are at rest: of sagas that ended, need nobody, and were not heard of for a while.

They are nearly all there are, so they lie in files of their own, on *shelves*. A row that counts no longer, since its
saga was heard of again, is *gone*: its place is noted in the database, and it is left out when shelves are merged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store import fingerprints, postings, shelf
from sagascope_collector.store.bloom import Bloom
from sagascope_collector.store.database import Database
from sagascope_collector.store.postings import Places
from sagascope_collector.store.shelf import Flow, Shelf
from sagascope_collector.store.sql import Query

NOWHERE = np.empty(0, np.int64)

GONE_ROWS = pa.schema([("filename", pa.string()), ("file_row_number", pa.int64())])

GONE = pa.schema([("shelf", pa.uint64()), ("place", pa.int64())])


@dataclass(frozen=True, slots=True)
class View:
    """What there is at one moment."""

    shelves: tuple[Shelf, ...]
    """Whose sagas started last come first."""
    gone: Mapping[int, Places]
    """Places that count no longer, by the number of the shelf."""

    def lasting(self, each: Shelf, places: Places) -> Places:
        """Those of these places of a shelf that count."""
        return np.setdiff1d(places, self.gone.get(each.entry.number, NOWHERE), assume_unique=True)

    def gone_rows(self, shelves: Mapping[str, Shelf]) -> pa.Table:
        """Which rows of these shelves, by their files, count no longer."""
        rows = [
            {"filename": path, "file_row_number": place}
            for path, each in shelves.items()
            for place in self.gone.get(each.entry.number, ())
        ]
        return pa.Table.from_pylist(rows, schema=GONE_ROWS)


class Owner(NamedTuple):
    """Whose row is at a place."""

    shelf: int
    place: int
    saga: SagaId


class Rested:
    """The shelves. Those who change them do so one after the other; any thread may read a `view`."""

    def __init__(self, database: Database, folder: Path) -> None:
        """Load them.

        Raises:
            NotADatabase: files are missing or damaged.
        """
        self.folder = folder
        self._database = database
        self._asleep = Bloom()
        entries = [shelf.Entry(*row) for row in database.rows(Query.SELECT_SHELVES)]
        flows: dict[int, list[Flow]] = {}
        for number, *flow in database.rows(Query.SELECT_SHELF_FLOWS):
            flows.setdefault(number, []).append((*flow,))
        shelf.discard_unfinished(folder, [each.number for each in entries])
        gone = _by_shelf(database.rows(Query.SELECT_SHELF_GONE))
        shelves = [shelf.load(folder, each, flows.get(each.number, ())) for each in entries]
        for each in shelves:
            self._asleep.add(_shortened(each))
        self.view = View(_ordered(shelves), gone)

    def show(self, made: Iterable[Shelf], replaced: Iterable[Shelf]) -> None:
        """Turn readers to other shelves."""
        made, without = list(made), {each.entry.number for each in replaced}
        for each in made:
            ids = _shortened(each)
            self._asleep.add(ids[~self._asleep.may_hold(ids)])
        kept = [each for each in self.view.shelves if each.entry.number not in without]
        gone = {number: places for number, places in self.view.gone.items() if number not in without}
        self.view = View(_ordered([*kept, *made]), gone)

    def owners(self, ids: Sequence[SagaId]) -> list[Owner]:
        """The places of all summaries of these ids."""
        wanted = np.fromiter((fingerprints.of_text(each.id) for each in ids), np.uint64, len(ids))
        likely = fingerprints.distinct(wanted[self._asleep.may_hold(fingerprints.mixed(postings.short(wanted)))])
        return list(self._owners(self.view, likely, set(ids))) if likely.size else []

    def _owners(self, view: View, wanted: fingerprints.Fingerprints, ids: set[SagaId]) -> Iterator[Owner]:
        for each in view.shelves:
            here = wanted[postings.holds(each.ids, wanted)]
            places = view.lasting(each, postings.found(each.ids, here.tolist()))
            for environment, id_, place in self.at(each, places, Query.SELECT_OWNERS) if places.size else ():
                if (saga := SagaId(environment, id_)) in ids:
                    yield Owner(each.entry.number, place, saga)

    def take_out(self, owners: Sequence[Owner]) -> None:
        """Within a transaction: let these rows count no longer. Call `taken_out` when it is over."""
        by_shelf = _by_shelf((each.shelf, each.place) for each in owners)
        for each in self.view.shelves:
            if (places := by_shelf.get(each.entry.number)) is not None:
                values = {"file": str(each.rows), "shelf": each.entry.number}
                self._database.count(Query.TAKE_FROM_SHELF_FLOWS, values, places=_table(places))
        rows = [{"shelf": each.shelf, "place": each.place} for each in owners]
        self._database.count(Query.INSERT_SHELF_GONE, gone=pa.Table.from_pylist(rows, schema=GONE))

    def taken_out(self, owners: Sequence[Owner]) -> None:
        """Turn readers away from them."""
        gone = dict(self.view.gone)
        for number, places in _by_shelf((each.shelf, each.place) for each in owners).items():
            gone[number] = np.union1d(gone.get(number, NOWHERE), places)
        self.view = replace(self.view, gone=gone)

    def at(self, each: Shelf, places: Places, query: Query, values: Mapping[str, Any] | None = None) -> list[Any]:
        """What a query says of these rows of a shelf."""
        return self._database.rows(query, {"file": str(each.rows), **(values or {})}, places=_table(places))


def _shortened(each: Shelf) -> fingerprints.Fingerprints:
    """What the filter knows of a shelf's ids."""
    return fingerprints.mixed(postings.short(each.ids))


def _ordered(shelves: Iterable[Shelf]) -> tuple[Shelf, ...]:
    return tuple(sorted(shelves, key=lambda each: -each.entry.latest))


def _by_shelf(places: Iterable[Sequence[Any]]) -> dict[int, Places]:
    found: dict[int, list[int]] = {}
    for number, place in places:
        found.setdefault(number, []).append(place)
    return {number: np.unique(np.array(each, np.int64)) for number, each in found.items()}


def _table(places: Places) -> pa.Table:
    return pa.table({"file_row_number": pa.array(places, pa.int64())})
