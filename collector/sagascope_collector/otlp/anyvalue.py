"""OTLP attribute values: as plain values, and as the JSON text that is stored, one by one or whole columns. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from sagascope_collector import json_values
from sagascope_collector.otlp import protobuf_columns
from sagascope_collector.otlp.protobuf_columns import Bools, Declined, Integers, decline, sizes
from sagascope_collector.records import Value

_PLAIN: Final = frozenset({"string_value", "bool_value", "int_value"})
"""Types that JSON represents directly."""


def text(value: AnyValue) -> str:
    """Returns the stored form of a value; ``null`` for an unset one, or one of the profiles signal."""
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return orjson.dumps(getattr(value, kind)).decode()
    return json_values.encode(read(value))


def read(value: AnyValue) -> Value:
    """Returns a value; a kvlist is `json_values.Pairs`, which keeps repeated keys."""
    match value.WhichOneof("value"):
        case None | "string_value_strindex":
            return None
        case "array_value":
            return [read(each) for each in value.array_value.values]
        case "kvlist_value":
            return json_values.Pairs(tuple((each.key, read(each.value)) for each in value.kvlist_value.values))
        case kind:
            return getattr(value, kind)


def encoded_pairs(attributes: Iterable[KeyValue]) -> list[tuple[str, Any]]:
    """Returns attributes as pairs for a stored JSON text."""
    return [(each.key, json_values.to_json(read(each.value))) for each in attributes]


def as_dict(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    """Returns attributes by key; of repeated keys the last counts."""
    return {each.key: read(each.value) for each in attributes}


UNSET, STRING, BOOL, INT, DOUBLE, BYTES, STRINDEX, ARRAY, KVLIST = range(9)
"""The type of a value."""

_KINDS: Final = dict(zip(protobuf_columns.ONE_OF, range(STRING, ARRAY), strict=True))

_QUOTE, _BACKSLASH, _SPACE = ord('"'), ord("\\"), ord(" ")


MAX_CACHED_BYTES: Final = 512
"""A longer list is not cached."""


@dataclass(frozen=True, slots=True)
class Values:
    """Values of any type, one at each position."""

    columns: pa.StructArray
    """Columns of AnyValue, as `protobuf_columns` declares it."""
    kinds: Integers
    request: Integers
    """The request of each value."""

    def of(self, kind: str, positions: Integers) -> pa.Array:
        """Returns the values at some positions of one member of the oneof."""
        return self.columns.field(kind).take(pa.array(positions))

    def texts(self, positions: Integers) -> pa.StringArray:
        """Returns the stored form of the values at some positions, in that order.

        Raises:
            Declined: some are nested deeper than columns are read.
        """
        kinds, parts, order = self.kinds[positions], [], []
        for kind in np.unique(kinds):
            found = np.flatnonzero(kinds == kind)
            parts.append(self._texts(int(kind), positions[found]))
            order.append(found)
        if len(parts) <= 1:
            return parts[0] if parts else pa.array([], pa.string())
        original_order = np.empty(len(positions), np.int64)
        original_order[np.concatenate(order)] = np.arange(len(positions))
        return pa.concat_arrays(parts).take(pa.array(original_order))

    def _texts(self, kind: int, positions: Integers) -> pa.StringArray:
        match kind:
            case _ if kind == STRING:
                return json_strings(self.of("string", positions))
            case _ if kind in (BOOL, INT):
                return pc.cast(self.of("bool" if kind == BOOL else "int", positions), pa.string())
            case _ if kind == DOUBLE:
                return pa.array(_doubles(self.of("double", positions).to_pylist()), pa.string())
            case _ if kind == BYTES:
                raws = self.of("bytes", positions).to_pylist()
                return pa.array([text(AnyValue(bytes_value=each)) for each in raws], pa.string())
            case _ if kind in (ARRAY, KVLIST):
                return pa.array(list(self._nested("array" if kind == ARRAY else "kvlist", positions)), pa.string())
            case _:
                return pa.repeat(pa.scalar("null"), len(positions))

    def _nested(self, kind: str, positions: Integers) -> Iterator[str]:
        for position, parts in zip(positions, self.of(kind, positions).to_pylist(), strict=True):
            raw = b"".join(parts)  # lists such as plans repeat, so their texts are cached
            text = (_cached_nested if len(raw) <= MAX_CACHED_BYTES else _nested)(kind, raw)
            if text is None:
                raise Declined([self.request[position]])
            yield text


def single_values(lists: pa.ListArray, request: Integers) -> Values:
    """Returns the value of each list, which has one or none.

    Raises:
        Declined: one was set twice, or has two types.
    """
    count = sizes(lists)
    decline(count > 1, request)
    columns = lists.values
    if len(columns) != len(lists):
        position = np.cumsum(count) - 1
        columns = columns.take(pa.array(position, mask=count == 0))
    return Values(columns, _kinds(columns, request), request)


def _kinds(columns: pa.StructArray, request: Integers) -> Integers:
    kinds, members = np.zeros(len(columns), np.int8), np.zeros(len(columns), np.int8)
    flat = dict(zip([each.name for each in columns.type], columns.flatten(), strict=True))
    for name, kind in _KINDS.items():
        if flat[name].null_count < len(columns):
            _set_kind(flat[name].is_valid().to_numpy(zero_copy_only=False), kind, kinds, members)
    for name, kind in (("array", ARRAY), ("kvlist", KVLIST)):
        if len(flat[name].values):
            _set_kind(pc.fill_null(pc.list_value_length(flat[name]), 0).to_numpy() > 0, kind, kinds, members)
    decline(members > 1, request)
    return kinds


def _set_kind(where: Bools, kind: int, kinds: Integers, members: Integers) -> None:
    kinds[where] = kind
    members += where


def json_strings(strings: pa.StringArray) -> pa.StringArray:
    """Returns each text as JSON."""
    wrapped = pc.binary_join_element_wise('"', strings, '"', "")
    special = _special(strings)
    if not special.any():
        return wrapped
    encoded = [orjson.dumps(each).decode() for each in strings.filter(pa.array(special)).to_pylist()]
    return pc.replace_with_mask(wrapped, pa.array(special), pa.array(encoded, pa.string()))


def _special(strings: pa.StringArray) -> Bools:
    """Returns which texts have characters that JSON escapes."""
    found = np.zeros(len(strings), np.bool_)
    raw = raw_bytes(strings)
    if len(raw) and (raw.min() < _SPACE or (raw == _QUOTE).any() or (raw == _BACKSLASH).any()):
        positions = np.flatnonzero((raw < _SPACE) | (raw == _QUOTE) | (raw == _BACKSLASH))
        ends = offsets(strings)[1:] - offsets(strings)[0]
        found[np.searchsorted(ends, positions, side="right")] = True
    return found


def offsets(strings: pa.Array) -> Integers:
    """Returns where each string or binary begins in its buffer, and where the last one ends."""
    return np.frombuffer(strings.buffers()[1], np.int32)[strings.offset : strings.offset + len(strings) + 1]


def raw_bytes(strings: pa.Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Returns the bytes of all texts, one after the other."""
    if not len(strings) or strings.buffers()[2] is None:
        return np.empty(0, np.uint8)
    at = offsets(strings)
    return np.frombuffer(strings.buffers()[2], np.uint8)[at[0] : at[-1]]


def json_arrays(texts: pa.StringArray, counts: Integers) -> pa.StringArray:
    """Returns JSON arrays of consecutive texts, with the given number of texts each."""
    ends = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=ends[1:])
    lists = pa.ListArray.from_arrays(pa.array(ends), texts)
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", "")


def _nested(kind: str, raw: bytes) -> str | None:
    """Returns the stored form of an array or kvlist; None if it is malformed, or nested too deep for columns."""
    value = AnyValue()
    try:
        if kind == "array":
            value.array_value.CopyFrom(ArrayValue.FromString(raw))
        else:
            value.kvlist_value.CopyFrom(KeyValueList.FromString(raw))
    except DecodeError:
        return None
    return text(value) if is_shallow(value) else None


_cached_nested = lru_cache(maxsize=4096)(_nested)


def is_shallow(value: AnyValue) -> bool:
    """Returns whether no value in it holds further values."""
    match value.WhichOneof("value"):
        case "array_value":
            return all(_is_plain(each) for each in value.array_value.values)
        case "kvlist_value":
            return all(_is_plain(each.value) for each in value.kvlist_value.values)
        case _:
            return True


def are_shallow(attributes: Sequence[Any]) -> bool:
    """Returns whether all values of attributes are shallow."""
    return all(is_shallow(each.value) for each in attributes)


def _is_plain(value: AnyValue) -> bool:
    return value.WhichOneof("value") not in ("array_value", "kvlist_value")


def _doubles(numbers: list[float]) -> list[str]:
    if all(map(math.isfinite, numbers)):
        return orjson.dumps(numbers)[1:-1].decode().split(",")
    return [text(AnyValue(double_value=each)) for each in numbers]
