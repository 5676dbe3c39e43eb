"""The stored summary of a saga, `SagaRow`, and its conversion to columns and back."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope_collector.incident_records import IncidentSaga
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import schema

LATEST_TIME_NS: Final = 2**63 - 1
"""The latest time that can be stored, in the year 2262: a record may contain any number of 64 bits."""


class SagaRow(NamedTuple):
    """The stored summary of one saga, so that lists need no records; it can be rebuilt from the records at any time."""

    key: SagaKey
    status: str
    attention: str | None
    step: str | None
    service: str | None
    steps: tuple[str, ...]
    """Names of all steps with an attempt, for the ``step`` filter."""
    services: tuple[str, ...]
    started_at: int
    updated_at: int
    ended_at: int | None
    due_at: int | None
    """When it must be re-evaluated even without new records, in nanoseconds; None: never."""
    keys: dict[str, str]
    document: str
    """The summary that the API returns, as JSON."""
    step_services: Mapping[str, str] = MappingProxyType({})
    """The service that ran each step, by step name; stored for all sagas of a type: `Sagas.step_services`."""
    incident: IncidentSaga | None = None
    """Why it needs attention. Only `Incidents` reads it; rows read from the table have None."""


class Page(NamedTuple):
    """Rows in the requested order, and the cursor of the next page; None: there is none."""

    rows: list[SagaRow]
    next_cursor: str | None


_TIMES: Final = ("started_at", "updated_at", "ended_at", "due_at")

SCHEMA: Final = pa.schema(
    schema.columns(
        "id_hash environment name id run status attention step service steps services started_at updated_at ended_at "
        "due_at keys document bounds",
        id_hash=pa.uint64(),
        **dict.fromkeys(_TIMES, pa.int64()),
    )
)
"""The columns of `open_sagas`."""

_READ: Final = [name for name in SCHEMA.names if name not in ("id_hash", "bounds")]


def table(rows: Sequence[SagaRow], bounds: Mapping[SagaId, str]) -> pa.Table:
    """Returns rows, at least one, as a table of `SCHEMA`; `bounds` are those of each id, as text."""
    columns: dict[str, Sequence[Any]] = dict(zip(SagaRow._fields, zip(*rows, strict=True), strict=True))
    columns |= zip(SagaKey._fields, zip(*columns["key"], strict=True), strict=True)
    columns |= {name: list(map(text_of, columns[name])) for name in ("steps", "services")}
    columns |= {name: list(map(_time, columns[name])) for name in _TIMES}
    columns["keys"] = [orjson.dumps(each).decode() for each in columns["keys"]]
    columns["id_hash"] = [id_hash(id_) for id_ in columns["id"]]
    columns["bounds"] = [bounds[id_of(row)] for row in rows]
    return pa.Table.from_arrays([pa.array(columns[each.name], each.type) for each in SCHEMA], schema=SCHEMA)


def id_hash(text: str) -> int:
    """Returns DuckDB's `md5_number_lower`."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")


def ids_table(ids: Iterable[SagaId]) -> pa.Table:
    """Returns saga ids as a table."""
    return schema.table("environment id", ids)


def read(columns: Sequence[Any]) -> SagaRow:
    """Returns a row from a fetched tuple with the columns of `SCHEMA` except the bounds."""
    row = dict(zip(_READ, columns, strict=True))
    key = SagaKey(*(row.pop(name) for name in ("environment", "name", "id", "run")))
    row["steps"], row["services"] = tuple(orjson.loads(row["steps"])), tuple(orjson.loads(row["services"]))
    row["keys"] = orjson.loads(row["keys"])
    return SagaRow(key=key, **row)


@lru_cache(maxsize=4096)
def text_of(names: tuple[str, ...]) -> str:
    """Returns the stored form of a list of names."""
    return orjson.dumps(names).decode()


def _time(at: int | None) -> int | None:
    return at if at is None or at < LATEST_TIME_NS else LATEST_TIME_NS


def element(value: str | None) -> str | None:
    """Returns a text that only lists with the element `value` contain, because JSON escapes quotes."""
    return None if value is None else orjson.dumps(value).decode()


def member(value: str | None) -> str | None:
    """Returns a text that objects with a member of the value `value` contain."""
    return None if value is None else f":{element(value)}"


def id_of(row: SagaRow) -> SagaId:
    """Returns the id under which the saga's records are stored."""
    return SagaId(row.key.environment, row.key.id)
