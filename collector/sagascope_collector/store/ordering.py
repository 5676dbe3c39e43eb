"""Lists of sagas in an order of choice: every summary that may be of them is looked at, newest and at rest alike.

A list by its beginning, newest first, is read from the end of history instead: see `listing`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import cursors, summaries
from sagascope_collector.store.contract import Order, SagaFilter, SagaRow
from sagascope_collector.store.database import Database
from sagascope_collector.store.rested import Rested, View
from sagascope_collector.store.shelf import Shelf
from sagascope_collector.store.sql import Query

OF_THE_OPEN: Final = ("attention", "incident", "alone")
"""What no saga at rest is narrowed to."""


class Hit(NamedTuple):
    """Where a saga stands, and where its summary is."""

    number: int
    text: str
    key: SagaKey
    shelf: Shelf | None = None
    place: int = 0


class Ordering:
    """Reads summaries. Any thread may ask."""

    def __init__(self, database: Database, rested: Rested) -> None:
        self._database = database
        self._rested = rested

    def page(
        self, view: View, narrowed: SagaFilter, order: Order, asked: dict[str, Any], after: cursors.Place | None
    ) -> list[tuple[cursors.Place, SagaRow]]:
        """The first rows after a place, each with its own; `asked` are the values of a query."""
        told = asked | {"by": order.by, "sign": -1 if order.is_falling else 1}
        told |= cursors.of_place(after)
        hits = [*self._of_open(told), *self._of_rested(view, narrowed, told)]
        hits.sort(key=lambda hit: hit.key)
        hits.sort(key=lambda hit: hit.text, reverse=order.is_falling)
        hits.sort(key=lambda hit: hit.number)
        chosen = list({hit.key: hit for hit in reversed(hits)}.values())[::-1][: asked["limit"]]
        rows = dict(self._read(chosen))
        placed = ((cursors.Place(str(order), hit.number, hit.text, *hit.key), rows.get(hit.key)) for hit in chosen)
        return [(place, row) for place, row in placed if row is not None]

    def _of_open(self, told: dict[str, Any]) -> Iterator[Hit]:
        for number, text, *key in self._database.rows(Query.ORDER_SAGAS, told):
            yield Hit(number, text, SagaKey(*key))

    def _of_rested(self, view: View, narrowed: SagaFilter, told: dict[str, Any]) -> Iterator[Hit]:
        shelves = {str(each.rows): each for each in view.shelves if each.may_have(narrowed, None)}
        if not shelves:
            return
        values = {name: told[name] for name in told.keys() - set(OF_THE_OPEN)} | {"files": list(shelves)}
        rows = self._database.rows(Query.ORDER_SHELVES, values, gone=view.gone_rows(shelves))
        for number, text, *key, path, place in rows:
            yield Hit(number, text, SagaKey(*key), shelves[path], place)

    def _read(self, hits: Sequence[Hit]) -> Iterator[tuple[SagaKey, SagaRow]]:
        """The summaries of these."""
        open_ones = {SagaId(hit.key.environment, hit.key.id) for hit in hits if hit.shelf is None}
        found = self._database.rows(
            Query.SELECT_SAGAS_OF_IDS, {"limit": 2**31}, wanted_sagas=summaries.ids_table(open_ones)
        )
        for shelf in {hit.shelf.entry.number: hit.shelf for hit in hits if hit.shelf}.values():
            places = [hit.place for hit in hits if hit.shelf is shelf]
            found += self._rested.at(shelf, np.array(places), Query.SELECT_SHELF_ROWS)
        for row in map(summaries.read, found):
            yield row.key, row
