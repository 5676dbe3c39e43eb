"""The columns of decoded records: origin, saga mark and attributes, record by record or many at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope_collector.engines import AttributeMapping, RecordFields
from sagascope_collector.otlp import anyvalue, limits, marks
from sagascope_collector.otlp.anyvalue import INT, STRING, Values, joined, one_each
from sagascope_collector.otlp.marks import MARK_KEYS, UNMARKED
from sagascope_collector.otlp.protobuf_columns import Bools, Integers, NestedRecords, decline, owners, sizes
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


_WORDS: Final = len(schema.MARK) - 1
"""AttributeColumns of `schema.MARK` that are texts: all but the last, which is the attempt."""


@dataclass(frozen=True, slots=True)
class AttributeColumns:
    """What is stored of attributes: `schema.MARK` and `schema.ATTRIBUTES`."""

    marks: list[pa.Array]
    keys: pa.StringArray
    values: pa.StringArray

    def arrays(self) -> list[pa.Array]:
        """All of them, in the order of the schemas."""
        return [*self.marks, self.keys, self.values]


class NestedAttributes:
    """Pairs of key and value, and whose they are."""

    def __init__(self, nested: NestedRecords) -> None:
        """Reads nested records; raises `Declined`."""
        lists = nested.records.field("attributes")
        self._counts = sizes(lists)
        self._owner = owners(lists)
        self._request = nested.request[self._owner]
        keys = lists.values.field("key").dictionary_encode()
        self._codes: Integers = keys.indices.to_numpy()
        self._names: list[str] = keys.dictionary.to_pylist()
        self._values: Values = one_each(lists.values.field("value"), self._request)
        self._in_columns = np.zeros(len(self._codes), np.bool_)

    @property
    def names(self) -> list[str]:
        """The different keys."""
        return self._names

    def found(self, name: str) -> Integers:
        """Where this key stands."""
        if name not in self._names:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._codes == self._names.index(name))

    def first_strings(self, name: str) -> dict[int, str]:
        """By record, the text of the first attribute with this key; other values are empty texts."""
        found = self.found(name)
        texts = pc.fill_null(self._values.of("string", found), "").to_pylist()
        return dict(zip(reversed(self._owner[found].tolist()), reversed(texts), strict=True))

    def columns(self) -> AttributeColumns:
        """What is stored of them; raises `Declined`."""
        marks = self._marks()
        elsewhere = np.flatnonzero(~self._in_columns)
        counts = np.bincount(self._owner[elsewhere], minlength=len(self._counts))
        return AttributeColumns(marks, self._keys(), joined(self._values.texts(elsewhere), counts))

    def _marks(self) -> list[pa.Array]:
        """The columns of `schema.MARK`; a record without an id has none of them."""
        (id_key, *keys) = schema.MARK_KEYS
        ids = self._words(id_key)
        marked = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        words = [_where(marked, self._words(key), "") for key in keys[: _WORDS - 1]]
        attempts = _where(marked, self._attempts(keys[-1]), 0)
        self._in_columns &= marked[self._owner]
        return [ids, *words, attempts]

    def _words(self, key: str) -> pa.StringArray:
        found = self._mark_places(key)
        if not len(found):
            return pa.repeat(pa.scalar(""), len(self._counts))
        strings = self._values.kinds[found] == STRING
        self._in_columns[found] = strings
        words = self._values.of("string", found)
        if not strings.all():
            words = pc.coalesce(words, pc.cast(self._values.of("int", found), pa.string()))
        return _spread(words, self._owner[found], len(self._counts), "")

    def _attempts(self, key: str) -> pa.Int64Array:
        found = self._mark_places(key)
        decline(self._values.kinds[found] != INT, self._request[found])
        said = self._values.of("int", found).to_numpy()
        self._in_columns[found] = said >= 0
        return _spread(pa.array(np.maximum(said, 0)), self._owner[found], len(self._counts), 0)

    def _mark_places(self, key: str) -> Integers:
        """Where a mark's key stands, at most once in a record and with a word as its value."""
        found = self.found(key)
        repeated = np.zeros(len(found), np.bool_)
        repeated[1:] = np.diff(self._owner[found]) == 0
        kinds = self._values.kinds[found]
        decline(repeated | ((kinds != STRING) & (kinds != INT)), self._request[found])
        return found

    def _keys(self) -> pa.StringArray:
        tokens = [orjson.dumps(each).decode() for each in self._names]
        numbers = {name: len(tokens) + number for number, name in enumerate(schema.MARK_KEYS)}
        tokens += map(str, range(len(schema.MARK_KEYS)))
        of_column = np.array([numbers.get(name, 0) for name in self._names], np.int64)
        chosen = self._codes.astype(np.int64)
        chosen[self._in_columns] = of_column[self._codes[self._in_columns]]
        return joined(pa.array(tokens, pa.string()).take(pa.array(chosen)), self._counts)


def _spread(values: pa.Array, owner: Integers, length: int, absent: str | int) -> pa.Array:
    """Values at the places of their owners, who are in order; `absent` elsewhere."""
    if len(owner) == length:
        return values
    place = np.full(length, -1)
    place[owner] = np.arange(len(owner))
    return pc.fill_null(values.take(pa.array(place, mask=place < 0)), absent)


def _where(wanted: Bools, values: pa.Array, otherwise: str | int) -> pa.Array:
    return values if wanted.all() else pc.if_else(pa.array(wanted), values, pa.scalar(otherwise, values.type))
