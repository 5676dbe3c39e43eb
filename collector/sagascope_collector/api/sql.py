"""User queries: checked, run in a read-only transaction with a time limit, and answered as JSON."""

import math
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple, Self

import duckdb
import orjson
import pyarrow as pa

from sagascope_collector.api.sql_allow_list import VIEWS, check, names
from sagascope_collector.client.schemas import rfc3339
from sagascope_collector.errors import BadValue, ReadTooLong, StorageUnavailable
from sagascope_collector.json_values import non_finite_name
from sagascope_collector.storage import Storage, within

LOSSLESS_ARROW_TYPES: Final = names(
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
    is_lossless: bool

    @classmethod
    def of(cls, name: str, kind: Any) -> Self:
        """Returns the column for a type of DuckDB."""
        return cls(name, str(kind), _is_lossless(kind))


def _is_lossless(kind: Any) -> bool:
    if kind.id not in LOSSLESS_ARROW_TYPES and str(kind) != "JSON":
        return False
    below = kind.children if kind.id in ("array", "list", "map", "struct") else ()
    return all(_is_lossless(each) for _, each in below if not isinstance(each, int))


def limited_query(query: str, columns: Sequence[Column], limit: int) -> str:
    """Returns a query for the first rows of another, with its columns in readable types."""
    selected = (f"#{number}" if each.is_lossless else f"#{number}::VARCHAR" for number, each in enumerate(columns, 1))
    return f"SELECT {', '.join(selected)} FROM (\n{query}\n) LIMIT {limit:d}"  # noqa: S608  it is checked again


def json_rows(columns: Sequence[Column], batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yields each row as a JSON array.

    Raises:
        BadValue: a time is outside the calendar's range.
    """
    values = [_column(*each) for each in zip(columns, batch.columns, strict=True)]
    return (orjson.dumps(row) for row in zip(*values, strict=True))


def _column(column: Column, values: pa.Array) -> list[Any]:
    try:
        found: list[Any] = values.to_pylist()
    except (ValueError, OverflowError) as error:
        raise BadValue(
            f"A value of {column.name!r} is out of the range of {column.type}; cast it to VARCHAR."
        ) from error
    if column.type == "JSON":
        return [None if each is None else _parsed(each) for each in found]
    if column.type in _LARGE_INTEGERS:
        return [None if each is None else _integer(each) for each in found]
    if column.type == "TIMESTAMP_NS":
        return [None if each is None else f"{each.replace(' ', 'T')}Z" for each in found]
    return [_plain(each, values.type) for each in found]


def _plain(value: Any, kind: pa.DataType) -> Any:
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else non_finite_name(value)
        case bytes():
            return b64encode(value).decode("ascii")
        case Decimal():
            return format(value, "f")
        case datetime():
            return rfc3339(value) if value.tzinfo else f"{value.isoformat(timespec='microseconds')}Z"
        case date() | time():
            return value.isoformat()
        case dict():
            return {key: _plain(each, kind.field(key).type) for key, each in value.items()}
        case list() if pa.types.is_map(kind):
            return _map(value, kind)
        case list():
            return [_plain(each, kind.value_type) for each in value]
        case _:
            return str(value)


def _map(pairs: list[tuple[Any, Any]], kind: pa.MapType) -> Any:
    """Returns a map as an object, or as pairs if its keys are not texts."""
    if not pa.types.is_string(kind.key_type):
        return [[_plain(key, kind.key_type), _plain(value, kind.item_type)] for key, value in pairs]
    return {key: _plain(value, kind.item_type) for key, value in pairs}


def _parsed(text: str) -> Any:
    """Returns the value of a JSON text, or the text itself if it is not strict JSON, as with NaN in it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _integer(text: str) -> Any:
    value = int(text)
    return value if value in _INTEGERS else text


MAX_QUERY_CHARACTERS: Final = 20_000

MAX_BRACKETS: Final = 100
"""Maximum depth of open brackets in a query: DuckDB 2.0 takes seconds to refuse a thousand."""

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Maximum size of an answer; further rows are omitted."""

BATCH_ROWS: Final = 64
"""Rows that are converted to JSON together, unless they are large."""

CHECK_MEMORY: Final = "64MB"

_PARSE: Final = "SELECT json_serialize_sql(?::VARCHAR, skip_null := true, skip_empty := true)"


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a result, each as JSON; `is_truncated` if rows were omitted."""

    columns: Sequence[Column]
    rows: Sequence[bytes]
    is_truncated: bool

    def json(self) -> bytes:
        """Returns the answer of the API as JSON."""
        columns = orjson.dumps([{"name": each.name, "type": each.type} for each in self.columns])
        truncated = b"true" if self.is_truncated else b"false"
        return b'{"columns":%s,"rows":[%s],"truncated":%s}' % (columns, b",".join(self.rows), truncated)


class Queries:
    """Runs queries over one database, one at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._checking = threading.Lock()
        self._checker: duckdb.DuckDBPyConnection | None = None

    def run(self, query: str, *, limit: int, seconds: float) -> Answer:
        """Returns the first `limit` rows.

        Raises:
            BadValue: the query is refused, invalid, or exceeds a limit.
            ReadTooLong: it did not end in time.
            StorageUnavailable: the database cannot answer now.
        """
        with within(seconds):
            columns, statement = self._prepare(query.strip(" \t\r\n;"), limit + 1)
            try:
                with self._storage.database.selected(statement) as batches:
                    return _answer(columns, batches, limit)
            except StorageUnavailable as error:
                raise _explained(error) from error
            except ReadTooLong as error:
                raise ReadTooLong(
                    f"The query took longer than {seconds:g} s and was interrupted. Narrow it, for example by time."
                ) from error

    def _prepare(self, query: str, limit: int) -> tuple[list[Column], str]:
        """Returns the columns of a query's result, and the statement that reads up to `limit` of its rows.

        The query is bound to empty tables with the columns of the views, in a database that has nothing else. The
        resulting statement is checked as a whole, too.
        """
        _check_size(query)
        with self._checking:
            checker = self._checker = self._checker or self._open_checker()
            try:
                _parse_and_check(checker, query)
                answered = checker.sql(query)
                columns = [Column.of(*each) for each in zip(answered.columns, answered.types, strict=True)]
                statement = limited_query(query, columns, limit)
                _parse_and_check(checker, statement)
            except orjson.JSONDecodeError as error:
                raise BadValue("This query is refused: it is nested too deeply.") from error
            except (duckdb.Error, RecursionError) as error:
                raise BadValue(f"This query cannot be run. {_sentence(error)}") from error
            return columns, statement

    def _open_checker(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={
                "threads": "1",
                "memory_limit": CHECK_MEMORY,
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        for view in VIEWS:
            described = self._storage.database.rows(f"DESCRIBE {view}")
            columns = ", ".join(f'"{name}" {kind}' for name, kind, *_ in described)
            connection.execute(f"CREATE TABLE {view} ({columns})")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection


def _check_size(query: str) -> None:
    if len(query) > MAX_QUERY_CHARACTERS:
        raise BadValue(f"This query is refused: it has more than {MAX_QUERY_CHARACTERS:,} characters.")
    text, open_brackets = query.encode(), 0
    for position, _ in duckdb.tokenize(query):  # a bracket in a literal or comment is no token
        token = text[position : position + 1]
        open_brackets += (token in b"([{") - (token in b")]}")
        if open_brackets > MAX_BRACKETS:
            raise BadValue(f"This query is refused: more than {MAX_BRACKETS} brackets are open at one place.")


def _parse_and_check(checker: duckdb.DuckDBPyConnection, query: str) -> None:
    ((tree,),) = checker.execute(_PARSE, [query]).fetchall()
    check(_statements(orjson.loads(tree)))


def _statements(tree: dict[str, Any]) -> list[dict[str, Any]]:
    if not tree["error"]:
        return list(tree.get("statements") or ())
    if tree["error_type"] == "not implemented":
        raise BadValue("This query is refused: it is not one SELECT statement.")
    raise BadValue(f"This query cannot be run. {str(tree['error_message']).splitlines()[0]}.")


def _answer(columns: Sequence[Column], batches: Iterator[pa.RecordBatch], limit: int) -> Answer:
    rows: list[bytes] = []
    held = 0
    for piece in _pieces(batches):
        if piece.nbytes > MAX_ANSWER_BYTES:
            break
        for row in json_rows(columns, piece):
            held += len(row)
            if held > MAX_ANSWER_BYTES or len(rows) == limit:
                return _cut(columns, rows)
            rows.append(row)
    else:
        return Answer(columns, rows, is_truncated=False)
    return _cut(columns, rows)


def _cut(columns: Sequence[Column], rows: Sequence[bytes]) -> Answer:
    if not rows:
        raise BadValue(f"The first row alone is larger than the {MAX_ANSWER_BYTES:,} bytes that an answer may have.")
    return Answer(columns, rows, is_truncated=True)


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields a few rows at a time, and large ones alone, to limit what is converted to JSON together."""
    for batch in batches:
        together = BATCH_ROWS if batch.nbytes < MAX_ANSWER_BYTES else 1
        for start in range(0, batch.num_rows, together):
            yield batch.slice(start, together)


def _explained(error: StorageUnavailable) -> Exception:
    """Returns the error for a failed statement. In most cases the statement is at fault."""
    cause = error.__cause__
    if isinstance(cause, duckdb.OutOfMemoryException):
        return BadValue("This query needs more memory than it may have. Narrow it, or group by fewer values.")
    if isinstance(cause, duckdb.InterruptException):
        return ReadTooLong("The query was interrupted.")
    if isinstance(cause, duckdb.DataError | duckdb.ProgrammingError | duckdb.NotSupportedError):
        return BadValue(f"This query cannot be run. {_sentence(cause)}")
    return error


def _sentence(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
