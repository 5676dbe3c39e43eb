"""Which courses sagas of a type took, over what is open and what rests alike."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import orjson

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import CourseCount, SagaFilter
from sagascope_collector.store.database import Database
from sagascope_collector.store.rested import View
from sagascope_collector.store.sql import Query

MOST: Final = 1_000
"""Courses that are counted: what takes more has ids for the names of its steps."""


def counted(
    database: Database, view: View, name: str, environment: str | None, since: int, limit: int
) -> list[CourseCount]:
    """See `Store.courses`."""
    sagas, completed = Counter[str](), Counter[str]()
    newest: dict[str, tuple[int, SagaId]] = {}
    asked = {"name": name, "environment": environment, "since": since, "limit": MOST}
    for steps, number, well, where, id_, started_at in _rows(database, view, asked):
        sagas[steps] += number
        completed[steps] += well
        newest[steps] = max(newest.get(steps, (0, SagaId("", ""))), (started_at, SagaId(where, id_)))
    ordered = sorted(sagas, key=lambda steps: (-sagas[steps], steps))[:limit]
    return [
        CourseCount(tuple(orjson.loads(steps)), sagas[steps], completed[steps], newest[steps][1]) for steps in ordered
    ]


def _rows(database: Database, view: View, asked: dict[str, Any]) -> Iterator[Any]:
    yield from database.rows(Query.COUNT_COURSES, asked)
    narrowed = SagaFilter(environment=asked["environment"], name=asked["name"], since=asked["since"])
    shelves = {str(each.rows): each for each in view.shelves if each.may_have(narrowed, None)}
    if shelves:
        values = asked | {"files": list(shelves)}
        yield from database.rows(Query.COUNT_SHELF_COURSES, values, gone=view.gone_rows(shelves))
