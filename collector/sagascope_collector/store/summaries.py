"""`SagaRow`s to columns and back. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store.contract import LessonRow, SagaRow

SCHEMA: Final = pa.schema(
    [
        ("environment", pa.string()),
        ("name", pa.string()),
        ("id", pa.string()),
        ("run", pa.string()),
        ("status", pa.string()),
        ("attention", pa.string()),
        ("step", pa.string()),
        ("service", pa.string()),
        ("steps", pa.string()),
        ("services", pa.string()),
        ("started_at", pa.int64()),
        ("updated_at", pa.int64()),
        ("ended_at", pa.int64()),
        ("due_at", pa.int64()),
        ("keys", pa.string()),
        ("document", pa.string()),
    ]
)

RUNNERS: Final = pa.schema(
    [("environment", pa.string()), ("name", pa.string()), ("step", pa.string()), ("service", pa.string())]
)

LESSONS: Final = pa.schema(
    [
        *((name, pa.string()) for name in SagaKey._fields),
        ("ended_at", pa.int64()),
        ("document", pa.string()),
    ]
)

LATEST: Final = 2**63 - 1
"""The latest time that is kept, in the year 2262: received times may be any number of 64 bits."""

_TIMES: Final = ("started_at", "updated_at", "ended_at", "due_at")


def table(rows: Sequence[SagaRow]) -> pa.Table:
    """The rows as a table of `SCHEMA`."""
    if not rows:
        return SCHEMA.empty_table()
    told: dict[str, Sequence[Any]] = dict(zip(SagaRow._fields, zip(*rows, strict=True), strict=True))
    told |= zip(SagaKey._fields, zip(*told["key"], strict=True), strict=True)
    told |= {name: list(map(_text, told[name])) for name in ("steps", "services")}
    told |= {name: list(map(_time, told[name])) for name in _TIMES}
    told["keys"] = [orjson.dumps(each).decode() for each in told["keys"]]
    return pa.Table.from_arrays([pa.array(told[each.name], each.type) for each in SCHEMA], schema=SCHEMA)


def ids_table(ids: Iterable[SagaId]) -> pa.Table:
    """Saga ids as columns."""
    wanted = list(ids)
    environments = pa.array([each.environment for each in wanted], pa.string())
    return pa.table({"environment": environments, "id": pa.array([each.id for each in wanted], pa.string())})


def runners_table(runners: Mapping[tuple[str, str, str], str]) -> pa.Table:
    """(environment, saga name, step) and the service that runs it, as columns."""
    rows = [dict(zip(RUNNERS.names, (*step, service), strict=True)) for step, service in runners.items()]
    return pa.Table.from_pylist(rows, schema=RUNNERS)


def lessons_table(rows: Iterable[LessonRow]) -> pa.Table:
    """The lessons as a table of `LESSONS`; of two of one saga, the last."""
    latest = {row.key: row for row in rows}.values()
    written = [row.key._asdict() | {"ended_at": min(row.ended_at, LATEST), "document": row.document} for row in latest]
    return pa.Table.from_pylist(written, schema=LESSONS)


def read(columns: Sequence[Any]) -> SagaRow:
    """One fetched row, its columns in the order of `SCHEMA`."""
    row = dict(zip(SCHEMA.names, columns, strict=True))
    key = SagaKey(*(row.pop(name) for name in ("environment", "name", "id", "run")))
    row["steps"], row["services"] = tuple(orjson.loads(row["steps"])), tuple(orjson.loads(row["services"]))
    row["keys"] = orjson.loads(row["keys"])
    return SagaRow(key=key, **row)


@lru_cache(maxsize=4096)
def _text(names: tuple[str, ...]) -> str:
    return orjson.dumps(names).decode()


def _time(at: int | None) -> int | None:
    return at if at is None or at < LATEST else LATEST


def names(course: tuple[str, ...] | None) -> str | None:
    """The text of a list of these names."""
    return None if course is None else _text(course)


def element(value: str | None) -> str | None:
    """What the text of a list that holds `value` contains: no other text does, since JSON escapes quotes."""
    return None if value is None else orjson.dumps(value).decode()


def member(value: str | None) -> str | None:
    """What the text of an object contains in which some member is `value`."""
    return None if value is None else f":{element(value)}"
