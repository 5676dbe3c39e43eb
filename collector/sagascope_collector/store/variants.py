"""Which courses sagas of a type took, over what is open and what rests alike."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import orjson

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import CourseCount, SagaFilter
from sagascope_collector.store.database import Database
from sagascope_collector.store.rested import View
from sagascope_collector.store.shelf import Shelf
from sagascope_collector.store.sql import Query

MOST: Final = 1_000
"""Courses that are counted: what takes more has ids for the names of its steps."""

REMEMBERED: Final = 10_000
"""Shelves and types of which it is remembered what was counted."""

Row = tuple[str, int, int, str, str, int]
"""Steps, sagas, those that completed, and of the newest environment, id and start."""


class Variants:
    """Counts courses. What a shelf has never changes, but for rows that are gone, and is counted once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[object, ...], list[Row]] = {}

    def counted(self, view: View, name: str, environment: str | None, since: int, limit: int) -> list[CourseCount]:
        """See `Store.courses`."""
        sagas, completed = Counter[str](), Counter[str]()
        newest: dict[str, tuple[int, SagaId]] = {}
        asked = {"name": name, "environment": environment, "since": since, "limit": MOST}
        for steps, number, well, where, id_, started_at in self._rows(view, asked):
            sagas[steps] += number
            completed[steps] += well
            newest[steps] = max(newest.get(steps, (0, SagaId("", ""))), (started_at, SagaId(where, id_)))
        ordered = sorted(sagas, key=lambda steps: (-sagas[steps], steps))[:limit]
        return [
            CourseCount(tuple(orjson.loads(steps)), sagas[steps], completed[steps], newest[steps][1])
            for steps in ordered
        ]

    def _rows(self, view: View, asked: dict[str, Any]) -> Iterator[Row]:
        yield from self._database.rows(Query.COUNT_COURSES, asked)
        narrowed = SagaFilter(environment=asked["environment"], name=asked["name"], since=asked["since"])
        some: dict[str, Shelf] = {}
        for each in view.shelves:
            if each.may_have(narrowed, None):
                if each.entry.earliest >= asked["since"]:
                    yield from self._of_whole(view, each, asked)
                else:
                    some[str(each.rows)] = each
        if some:
            yield from self._of_shelves(view, some, asked)

    def _of_whole(self, view: View, each: Shelf, asked: dict[str, Any]) -> list[Row]:
        gone = len(view.gone.get(each.entry.number, ()))
        key = each.entry, gone, asked["name"], asked["environment"]
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = self._of_shelves(view, {str(each.rows): each}, asked | {"since": 0})
        return self._known[key]

    def _of_shelves(self, view: View, shelves: dict[str, Shelf], asked: dict[str, Any]) -> list[Row]:
        values = asked | {"files": list(shelves)}
        return self._database.rows(Query.COUNT_SHELF_COURSES, values, gone=view.gone_rows(shelves))
