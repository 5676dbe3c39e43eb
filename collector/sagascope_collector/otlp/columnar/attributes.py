"""The attributes of many records at once: the marks in columns of their own, the rest as texts."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.otlp.columnar.declined import Bools, Integers, decline
from sagascope_collector.otlp.columnar.nesting import NestedRecords, owners, sizes
from sagascope_collector.otlp.columnar.texts import INT, STRING, Values, joined, one_each
from sagascope_collector.storage import schema

_WORDS: Final = len(schema.MARK) - 1
"""Columns of `schema.MARK` that are texts: all but the last, which is the attempt."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What is stored of attributes: `schema.MARK` and `schema.ATTRIBUTES`."""

    marks: list[pa.Array]
    keys: pa.StringArray
    values: pa.StringArray

    def arrays(self) -> list[pa.Array]:
        """All of them, in the order of the schemas."""
        return [*self.marks, self.keys, self.values]


class Attributes:
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

    def columns(self) -> Columns:
        """What is stored of them; raises `Declined`."""
        marks = self._marks()
        elsewhere = np.flatnonzero(~self._in_columns)
        counts = np.bincount(self._owner[elsewhere], minlength=len(self._counts))
        return Columns(marks, self._keys(), joined(self._values.texts(elsewhere), counts))

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
