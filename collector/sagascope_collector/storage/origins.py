"""What records came under: resource, scope and process, each stored once and referred to by a number."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import Entity, Process, Resource, Scope
from sagascope_collector.storage import schema, values
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("records")

ORIGINS: Final = pa.schema([("origin_id", pa.uint32()), *schema.ORIGIN])
NO_ORIGINS: Final = ORIGINS.empty_table()

_OF_PROCESS: Final = len(schema.PROCESS)

Columns = tuple[str, ...]
"""The values of `schema.ORIGIN`."""


@dataclass(slots=True)
class Origin:
    """What all records of one scope of one process share."""

    columns: Columns
    process: Process = field(init=False)
    _parsed: tuple[Resource, Scope] | None = None

    def __post_init__(self) -> None:
        """Reads the process at once: every record has it."""
        self.process = Process(*self.columns[:_OF_PROCESS])

    @property
    def parsed(self) -> tuple[Resource, Scope]:
        """The resource and the scope, parsed when they are first asked for."""
        if self._parsed is None:
            resource, scope = self.columns[_OF_PROCESS:]
            self._parsed = _resource(resource), _scope(scope)
        return self._parsed


class Origins:
    """The table of origins, in memory too. Written by the one thread that appends; read in any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._of_id: list[Origin | None] = []
        self._numbers: dict[Columns, int] = {}
        for number, *columns in database.rows(SQL["select_origins"]):
            self._put(number, tuple(columns))

    def numbered(self, batch: pa.Table) -> tuple[list[int], pa.Table]:
        """Returns the number of each row of `schema.ORIGINS`, and the rows to insert for those that are new.

        `added` takes them in once they are on disk.
        """
        rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True)) if batch.num_rows else []
        following = len(self._of_id)
        new: dict[Columns, int] = {}
        for row in rows:
            if row not in self._numbers and row not in new:
                new[row] = following + len(new)
        numbers = [self._numbers[row] if row in self._numbers else new[row] for row in rows]
        return numbers, _table(new) if new else NO_ORIGINS

    def added(self, rows: pa.Table) -> None:
        """Takes in rows that were inserted."""
        for number, *columns in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            self._put(number, tuple(columns))

    def __getitem__(self, number: int) -> Origin:
        """Returns the origin with this number; a record refers to no other."""
        found = self._of_id[number]
        if found is None:
            raise KeyError(number)
        return found

    def within(self, environment: str) -> list[int]:
        """Returns the numbers of the origins of an environment."""
        with self._lock:
            return [
                number for number, each in enumerate(self._of_id) if each and each.process.environment == environment
            ]

    def environments(self) -> list[str]:
        """Returns the environment of each origin, by its number; "" where a number is not in use."""
        with self._lock:
            return [each.process.environment if each else "" for each in self._of_id]

    def _put(self, number: int, columns: Columns) -> None:
        with self._lock:
            self._of_id += [None] * (number + 1 - len(self._of_id))
            self._of_id[number] = Origin(columns)
            self._numbers[columns] = number


def _table(new: dict[Columns, int]) -> pa.Table:
    rows = [(number, *columns) for columns, number in new.items()]
    arrays = zip(*rows, strict=True)
    return pa.table([pa.array(each, kind.type) for each, kind in zip(arrays, ORIGINS, strict=True)], schema=ORIGINS)


def _resource(text: str) -> Resource:
    attributes, dropped, schema_url, entities = orjson.loads(text)
    return Resource(values.attributes(attributes), dropped, schema_url, tuple(map(_entity, entities)))


def _entity(stored: Sequence[Any]) -> Entity:
    schema_url, type_, id_keys, description_keys = stored
    return Entity(type_, tuple(id_keys), tuple(description_keys), schema_url)


def _scope(text: str) -> Scope:
    name, version, attributes, dropped, schema_url = orjson.loads(text)
    return Scope(name, version, values.attributes(attributes), dropped, schema_url)
