"""Queries one table of PostgreSQL: a page of rows at a time, in the order of an index."""

from collections.abc import Container, Iterable, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson
import psycopg
from psycopg import sql

from sagascope_collector.bridges.tables.mapping import FINAL_STATES, State, Table, ValueSource
from sagascope_collector.bridges.tables.rows import Row, RowParser

PAGE_ROWS: Final = 1_000

MAX_VALUE_CHARACTERS: Final = 4_000
"""Of longer values, the beginning is read."""

_SQL: Final = {
    name: files("sagascope_collector.bridges.tables").joinpath(f"queries/{name}.sql").read_text(encoding="utf-8")
    for name in ("read_rows", "read_end", "read_existence", "read_types", "name_type")
}

_NORMALIZED_STATE_NAME: Final = "lower(regexp_replace(coalesce({}::text, ''), '[[:space:]_-]+', '', 'g'))"
"""The SQL form of `mapping.normalized_state_name`."""

_TIME_TYPES: Final = ("timestamp", "date")
_NUMBER_TYPES: Final = ("smallint", "integer", "bigint", "numeric", "real", "double")


class FoundRow(NamedTuple):
    """A row that a query returned."""

    position: list[str]
    """The row's cursor, if the table has one, and key: a scan continues behind it."""
    key: str
    """The key columns as a JSON array."""
    hash: int
    """The hash of all values."""
    row: Row | None
    """None: the row belongs to no saga."""


class TableQueries:
    """The queries of one table, on one connection."""

    def __init__(self, connection: psycopg.Connection[Any], table: Table) -> None:
        self._connection = connection
        self._table = table
        self._source = sql.SQL(f"({_fragment(table.query)}\n)") if table.query else _table_name(table.table or "")
        missing = self._missing_columns()
        self._values = {name: source for name, source in table.columns.sources() if source.column not in missing}
        cursor = [table.cursor.column] if table.cursor else []
        self._order = [*cursor, *table.key]
        self._types = self._types_of(self._order)
        self._parser = RowParser(table)

    def last_cursor_value(self) -> str | None:
        """Returns the greatest value of the cursor column; None for an empty table."""
        cursor = _column(self._order[0])
        (value,) = self._rows(sql.SQL(_SQL["read_end"]).format(cursor=cursor, source=self._source), {})[0]
        return value if value is None else str(value)

    def has_rows_without_cursor(self) -> bool:
        """Returns whether a row in flight has no value in the cursor column: no page of changed rows contains it."""
        condition, values = self._is_in_flight()
        lacks = sql.SQL("{} IS NULL AND {}").format(_column(self._order[0]), condition)
        query = sql.SQL(_SQL["read_existence"]).format(source=self._source, condition=lacks)
        return bool(self._rows(query, values)[0][0])

    def rows_in_flight(self, after: Sequence[str]) -> list[FoundRow]:
        """Returns a page of rows in flight behind a position, in the order of their keys."""
        condition, values = self._is_in_flight()
        keys = self._table.key
        after = after[-len(keys) :]
        conditions = [condition, *([self._is_behind(keys, after)] if after else [])]
        return self._read(conditions, keys, {**values, **_numbered(after)})

    def changed_rows(self, since: str | None, after: Sequence[str]) -> list[FoundRow]:
        """Returns a page of rows behind a position; without one, from the cursor value `since` less the overlap."""
        if after:
            return self._read([self._is_behind(self._order, after)], self._order, _numbered(after))
        if since is None:
            return self._read([sql.SQL("{} IS NOT NULL").format(_column(self._order[0]))], self._order, {})
        return self._read([self._is_recent()], self._order, {"since": since, "overlap": self._overlap()})

    def rows_behind(self, since: str, after: Sequence[str]) -> list[FoundRow]:
        """Returns a page of rows in flight behind a key whose cursor is older than `since` less the overlap."""
        condition, values = self._is_in_flight()
        keys, old = self._table.key, sql.SQL("NOT ({})").format(self._is_recent())
        conditions = [condition, old, *([self._is_behind(keys, after)] if after else [])]
        return self._read(conditions, keys, {**values, **_numbered(after), "since": since, "overlap": self._overlap()})

    def rows_by_key(self, keys: Iterable[str]) -> list[FoundRow]:
        """Returns the rows with these keys."""
        columns = zip(*(orjson.loads(key) for key in keys), strict=True)
        values = {f"keys_{number}": list(column) for number, column in enumerate(columns)}
        typed = zip(values, self._table.key, strict=True)
        arrays = sql.SQL(", ").join(sql.SQL(f"%({name})s::text[]::{self._types[key]}[]") for name, key in typed)
        template = "{names} = ANY({arrays})" if len(values) == 1 else "({names}) IN (SELECT * FROM unnest({arrays}))"
        condition = sql.SQL(template).format(names=_columns(self._table.key), arrays=arrays)
        return self._read([condition], self._table.key, values)

    def _read(
        self, conditions: Sequence[sql.Composable], order: Sequence[str], values: dict[str, Any]
    ) -> list[FoundRow]:
        sources = [*self._values.values(), *self._table.keys.values()]
        selected = [sql.SQL("left({}, {})").format(_as_text(_value(each)), MAX_VALUE_CHARACTERS) for each in sources]
        query = sql.SQL(_SQL["read_rows"]).format(
            values=sql.SQL(", ").join([*map(_as_text, map(_column, self._order)), *selected]),
            source=self._source,
            condition=sql.SQL(" AND ").join(conditions),
            order=_columns(order),
        )
        return [self._found_row(row) for row in self._rows(query, {**values, "limit": PAGE_ROWS})]

    def _found_row(self, values: Sequence[str | None]) -> FoundRow:
        position = [value or "" for value in values[: len(self._order)]]
        others, names = values[len(self._order) :], list(self._values)
        row = self._parser.parse(
            dict(zip(names, others, strict=False)), dict(zip(self._table.keys, others[len(names) :], strict=True))
        )
        key = orjson.dumps(position[-len(self._table.key) :]).decode()
        return FoundRow(position, key, hash(tuple(values)), row)

    def _is_in_flight(self) -> tuple[sql.Composable, dict[str, Any]]:
        if self._table.in_flight:
            return sql.SQL(f"({_fragment(self._table.in_flight)}\n)"), {}
        state = self._values.get("state")
        if state is None:
            return sql.SQL("{} IS NULL").format(_value(self._values["ended"])), {}
        retry_at = self._values.get("retry_at")
        idle = FINAL_STATES if self._table.rows == "sagas" else {*FINAL_STATES, State.PENDING}
        condition = sql.SQL(f"{_NORMALIZED_STATE_NAME} <> ALL(%(idle)s)").format(_value(state))
        if self._table.rows == "steps" and retry_at:
            is_scheduled = sql.SQL(f"{_NORMALIZED_STATE_NAME} = ANY(%(pending)s) AND {{}} IS NOT NULL")
            condition = sql.SQL("({} OR {})").format(condition, is_scheduled.format(_value(state), _value(retry_at)))
        return condition, {"idle": self._names_of(idle), "pending": self._names_of({State.PENDING})}

    def _names_of(self, states: Container[State]) -> list[str]:
        return [name for name, state in self._table.state_names.items() if state in states]

    def _is_behind(self, names: Sequence[str], after: Sequence[str]) -> sql.Composable:
        values = (sql.SQL(f"%(after_{number})s::{self._types[name]}") for number, name in enumerate(names))
        # a comparison of rows, which PostgreSQL answers by one range of an index on these columns
        return sql.SQL("({names}) > ({values})").format(names=_columns(names), values=sql.SQL(", ").join(values))

    def _is_recent(self) -> sql.Composable:
        cursor = self._order[0]
        less = " - make_interval(secs => %(overlap)s)" if self._types[cursor].startswith(_TIME_TYPES) else ""
        less = less or (f" - %(overlap)s::{self._types[cursor]}" if self._overlap() else "")
        return sql.SQL(f"{{}} >= %(since)s::{self._types[cursor]}{less}").format(_column(cursor))

    def _overlap(self) -> float:
        """Returns the overlap in the unit of the cursor column; 0 for texts."""
        type_ = self._types[self._order[0]]
        cursor = self._table.cursor
        return cursor.overlap if cursor and type_.startswith((*_TIME_TYPES, *_NUMBER_TYPES)) else 0

    def _missing_columns(self) -> set[str]:
        """Returns the optional columns that the table lacks."""
        if not self._table.optional:
            return set()
        query = sql.SQL(_SQL["read_types"]).format(columns=sql.SQL("*"), source=self._source)
        existing = self._connection.execute(query, {}).description or []
        return set(self._table.optional) - {column.name for column in existing}

    def _types_of(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the types of columns, as PostgreSQL names them."""
        query = sql.SQL(_SQL["read_types"]).format(columns=_columns(names), source=self._source)
        described = self._connection.execute(query, {}).description or []
        oids = {name: column.type_code for name, column in zip(names, described, strict=True)}
        return {name: str(self._rows(sql.SQL(_SQL["name_type"]), {"oid": oid})[0][0]) for name, oid in oids.items()}

    def _rows(self, query: sql.SQL | sql.Composed, values: dict[str, Any]) -> list[Sequence[Any]]:
        return self._connection.execute(query, values).fetchall()


def _value(source: ValueSource) -> sql.Composable:
    if source.column is not None:
        return _column(source.column)
    if source.sql is not None:
        return sql.SQL(f"({_fragment(source.sql)}\n)")
    return sql.Literal(_escaped(source.constant or ""))


def _as_text(value: sql.Composable) -> sql.Composable:
    return sql.SQL("{}::text").format(value)


def _fragment(text: str | None) -> str:
    """Returns SQL of a mapping, without placeholders. It may end with a comment, so that a line break must follow."""
    return _escaped((text or "").strip().rstrip(";"))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _column(name: str) -> sql.Identifier:
    return sql.Identifier(_escaped(name))


def _columns(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(_column, names))


def _table_name(text: str) -> sql.Composable:
    return sql.Identifier(*_escaped(text).split("."))


def _numbered(after: Sequence[str]) -> dict[str, Any]:
    return {f"after_{number}": value for number, value in enumerate(after)}
