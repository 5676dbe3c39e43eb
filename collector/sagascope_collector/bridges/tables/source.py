"""`bridges.Source` of tables: reads how far they have moved, keeps that, and tells it."""

from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sagascope_collector.bridges.postgres import SETTINGS, reason
from sagascope_collector.bridges.running import Harvest
from sagascope_collector.bridges.tables.asking import Asking
from sagascope_collector.bridges.tables.facts import Whose
from sagascope_collector.bridges.tables.mapping import Mapping, Table
from sagascope_collector.bridges.tables.moves import move
from sagascope_collector.bridges.tables.place import Place, TablePlace
from sagascope_collector.bridges.tables.reading import Reading
from sagascope_collector.bridges.telling import Facts
from sagascope_collector.errors import BadValue, SourceUnavailable

OPTIONS: Final = f"{SETTINGS['options']} -c timezone=UTC -c datestyle=ISO"
"""Times are read as PostgreSQL writes them."""


class Tables:
    """Follows the tables of one database, over one connection. A context manager.

    A look that finds something is two polls: the first keeps what is to be told, the second tells it. What a crash
    between the two leaves half told is told again, also when the row has moved on meanwhile.

    Args:
        dsn: a URL or words as libpq reads them; never logged.
        mapping: what the tables mean.
        environment: of what is told.
        history: whether to tell also of rows that had ended before the first look.

    Raises:
        BadValue: the DSN is none.
    """

    def __init__(self, dsn: str, mapping: Mapping, *, environment: str = "", history: bool = False) -> None:
        self._dsn = dsn
        self._options = _options(dsn)
        self._tables = mapping.tables
        self._environment = environment
        self._history = history
        self._connection: psycopg.Connection[Any] | None = None
        self._asking: dict[str, Asking] = {}
        self._trouble: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lost()

    def poll(self, place: Place, now: int) -> Harvest[Place]:
        """See `Source.poll`. A table that cannot be read holds none of the others up.

        Raises:
            BadValue: the place is that of another database.
        """
        connection = self._connected()
        database = _of_one(connection.info.dbname, place)
        if any(each.pending for each in place.tables.values()):
            return self._tell(database, place)
        tables, self._trouble = dict[str, TablePlace](), []
        for table in self._tables:
            before = place.tables.get(table.label, TablePlace())
            tables[table.label], said = self._look(connection, table, before, now)
            self._trouble += [said] if said else []
        return self._harvest(database, Facts(), tables)

    def _look(
        self, connection: psycopg.Connection[Any], table: Table, before: TablePlace, now: int
    ) -> tuple[TablePlace, str]:
        """The place afterwards, and what is in the way."""
        reading = Reading(table, before, now)
        try:
            if table.label not in self._asking:
                self._asking[table.label] = Asking(connection, table)
            reading.look(self._asking[table.label], history=self._history)
        except psycopg.Error as error:
            self._asking.pop(table.label, None)
            if connection.closed:
                self._lost()
            return before, f"{table.label} cannot be read: {reason(error)}."
        return reading.place, reading.trouble

    def _tell(self, database: str, place: Place) -> Harvest[Place]:
        told = Facts()
        for table in self._tables:
            is_of_sagas = table.holds == "sagas"
            whose = Whose(database, table.label, self._environment, is_of_sagas=is_of_sagas, closes=table.closes)
            for each in place.tables.get(table.label, TablePlace()).pending:
                whose.tell(each.key, move(table, each.before, each.row, is_first=each.is_first), told)
        tables = {label: each.model_copy(update={"pending": []}) for label, each in place.tables.items()}
        return self._harvest(database, told, tables)

    def _harvest(self, database: str, told: Facts, tables: dict[str, TablePlace]) -> Harvest[Place]:
        watching = sum(len(each.open) for each in tables.values())
        kept = any(each.pending for each in tables.values())
        behind = kept or any(each.after for each in tables.values())
        place = Place(database=database, tables=tables)
        return Harvest(told, place, watching, " ".join(self._trouble), is_behind=behind, at_once=kept)

    def _lost(self) -> None:
        """Connect anew next time."""
        self._asking.clear()
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            try:
                settings = {**SETTINGS, "options": self._options}
                self._connection = psycopg.connect(self._dsn, autocommit=True, **settings)
            except psycopg.Error as error:
                raise SourceUnavailable(f"The database does not answer: {reason(error)}.") from error
        return self._connection


def _of_one(database: str, place: Place) -> str:
    if place.database not in ("", database):
        raise BadValue(f"This is the database {database}, and the cursor that of {place.database}; name another.")
    return database


def _options(dsn: str) -> str:
    """Those of the DSN, such as its search path, and behind them `OPTIONS`."""
    try:
        said = conninfo_to_dict(dsn).get("options") or ""
    except psycopg.ProgrammingError:  # what it says may hold the password
        raise BadValue("--dsn is neither a URL nor words such as host=db-1 dbname=shop.") from None
    return f"{said} {OPTIONS}".strip()
