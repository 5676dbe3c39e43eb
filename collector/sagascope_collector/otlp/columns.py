"""Collects decoded records, and turns them into the tables of a batch."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from sagascope_collector.otlp import anyvalue
from sagascope_collector.otlp.marks import MARK_KEYS, UNMARKED, mark
from sagascope_collector.records import Mark, Process, Value
from sagascope_collector.store import schema


@dataclass(frozen=True, slots=True)
class Origin:
    """What all records of one scope in one request share; the order is that of `schema.ORIGIN`."""

    process: Process
    resource: str
    scope: str
    received_at: int

    def columns(self) -> tuple[Any, ...]:
        """Its values, one for each column."""
        return (*astuple(self.process), self.resource, self.scope, self.received_at)


@dataclass(slots=True)
class Attributes:
    """The attributes of many records: a JSON text for each, see `store.schema`."""

    texts: list[str] = field(default_factory=list)

    def add(self, attributes: Iterable[KeyValue]) -> Mark:
        """Take in one record's attributes, and read its place in a saga on the way."""
        said: dict[str, Value] = {}
        pairs = []
        for each in attributes:
            key = each.key
            pairs.append(f"[{_quoted(key)},{anyvalue.text(each.value)}]")
            if key in MARK_KEYS:
                said[key] = anyvalue.read(each.value)
        self.texts.append(f"[{','.join(pairs)}]")
        return mark(said) if said else UNMARKED

    def array(self) -> pa.StringArray:
        """All of them, in the order in which they came."""
        return pa.array(self.texts, pa.string())


@lru_cache(maxsize=4096)
def _quoted(key: str) -> str:
    return orjson.dumps(key).decode()


class Rows:
    """Rows of one kind of record, growing."""

    def __init__(self, own: Sequence[tuple[str, pa.DataType]]) -> None:
        """`own` are the columns that `add` is given."""
        self._columns = (*own, *schema.MARK)
        self._rows: list[tuple[Any, ...]] = []
        self._origins: list[tuple[Any, ...]] = []
        self._origin_of: list[int] = []
        self.attributes = Attributes()

    def under(self, origin: Origin) -> None:
        """Let the rows that follow be of this origin."""
        self._origins.append(origin.columns())

    def add(self, own: tuple[Any, ...], place: Mark) -> None:
        """Add a record whose attributes were just taken in."""
        self._rows.append((*own, *mark_columns(place)))
        self._origin_of.append(len(self._origins) - 1)

    def table(self) -> pa.Table:
        """Everything added, as a table of `schema.SPANS` or `schema.LOGS`."""
        every = table(self._columns, self._rows).append_column("attributes", self.attributes.array())
        shared = table(schema.ORIGIN, self._origins).take(pa.array(self._origin_of, pa.int64()))
        for name, column in zip(shared.column_names, shared.columns, strict=True):
            every = every.append_column(name, column)
        return every


def table(columns: Iterable[tuple[str, pa.DataType]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as a table."""
    wanted = pa.schema(list(columns))
    if not rows:
        return wanted.empty_table()
    arrays = [pa.array(column, each.type) for column, each in zip(zip(*rows, strict=True), wanted, strict=True)]
    return pa.Table.from_arrays(arrays, schema=wanted)


def mark_columns(place: Mark) -> tuple[str, str, str, str, str, str, str, int]:
    """The values of `schema.MARK`."""
    return place.id, place.name, place.run, place.role, place.step, place.type, place.key, place.attempt
