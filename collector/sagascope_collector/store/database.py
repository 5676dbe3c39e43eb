"""The one owner of the DuckDB connection: callers hand it work, and get values back."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.store import opening
from sagascope_collector.store.migrate import migrate
from sagascope_collector.store.sql import Query, check
from sagascope_collector.store.watchdog import Watchdog

Values = Mapping[str, Any]


class Database:
    """A DuckDB database with this version's schema. Each thread works on a cursor of its own."""

    def __init__(self, path: str, memory_bytes: int = opening.MEMORY) -> None:
        """Open or make the database; raises what `opening.connect` and `migrate` raise."""
        check()
        self._connection = opening.connect(path, memory_bytes)
        self._watchdog = Watchdog()
        self._of_thread = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._idle = threading.Condition()
        self._working = 0
        self._closed = False
        try:
            migrate(self._connection, path)
            ((self._name,),) = self._connection.execute(Query.SELECT_NAME.text).fetchall()
        except BaseException:
            self._connection.close()
            raise

    def rows(self, query: Query, values: Values | None = None, /, **tables: pa.Table) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows; `tables` are visible to it by their names."""
        with self._at_work(tables) as cursor:
            fetched: list[tuple[Any, ...]] = cursor.execute(query.text, dict(values or {})).fetchall()
            return fetched

    def arrow(self, query: Query, values: Values | None = None, /, **tables: pa.Table) -> pa.Table:
        """Run a statement and fetch its rows as columns."""
        with self._at_work(tables) as cursor:
            return cursor.sql(query.text, params=dict(values or {})).to_arrow_table()

    def count(self, query: Query, values: Values | None = None, /, **tables: pa.Table) -> int:
        """Run a statement that changes rows, and say how many it changed."""
        ((changed,),) = self.rows(query, values, **tables)
        return int(changed)

    def copy_to(self, file: Path) -> None:
        """Write all of it, as it is at one moment, to a new file.

        Raises:
            StoreUnavailable: it was not written.
        """
        name = '"' + self._name.replace('"', '""') + '"'
        with self._borrowed() as cursor:
            cursor.execute(Query.ATTACH_COPY.text, {"file": str(file)})
            try:
                cursor.execute(Query.COPY_DATABASE.text.replace('"this"', name))
            finally:
                cursor.execute(Query.DETACH_COPY.text)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that this thread does inside is done, and seen by others, as one; on disk when it is left.

        Raises:
            StoreUnavailable: nothing of it was done.
        """
        with self._borrowed() as cursor:
            cursor.begin()
        try:
            yield
            with self._borrowed():
                cursor.commit()
        except BaseException:
            self._roll_back()
            raise

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def close(self) -> None:
        """Let the statements under way end, and release the file; further work raises `StoreUnavailable`."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._working)
            for cursor in self._cursors:
                cursor.close()
            self._cursors.clear()
        self._watchdog.close()
        self._connection.close()

    @contextmanager
    def _at_work(self, tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._borrowed() as cursor:
            for name, table in tables.items():
                cursor.register(name, table)
            try:
                with self._watchdog.over(cursor):
                    yield cursor
            finally:
                for name in tables:
                    cursor.unregister(name)

    @contextmanager
    def _borrowed(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """This thread's cursor, for one statement; `close` waits for it."""
        with self._idle:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            cursor = self._cursor()
            self._working += 1
        try:
            yield cursor
        except duckdb.Error as error:
            raise StoreUnavailable(f"The database cannot do this now: {str(error).splitlines()[0]}") from error
        finally:
            with self._idle:
                self._working -= 1
                self._idle.notify_all()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._of_thread, "cursor", None)
        if cursor is None:
            cursor = self._of_thread.cursor = self._connection.cursor()
            self._cursors.append(cursor)
        return cursor

    def _roll_back(self) -> None:
        """Undo; a commit that failed, and a database that was closed, have done so already."""
        with suppress(StoreUnavailable), self._borrowed() as cursor:
            cursor.rollback()
