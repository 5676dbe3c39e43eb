"""The columns of decoded records: origin, saga mark and attributes, record by record or many at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope import semconv
from sagascope_collector import json_values
from sagascope_collector.engines import AttributeMapping, RecordFields
from sagascope_collector.otlp import anyvalue, limits
from sagascope_collector.otlp.anyvalue import INT, STRING, Values, json_arrays, single_values
from sagascope_collector.otlp.protobuf_columns import Bools, Integers, NestedRecords, decline, owners, sizes
from sagascope_collector.records import UNMARKED, Mark, Process, Value, mark_of
from sagascope_collector.storage import schema


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource and scope that records share; the order is that of `schema.ORIGIN`."""

    process: Process
    resource: str
    scope: str

    def columns(self) -> tuple[Any, ...]:
        """Returns its values, one for each column."""
        process = self.process
        names = process.environment, process.service, process.version, process.identity, process.instance
        return (*names, self.resource, self.scope)


class Origins:
    """Numbers the distinct origins of a batch."""

    def __init__(self) -> None:
        self._numbers: dict[Origin, int] = {}

    def number(self, origin: Origin) -> int:
        """Returns the row of an origin."""
        return self._numbers.setdefault(origin, len(self._numbers))

    def table(self) -> pa.Table:
        """Returns all origins as `schema.ORIGINS`."""
        return table(schema.ORIGIN, [each.columns() for each in self._numbers])


@dataclass(slots=True)
class AttributeEncoder:
    """Encodes the attributes of one record at a time as two JSON texts, see `storage.schema`."""

    attribute_mapping: AttributeMapping
    texts: tuple[str, str] = ("[]", "[]")
    """The texts of the latest record."""
    scope: str = ""
    service: str = ""
    """The service of the records that follow."""
    mapped: Mapping[str, Value] = field(default_factory=dict)
    """The attributes that mapping rules give to the latest record."""

    def mark_of(self, attributes: Iterable[KeyValue], name: str = "", kind: str = "") -> Mark:
        """Returns the saga and step of a record with these attributes; `name` and `kind` are a span's."""
        wanted = self.attribute_mapping.keys
        known = {
            each.key: anyvalue.read(each.value) for each in attributes if each.key in _MARK_KEYS or each.key in wanted
        }
        return self.mark(known, name, kind)

    def add(self, attributes: Iterable[KeyValue], mark: Mark) -> None:
        """Encodes one record's attributes; `mark` is its saga and step."""
        pairs = [(each.key, limits.cut(each.value)) for each in attributes]
        columns: dict[str, Any] = dict(zip(schema.MARK_KEYS, mark_columns(mark), strict=True)) if mark.id else {}
        keys, values = [], []
        for key, value in pairs:
            # the mark has a column for this value, so the text has only the number of that column
            if _is_column(columns.get(key), value):
                keys.append(_NUMBERS[key])
            else:
                keys.append(_quoted(key))
                values.append(anyvalue.text(value))
        own = {key for key, _ in pairs} if self.mapped else ()
        if mapped := {key: value for key, value in self.mapped.items() if key not in own}:
            keys += [_quoted(key) for key in (*mapped, semconv.MAPPED)]
            values += [json_values.encode(value) for value in (*mapped.values(), list(mapped))]
        self.texts = f"[{','.join(keys)}]", f"[{','.join(values)}]"

    def mark(self, attributes: Mapping[str, Value], name: str, kind: str = "") -> Mark:
        """Returns the saga and step of a record with these attributes, and sets `mapped`."""
        self.mapped = {}
        if not attributes:
            return UNMARKED
        record = RecordFields(name, self.scope, self.service, attributes, kind)
        mark = self.attribute_mapping.mark(record, mark_of(attributes))
        if mark.id:
            self.mapped = self.attribute_mapping.attributes(record)
        return mark


_MARK_KEYS: Final = frozenset(schema.MARK_KEYS)
_NUMBERS: Final = {key: str(number) for number, key in enumerate(schema.MARK_KEYS)}


def _is_column(column: str | int | None, value: AnyValue) -> bool:
    """Returns whether a column holds exactly this value."""
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
    """Collects rows of one kind of record."""

    def __init__(
        self, own: Sequence[tuple[str, pa.DataType]], origins: Origins, attribute_mapping: AttributeMapping
    ) -> None:
        """Creates no rows; `own` are the columns that `add` receives."""
        self._columns = (*own, *schema.MARK, *schema.ATTRIBUTES, *schema.RECEIPT)
        self._rows: list[tuple[Any, ...]] = []
        self._origins = origins
        self._receipt = (0, 0)
        self.attributes = AttributeEncoder(attribute_mapping)

    def set_origin(self, origin: Origin, received_at: int, scope: str) -> None:
        """Sets the origin and the name of the scope for the rows that follow."""
        self.attributes.scope, self.attributes.service = scope, origin.process.service
        self._receipt = received_at, self._origins.number(origin)

    def add(self, own: tuple[Any, ...], mark: Mark) -> None:
        """Adds the record whose attributes were encoded last."""
        self._rows.append((*own, *mark_columns(mark), *self.attributes.texts, *self._receipt))

    def table(self) -> pa.Table:
        """Returns all rows as a table of `schema.SPANS` or `schema.LOGS`."""
        return table(self._columns, self._rows)


@cache
def empty_table(columns: tuple[tuple[str, pa.DataType], ...]) -> pa.Table:
    """Returns a cached table without rows: creating one of thirty columns takes as long as reading fifty spans."""
    return pa.schema(list(columns)).empty_table()


def table(columns: Iterable[tuple[str, pa.DataType]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Returns rows as a table; they are converted together, since an array costs more than a few values."""
    if not rows:
        return empty_table(tuple(columns))
    structs = pa.array(rows, _struct(tuple(columns)))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(structs)])


@cache
def _struct(columns: tuple[tuple[str, pa.DataType], ...]) -> pa.StructType:
    return pa.struct([pa.field(name, kind) for name, kind in columns])


def mark_columns(mark: Mark) -> tuple[str, str, str, str, str, str, str, int]:
    """Returns the values of `schema.MARK`."""
    return mark.id, mark.name, mark.run, mark.role, mark.step, mark.type, mark.key, mark.attempt


_MARK_TEXTS: Final = len(schema.MARK) - 1
"""The number of columns of `schema.MARK` that are texts: all but the last, which is the attempt."""


class NestedAttributes:
    """The attributes of nested records, as pairs of key and value with their owners."""

    def __init__(self, nested: NestedRecords) -> None:
        """Reads nested records; raises `Declined`."""
        lists = nested.records.field("attributes")
        self._counts = sizes(lists)
        self._owner = owners(lists)
        self._request = nested.request[self._owner]
        keys = lists.values.field("key").dictionary_encode()
        self._codes: Integers = keys.indices.to_numpy()
        self.names: list[str] = keys.dictionary.to_pylist()
        """The distinct keys."""
        self._values: Values = single_values(lists.values.field("value"), self._request)
        self._in_columns = np.zeros(len(self._codes), np.bool_)

    def positions(self, name: str) -> Integers:
        """Returns the positions of the attributes with a key."""
        if name not in self.names:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._codes == self.names.index(name))

    def first_strings(self, name: str) -> dict[int, str]:
        """Returns by record the text of its first attribute with this key; other values are ``""``."""
        found = self.positions(name)
        texts = pc.fill_null(self._values.of("string", found), "").to_pylist()
        return dict(zip(reversed(self._owner[found].tolist()), reversed(texts), strict=True))

    def columns(self) -> list[pa.Array]:
        """Returns the columns of `schema.MARK` and `schema.ATTRIBUTES`; raises `Declined`."""
        marks = self._marks()
        elsewhere = np.flatnonzero(~self._in_columns)
        counts = np.bincount(self._owner[elsewhere], minlength=len(self._counts))
        return [*marks, self._keys(), json_arrays(self._values.texts(elsewhere), counts)]

    def _marks(self) -> list[pa.Array]:
        """Returns the columns of `schema.MARK`; they are empty for a record without an id."""
        (id_key, *keys) = schema.MARK_KEYS
        ids = self._identifiers(id_key)
        marked = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        identifiers = [_where(marked, self._identifiers(key), "") for key in keys[: _MARK_TEXTS - 1]]
        attempts = _where(marked, self._attempts(keys[-1]), 0)
        self._in_columns &= marked[self._owner]
        return [ids, *identifiers, attempts]

    def _identifiers(self, key: str) -> pa.StringArray:
        found = self._mark_positions(key)
        if not len(found):
            return pa.repeat(pa.scalar(""), len(self._counts))
        strings = self._values.kinds[found] == STRING
        self._in_columns[found] = strings
        identifiers = self._values.of("string", found)
        if not strings.all():
            identifiers = pc.coalesce(identifiers, pc.cast(self._values.of("int", found), pa.string()))
        return _at_owners(identifiers, self._owner[found], len(self._counts), "")

    def _attempts(self, key: str) -> pa.Int64Array:
        found = self._mark_positions(key)
        decline(self._values.kinds[found] != INT, self._request[found])
        attempts = self._values.of("int", found).to_numpy()
        self._in_columns[found] = attempts >= 0
        return _at_owners(pa.array(np.maximum(attempts, 0)), self._owner[found], len(self._counts), 0)

    def _mark_positions(self, key: str) -> Integers:
        """Returns where a key of `schema.MARK` is; raises `Declined` where one is repeated or of another type."""
        found = self.positions(key)
        repeated = np.zeros(len(found), np.bool_)
        repeated[1:] = np.diff(self._owner[found]) == 0
        kinds = self._values.kinds[found]
        decline(repeated | ((kinds != STRING) & (kinds != INT)), self._request[found])
        return found

    def _keys(self) -> pa.StringArray:
        tokens = [orjson.dumps(each).decode() for each in self.names]
        numbers = {name: len(tokens) + number for number, name in enumerate(schema.MARK_KEYS)}
        tokens += map(str, range(len(schema.MARK_KEYS)))
        of_column = np.array([numbers.get(name, 0) for name in self.names], np.int64)
        chosen = self._codes.astype(np.int64)
        chosen[self._in_columns] = of_column[self._codes[self._in_columns]]
        return json_arrays(pa.array(tokens, pa.string()).take(pa.array(chosen)), self._counts)


def _at_owners(values: pa.Array, owner: Integers, length: int, absent: str | int) -> pa.Array:
    """Returns values at the positions of their owners, which are in order; `absent` elsewhere."""
    if len(owner) == length:
        return values
    positions = np.full(length, -1)
    positions[owner] = np.arange(len(owner))
    return pc.fill_null(values.take(pa.array(positions, mask=positions < 0)), absent)


def _where(wanted: Bools, values: pa.Array, otherwise: str | int) -> pa.Array:
    return values if wanted.all() else pc.if_else(pa.array(wanted), values, pa.scalar(otherwise, values.type))
