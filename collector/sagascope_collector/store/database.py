"""The one owner of the DuckDB connection: callers hand it work, and get values back."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.store import opening
from sagascope_collector.store.migrate import migrate
from sagascope_collector.store.sql import Query, check

Values = Mapping[str, Any]


class Database:
    """A DuckDB database with this version's schema. Each thread works on a cursor of its own."""

    def __init__(self, path: str) -> None:
        """Open or make the database; raises what `opening.connect` and `migrate` raise."""
        check()
        self._connection = opening.connect(path)
        self._of_thread = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self._closed = False
        try:
            migrate(self._connection, path)
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

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that this thread does inside is done, and seen by others, as one; on disk when it is left.

        Raises:
            StoreUnavailable: nothing of it was done.
        """
        with self._translated():
            cursor = self._cursor()
            cursor.begin()
        try:
            yield
            with self._translated():
                cursor.commit()
        except BaseException:
            self._roll_back(cursor)
            raise

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def close(self) -> None:
        """Release the file; further work raises `StoreUnavailable`."""
        with self._lock:
            self._closed = True
            for cursor in self._cursors:
                cursor.close()
            self._cursors.clear()
        self._connection.close()

    @contextmanager
    def _at_work(self, tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._translated():
            cursor = self._cursor()
            for name, table in tables.items():
                cursor.register(name, table)
            try:
                yield cursor
            finally:
                for name in tables:
                    cursor.unregister(name)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        if self._closed:
            raise StoreUnavailable("The database is closed.")
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._of_thread, "cursor", None)
        if cursor is None:
            with self._lock:
                cursor = self._of_thread.cursor = self._connection.cursor()
                self._cursors.append(cursor)
        return cursor

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise StoreUnavailable(f"The database cannot do this now: {str(error).splitlines()[0]}") from error

    @staticmethod
    def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.rollback()
        except duckdb.Error:  # a commit that failed has rolled back already
            return
