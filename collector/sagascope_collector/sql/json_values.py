"""Converts values of query results to JSON.

Times become RFC 3339 in UTC; decimals, NaN and the infinities strings; bytes base64; nested values and JSON stay JSON;
integers of up to 64 bits become numbers, larger ones strings. Values without a JSON form become DuckDB's text.
"""

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple, Self

import orjson
import pyarrow as pa

from sagascope_collector.client.schemas import rfc3339
from sagascope_collector.errors import BadValue
from sagascope_collector.sql.allow_list import names

_CARRIED: Final = names(
    """
    array bigint blob boolean date decimal double float integer list map smallint struct time timestamp tinyint ubigint
    uinteger usmallint utinyint uuid varchar
    """
) | {"timestamp with time zone", "sqlnull", "null"}
"""Types that Arrow carries without loss if it does so for their element types; others are read as text."""

_LARGE_INTEGERS: Final = frozenset({"HUGEINT", "UHUGEINT", "BIGNUM"})
_INTEGERS: Final = range(-(2**63), 2**64)
"""Integers that are numbers in JSON."""


class Column(NamedTuple):
    """A column of a result; the type has DuckDB's name."""

    name: str
    type: str
    is_carried: bool

    @classmethod
    def of(cls, name: str, kind: Any) -> Self:
        """Returns the column for a type of DuckDB."""
        return cls(name, str(kind), _is_carried(kind))


def _is_carried(kind: Any) -> bool:
    if kind.id not in _CARRIED and str(kind) != "JSON":
        return False
    below = kind.children if kind.id in ("array", "list", "map", "struct") else ()
    return all(_is_carried(each) for _, each in below if not isinstance(each, int))


def readable(query: str, columns: Sequence[Column], limit: int) -> str:
    """Returns a query for the first rows of another, with its columns in readable types."""
    read = (f"#{number}" if each.is_carried else f"#{number}::VARCHAR" for number, each in enumerate(columns, 1))
    return f"SELECT {', '.join(read)} FROM (\n{query}\n) LIMIT {limit:d}"  # noqa: S608  it is checked again


def read(columns: Sequence[Column], batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yields each row as a JSON array.

    Raises:
        BadValue: a time is outside the calendar's range.
    """
    values = [_column(*each) for each in zip(columns, batch.columns, strict=True)]
    return (orjson.dumps(row) for row in zip(*values, strict=True))


def _column(column: Column, values: pa.Array) -> list[Any]:
    try:
        read: list[Any] = values.to_pylist()
    except (ValueError, OverflowError) as error:
        raise BadValue(
            f"A value of {column.name!r} is out of the range of {column.type}; cast it to VARCHAR."
        ) from error
    if column.type == "JSON":
        return [None if each is None else _parsed(each) for each in read]
    if column.type in _LARGE_INTEGERS:
        return [None if each is None else _integer(each) for each in read]
    if column.type == "TIMESTAMP_NS":
        return [None if each is None else f"{each.replace(' ', 'T')}Z" for each in read]
    if pa.types.is_map(values.type):
        return [None if each is None else _map(each) for each in read]
    return [_plain(each) for each in read]


def _plain(value: Any) -> Any:
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else _name_of(value)
        case bytes():
            return b64encode(value).decode("ascii")
        case Decimal():
            return format(value, "f")
        case datetime():
            return rfc3339(value) if value.tzinfo else f"{value.isoformat(timespec='microseconds')}Z"
        case date() | time():
            return value.isoformat()
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case [tuple(), *_]:
            return _map(value)
        case list():
            return [_plain(each) for each in value]
        case _:
            return str(value)


def _map(pairs: list[tuple[Any, Any]]) -> Any:
    """Returns a map as an object, or as pairs if its keys are not texts."""
    if pairs and not isinstance(pairs[0][0], str):
        return [[_plain(key), _plain(value)] for key, value in pairs]
    return {key: _plain(value) for key, value in pairs}


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _parsed(text: str) -> Any:
    """Returns the value of a JSON text, or the text itself if it is not strict JSON, as with NaN in it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _integer(text: str) -> Any:
    value = int(text)
    return value if value in _INTEGERS else text
