"""Asks PostgreSQL for rows of one table: so many at a time, in the order of an index."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson
import psycopg
from psycopg import sql

from sagascope_collector.bridges.tables.mapping import Source, Table
from sagascope_collector.bridges.tables.rows import Reader, Row
from sagascope_collector.bridges.tables.states import ENDED, State

TOGETHER: Final = 1_000
"""Rows of one query."""

LONGEST: Final = 4_000
"""Characters of a value; of longer ones the beginning is read."""

_SQL: Final = {
    name: files("sagascope_collector.bridges.tables").joinpath(f"queries/{name}.sql").read_text(encoding="utf-8")
    for name in ("read_rows", "read_end", "read_types", "name_type")
}

_WORD: Final = "lower(regexp_replace(coalesce({}::text, ''), '[[:space:]_-]+', '', 'g'))"
"""As `states.compared`."""

_TIMES: Final = ("timestamp", "date")
_NUMBERS: Final = ("smallint", "integer", "bigint", "numeric", "real", "double")


class Found(NamedTuple):
    """One row."""

    place: list[str]
    """Its cursor, if the table has one, and its key: where reading goes on."""
    key: str
    """The columns of its key, as JSON."""
    hash: int
    """Of all that it says."""
    row: Row | None
    """None: it names no saga."""


class Asking:
    """The queries of one table, over one connection."""

    def __init__(self, connection: psycopg.Connection[Any], table: Table) -> None:
        self._connection = connection
        self._table = table
        self._source = sql.SQL(f"({_plain(table.query)}\n)") if table.query else _name(table.table or "")
        lacking = self._lacking()
        self._values = {name: each for name, each in table.columns.said() if each.column not in lacking}
        cursor = [table.cursor.column] if table.cursor else []
        self._order = [*cursor, *table.key]
        self._types = self._types_of(self._order)
        self._reader = Reader(table)

    def end(self) -> str | None:
        """The greatest value of the cursor of a table that has one; None: there are no rows."""
        cursor = _column(self._order[0])
        (end,) = self._rows(sql.SQL(_SQL["read_end"]).format(cursor=cursor, source=self._source), {})[0]
        return end if end is None else str(end)

    def in_flight(self, after: Sequence[str]) -> list[Found]:
        """Rows in flight, in the order of their keys, behind that of `after`; no more than `TOGETHER`."""
        condition, values = self._is_in_flight()
        keys = self._table.key
        after = after[-len(keys) :]
        further = [self._is_behind(keys, after)] if after else []
        return self._read([condition, *further], keys, {**values, **_numbered(after)})

    def moved(self, since: str | None, after: Sequence[str]) -> list[Found]:
        """Rows behind `after`; without it those whose cursor is `since` less the overlap, or more."""
        if after:
            return self._read([self._is_behind(self._order, after)], self._order, _numbered(after))
        if since is None:
            return self._read([sql.SQL("{} IS NOT NULL").format(_column(self._order[0]))], self._order, {})
        return self._read([self._is_late()], self._order, {"since": since, "overlap": self._overlap()})

    def of(self, keys: Iterable[str]) -> list[Found]:
        """The rows that have these keys."""
        columns = zip(*(orjson.loads(key) for key in keys), strict=True)
        values = {f"keys_{number}": list(column) for number, column in enumerate(columns)}
        typed = zip(values, self._table.key, strict=True)
        arrays = sql.SQL(", ").join(sql.SQL(f"%({name})s::text[]::{self._types[key]}[]") for name, key in typed)
        wanted = "{names} = ANY({arrays})" if len(values) == 1 else "({names}) IN (SELECT * FROM unnest({arrays}))"
        condition = sql.SQL(wanted).format(names=_names(self._table.key), arrays=arrays)
        return self._read([condition], self._table.key, values)

    def _read(self, conditions: Sequence[sql.Composable], order: Sequence[str], values: dict[str, Any]) -> list[Found]:
        query = sql.SQL(_SQL["read_rows"]).format(
            values=sql.SQL(", ").join([*map(_as_text, map(_column, self._order)), *self._said()]),
            source=self._source,
            condition=sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true"),
            order=_names(order),
        )
        return [self._found(each) for each in self._rows(query, {**values, "limit": TOGETHER})]

    def _said(self) -> list[sql.Composable]:
        sources = [*self._values.values(), *self._table.keys.values()]
        return [sql.SQL("left({}, {})").format(_as_text(_value(each)), LONGEST) for each in sources]

    def _found(self, values: Sequence[str | None]) -> Found:
        place = [value or "" for value in values[: len(self._order)]]
        said, names = values[len(self._order) :], list(self._values)
        row = self._reader.read(
            dict(zip(names, said, strict=False)), dict(zip(self._table.keys, said[len(names) :], strict=True))
        )
        key = orjson.dumps(place[-len(self._table.key) :]).decode()
        return Found(place, key, hash(tuple(values)), row)

    def _is_in_flight(self) -> tuple[sql.Composable, dict[str, Any]]:
        if self._table.in_flight:
            return sql.SQL(f"({_plain(self._table.in_flight)}\n)"), {}
        state = self._values.get("state")
        if state is None:
            return sql.SQL("{} IS NULL").format(_value(self._values["ended"])), {}
        idle = ENDED if self._table.holds == "sagas" else {*ENDED, State.PENDING}
        words = [word for word, meant in self._table.words.items() if meant in idle]
        return sql.SQL(f"{_WORD} <> ALL(%(idle)s)").format(_value(state)), {"idle": words}

    def _is_behind(self, names: Sequence[str], after: Sequence[str]) -> sql.Composable:
        values = (sql.SQL(f"%(after_{number})s::{self._types[name]}") for number, name in enumerate(names))
        return sql.SQL("({names}) > ({values})").format(names=_names(names), values=sql.SQL(", ").join(values))

    def _is_late(self) -> sql.Composable:
        cursor = self._order[0]
        less = " - make_interval(secs => %(overlap)s)" if self._types[cursor].startswith(_TIMES) else ""
        less = less or (f" - %(overlap)s::{self._types[cursor]}" if self._overlap() else "")
        return sql.SQL(f"{{}} >= %(since)s::{self._types[cursor]}{less}").format(_column(cursor))

    def _overlap(self) -> float:
        """In the cursor's unit; texts have none."""
        type_ = self._types[self._order[0]]
        cursor = self._table.cursor
        return cursor.overlap if cursor and type_.startswith((*_TIMES, *_NUMBERS)) else 0

    def _lacking(self) -> set[str]:
        """The columns that may be absent, and are."""
        if not self._table.optional:
            return set()
        query = sql.SQL(_SQL["read_types"]).format(columns=sql.SQL("*"), source=self._source)
        told = self._connection.execute(query, {}).description or []
        return set(self._table.optional) - {each.name for each in told}

    def _types_of(self, names: Sequence[str]) -> dict[str, str]:
        """The types of columns, as PostgreSQL names them."""
        query = sql.SQL(_SQL["read_types"]).format(columns=_names(names), source=self._source)
        told = self._connection.execute(query, {}).description or []
        oids = {name: each.type_code for name, each in zip(names, told, strict=True)}
        return {name: str(self._rows(sql.SQL(_SQL["name_type"]), {"oid": oid})[0][0]) for name, oid in oids.items()}

    def _rows(self, query: sql.SQL | sql.Composed, values: dict[str, Any]) -> list[Sequence[Any]]:
        return self._connection.execute(query, values).fetchall()


def _value(source: Source) -> sql.Composable:
    if source.column is not None:
        return _column(source.column)
    return (
        sql.SQL(f"({_plain(source.sql)}\n)") if source.sql is not None else sql.Literal(_escaped(source.constant or ""))
    )


def _as_text(value: sql.Composable) -> sql.Composable:
    return sql.SQL("{}::text").format(value)


def _plain(text: str | None) -> str:
    """A piece of a mapping's SQL, in which nothing stands for a value; it may end with a comment."""
    return _escaped((text or "").strip().rstrip(";"))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _column(name: str) -> sql.Identifier:
    return sql.Identifier(_escaped(name))


def _name(text: str) -> sql.Composable:
    return sql.Identifier(*_escaped(text).split("."))


def _names(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(_column, names))


def _numbered(after: Sequence[str]) -> dict[str, Any]:
    return {f"after_{number}": value for number, value in enumerate(after)}
