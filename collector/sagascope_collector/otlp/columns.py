"""Collects decoded records, and turns them into the tables of a batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import orjson
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope_collector.engines import AttributeMapping, RecordFields
from sagascope_collector.otlp import anyvalue, limits, marks
from sagascope_collector.otlp.marks import MARK_KEYS, UNMARKED
from sagascope_collector.records import Mark, Process, Value
from sagascope_collector.storage import schema


@dataclass(frozen=True, slots=True)
class Origin:
    """What all records of one scope share; the order is that of `schema.ORIGIN`."""

    process: Process
    resource: str
    scope: str

    def columns(self) -> tuple[Any, ...]:
        """Its values, one for each column."""
        process = self.process
        names = process.environment, process.service, process.version, process.identity, process.instance
        return (*names, self.resource, self.scope)


class Origins:
    """The different origins of a batch, numbered."""

    def __init__(self) -> None:
        self._numbers: dict[Origin, int] = {}

    def number(self, origin: Origin) -> int:
        """The row in which it is found."""
        return self._numbers.setdefault(origin, len(self._numbers))

    def table(self) -> pa.Table:
        """All of them, as `schema.ORIGINS`."""
        return table(schema.ORIGIN, [each.columns() for each in self._numbers])


@dataclass(slots=True)
class Attributes:
    """The attributes of one record after the other: two JSON texts for each, see `store.schema`."""

    attribute_mapping: AttributeMapping
    texts: tuple[str, str] = ("[]", "[]")
    """Those of the record that was taken in last."""
    scope: str = ""
    service: str = ""
    """Whose records come now."""

    def place_of(self, attributes: Iterable[KeyValue], name: str = "") -> Mark:
        """Returns where a record with these attributes belongs; `name` is a span's."""
        wanted = self.attribute_mapping.keys
        said = {
            each.key: anyvalue.read(each.value) for each in attributes if each.key in MARK_KEYS or each.key in wanted
        }
        return self.place(said, name)

    def add(self, attributes: Iterable[KeyValue], place: Mark) -> None:
        """Takes in one record's attributes; `place` is where it belongs."""
        pairs = [(each.key, limits.cut(each.value)) for each in attributes]
        columns: dict[str, Any] = dict(zip(schema.MARK_KEYS, mark_columns(place), strict=True)) if place.id else {}
        keys, values = [], []
        for key, value in pairs:
            if _is_column(columns.get(key), value):
                keys.append(_NUMBERS[key])
            else:
                keys.append(_quoted(key))
                values.append(anyvalue.text(value))
        self.texts = f"[{','.join(keys)}]", f"[{','.join(values)}]"

    def place(self, said: Mapping[str, Value], name: str) -> Mark:
        """Where a record with these attributes belongs."""
        return (
            self.attribute_mapping.mark(RecordFields(name, self.scope, self.service, said), marks.mark_without_id(said))
            if said
            else UNMARKED
        )


_NUMBERS: Final = {key: str(number) for number, key in enumerate(schema.MARK_KEYS)}


def _is_column(column: str | int | None, value: AnyValue) -> bool:
    """Whether a column holds exactly this value."""
    match value.WhichOneof("value"):
        case "string_value":
            return isinstance(column, str) and column == value.string_value
        case "int_value":
            return isinstance(column, int) and column == value.int_value
        case _:
            return False


@lru_cache(maxsize=4096)
def _quoted(key: str) -> str:
    return orjson.dumps(key).decode()


class Rows:
    """Rows of one kind of record, growing."""

    def __init__(
        self, own: Sequence[tuple[str, pa.DataType]], origins: Origins, attribute_mapping: AttributeMapping
    ) -> None:
        """`own` are the columns that `add` is given."""
        self._columns = (*own, *schema.MARK, *schema.ATTRIBUTES, *schema.RECEIPT)
        self._rows: list[tuple[Any, ...]] = []
        self._origins = origins
        self._receipt = (0, 0)
        self.attributes = Attributes(attribute_mapping)

    def under(self, origin: Origin, received_at: int, scope: str) -> None:
        """Let the rows that follow be of this origin, and of the scope of this name."""
        self.attributes.scope, self.attributes.service = scope, origin.process.service
        self._receipt = received_at, self._origins.number(origin)

    def add(self, own: tuple[Any, ...], place: Mark) -> None:
        """Add a record whose attributes were just taken in."""
        self._rows.append((*own, *mark_columns(place), *self.attributes.texts, *self._receipt))

    def table(self) -> pa.Table:
        """Everything added, as a table of `schema.SPANS` or `schema.LOGS`."""
        return table(self._columns, self._rows)


@cache
def empty(columns: tuple[tuple[str, pa.DataType], ...]) -> pa.Table:
    """No rows, kept: making a table of thirty columns takes as long as reading fifty spans."""
    return pa.schema(list(columns)).empty_table()


def table(columns: Iterable[tuple[str, pa.DataType]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as a table: converted together, since an array costs more than the values of a few rows."""
    if not rows:
        return empty(tuple(columns))
    structs = pa.array(rows, _struct(tuple(columns)))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)])


@cache
def _struct(columns: tuple[tuple[str, pa.DataType], ...]) -> pa.StructType:
    return pa.struct([pa.field(name, kind) for name, kind in columns])


def mark_columns(place: Mark) -> tuple[str, str, str, str, str, str, str, int]:
    """The values of `schema.MARK`."""
    return place.id, place.name, place.run, place.role, place.step, place.type, place.key, place.attempt
