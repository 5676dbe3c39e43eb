"""Lists of sagas and the search for one, over the summaries that change and those that are at rest.

A saga that is brought to rest meanwhile may be found in both places, and is answered once; it is never in neither.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import SagaId
from sagascope_collector.store import cursors, summaries
from sagascope_collector.store.contract import NEWEST, CourseCount, Order, Page, SagaFilter, SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.ordering import Ordering
from sagascope_collector.store.postings import Places
from sagascope_collector.store.rested import Rested, View
from sagascope_collector.store.shelf import Shelf
from sagascope_collector.store.sql import Query
from sagascope_collector.store.variants import Variants

KINDS: Final = ("id", "key", "prefix")
"""What a text may be of a saga that is found by it, best first."""

Hit = tuple[str, SagaRow]

T = TypeVar("T")


class Listing:
    """Reads summaries. Any thread may ask."""

    def __init__(self, database: Database, rested: Rested) -> None:
        self._database = database
        self._rested = rested
        self._ordering = Ordering(database, rested)
        self._variants = Variants(database)

    def page(self, narrowed: SagaFilter, limit: int, cursor: str | None, order: Order) -> Page:
        """See `Store.saga_rows`."""
        if order != NEWEST:
            return self._ordered(narrowed, limit, cursor, order)
        asked = _asked(narrowed, cursor) | {"limit": limit + 1}
        found = self._read(lambda view: self._page(view, narrowed, asked))
        return Page(found[:limit], cursors.write(found[limit - 1]) if len(found) > limit else None)

    def _ordered(self, narrowed: SagaFilter, limit: int, cursor: str | None, order: Order) -> Page:
        after = cursors.read_place(cursor, str(order)) if cursor else None
        asked = _asked(narrowed, None) | {"limit": limit + 1}
        asked.pop("before")
        found = self._read(lambda view: self._ordering.page(view, narrowed, order, asked, after))
        rows = [row for _, row in found[:limit]]
        return Page(rows, cursors.write_place(found[limit - 1][0]) if len(found) > limit else None)

    def _page(self, view: View, narrowed: SagaFilter, asked: dict[str, Any]) -> list[SagaRow]:
        limit, before = asked["limit"], asked["before"]
        found = [summaries.read(row) for row in self._database.rows(Query.SELECT_SAGAS, asked)]
        kept = {name: asked[name] for name in asked.keys() - {"attention", "incident", "alone"}}
        for each in view.shelves:
            if len(found) == limit and each.entry.latest < found[-1].started_at:
                break
            if each.may_have(narrowed, before):
                found = _newest([*found, *self._of_shelf(view, each, kept)])[:limit]
        return found

    def _of_shelf(self, view: View, each: Shelf, asked: dict[str, Any]) -> Iterator[SagaRow]:
        gone = view.gone.get(each.entry.number)
        more = 0 if gone is None else len(gone)
        values = asked | {"file": str(each.rows), "limit": asked["limit"] + more}
        without = set() if gone is None else set(gone.tolist())
        for *row, place in self._database.rows(Query.SELECT_SHELF_PAGE, values):
            if place not in without:
                yield summaries.read(row)

    def search(self, text: str, limit: int) -> list[Hit]:
        """Sagas found by exact id, business key value or the beginning of their id; best first, then newest."""
        return self._read(lambda view: self._search(view, text, limit))

    def _search(self, view: View, text: str, limit: int) -> list[Hit]:
        values = {"text": text, "member": summaries.member(text), "limit": limit}
        found = [(kind, summaries.read(row)) for kind, *row in self._database.rows(Query.SEARCH_SAGAS, values)]
        looks: tuple[Callable[[Shelf], Places], ...] = (
            lambda each: each.called([text]),
            lambda each: each.told(text),
            lambda each: each.beginning(text),
        )
        for kind, look in zip(KINDS, looks, strict=True):
            better = KINDS[: KINDS.index(kind) + 1]
            for each in view.shelves:
                good = [row for how, row in found if how in better]
                if len(good) >= limit and (kind != "id" and each.entry.latest < good[limit - 1].started_at):
                    break
                if (places := view.lasting(each, look(each))[:limit]).size:
                    found = _best([*found, *self._hits(each, places, text)])[:limit]
        return found

    def _hits(self, each: Shelf, places: Places, text: str) -> Iterator[Hit]:
        values = {"text": text, "member": summaries.member(text)}
        for kind, *row in self._rested.at(each, places, Query.SEARCH_SHELF, values):
            yield kind, summaries.read(row)

    def of_ids(self, ids: Sequence[SagaId], limit: int) -> list[SagaRow]:
        """The newest of all summaries of these ids."""
        return self._read(lambda view: self._of_ids(view, ids, limit))

    def _of_ids(self, view: View, ids: Sequence[SagaId], limit: int) -> list[SagaRow]:
        rows = self._database.rows(Query.SELECT_SAGAS_OF_IDS, {"limit": limit}, wanted_sagas=summaries.ids_table(ids))
        found, wanted = [summaries.read(row) for row in rows], set(ids)
        for each in view.shelves:
            if (places := view.lasting(each, each.called({saga.id for saga in ids}))).size:
                rows = self._rested.at(each, places, Query.SELECT_SHELF_ROWS)
                told = (summaries.read(row) for row in rows)
                found += [row for row in told if SagaId(row.key.environment, row.key.id) in wanted]
        return _newest(found)[:limit]

    def courses(self, name: str, environment: str | None, since: int, limit: int) -> list[CourseCount]:
        """See `Store.courses`."""
        return self._read(lambda view: self._variants.counted(view, name, environment, since, limit))

    def _read(self, read: Callable[[View], T]) -> T:
        """Read from what there is; once more where sagas came to rest meanwhile."""
        while True:
            view = self._rested.view
            try:
                found = read(view)
            except StoreUnavailable:
                if view.shelves == self._rested.view.shelves:
                    raise
            else:
                if view.shelves == self._rested.view.shelves:
                    return found


def _asked(narrowed: SagaFilter, cursor: str | None) -> dict[str, Any]:
    """The values of a query for a page."""
    after = cursors.read(cursor) if cursor else None
    asked: dict[str, Any] = {name: getattr(narrowed, name) for name in narrowed.__slots__}
    asked |= {name: summaries.element(asked[name]) for name in ("step", "service")}
    asked["course"] = summaries.names(narrowed.course)
    return asked | {
        "member": summaries.member(narrowed.q),
        "before": after and after.started_at,
        "after_environment": after and after.environment,
        "after_name": after and after.name,
        "after_id": after and after.id,
        "after_run": after and after.run,
    }


def _newest(rows: Iterable[SagaRow]) -> list[SagaRow]:
    """The rows as they are listed, each saga once."""
    return sorted({row.key: row for row in reversed(list(rows))}.values(), key=_place)


def _best(hits: Iterable[Hit]) -> list[Hit]:
    """Likewise, what was found for the best reason first."""
    once = {hit[1].key: hit for hit in reversed(list(hits))}
    return sorted(once.values(), key=lambda hit: (KINDS.index(hit[0]), _place(hit[1])))


def _place(row: SagaRow) -> tuple[Any, ...]:
    return (-row.started_at, *row.key)
