"""The one owner of the DuckDB connection: callers hand it work, and get values back."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.store import opening
from sagascope_collector.store.journal import sync_folder
from sagascope_collector.store.migrate import migrate
from sagascope_collector.store.sql import Query, check
from sagascope_collector.store.watchdog import Watchdog

Values = Mapping[str, Any]


class _OfThread(threading.local):
    """What a thread works with."""

    cursor: duckdb.DuckDBPyConnection | None = None
    opened: int = 0
    """Which opening of the file that is of."""
    is_within: bool = False
    """Whether it may go on while others wait: it is in a transaction, or is the one that they wait for."""


class Database:
    """A DuckDB database with this version's schema. Each thread works on a cursor of its own."""

    def __init__(self, path: str, memory_bytes: int = opening.MEMORY) -> None:
        """Open or make the database; raises what `opening.connect` and `migrate` raise."""
        check()
        self._path, self._memory_bytes = path, memory_bytes
        self._connection = opening.connect(path, memory_bytes)
        _discard(_anew(path))
        self._watchdog = Watchdog()
        self._of_thread = _OfThread()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._idle = threading.Condition()
        self._working = self._transactions = self._opened = 0
        self._closed = self._rewriting = False
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
        with self._entered():
            with self._borrowed() as cursor:
                cursor.begin()
            try:
                yield
                with self._borrowed():
                    cursor.commit()
            except BaseException:
                self._roll_back()
                raise

    def rewrite(self) -> None:
        """Write the file anew, so that nothing is left in it of what was deleted; everybody else waits meanwhile.

        Raises:
            StoreUnavailable: it is as it was.
        """
        if self._path == opening.IN_MEMORY:
            return
        with self._alone():
            new = Path(_anew(self._path))
            _discard(str(new))
            try:
                self.copy_to(new)
            except BaseException:
                _discard(str(new))
                raise
            self._release()
            try:
                self._exchange(new)
            finally:
                self._connection = opening.connect(self._path, self._memory_bytes)
                self._opened += 1

    def _exchange(self, new: Path) -> None:
        try:
            if Path(f"{self._path}.wal").exists():
                raise StoreUnavailable("The database was not closed well, and is left as it is.")
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_folder(new.absolute().parent)
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be written anew: {error.strerror}.") from error
        finally:
            _discard(str(new))

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def close(self) -> None:
        """Let the statements under way end, and release the file; further work raises `StoreUnavailable`."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._working and not self._rewriting)
            self._watchdog.close()
            self._release()

    def _release(self) -> None:
        """Close the file; nobody is at work."""
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()
        self._connection.close()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Within a transaction."""
        with self._idle:
            self._idle.wait_for(lambda: not self._rewriting)
            self._transactions += 1
        self._of_thread.is_within = True
        try:
            yield
        finally:
            self._of_thread.is_within = False
            with self._idle:
                self._transactions -= 1
                self._idle.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let the others end what they do, and wait."""
        with self._idle:
            self._idle.wait_for(lambda: not self._rewriting)
            self._rewriting = True
            self._idle.wait_for(lambda: not self._working and not self._transactions)
        self._of_thread.is_within = True
        try:
            yield
        finally:
            self._of_thread.is_within = False
            with self._idle:
                self._rewriting = False
                self._idle.notify_all()

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
            self._idle.wait_for(lambda: not self._rewriting or self._of_thread.is_within)
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
        mine = self._of_thread
        if mine.cursor is None or mine.opened != self._opened:
            mine.cursor, mine.opened = self._connection.cursor(), self._opened
            self._cursors.append(mine.cursor)
        return mine.cursor

    def _roll_back(self) -> None:
        """Undo; a commit that failed, and a database that was closed, have done so already."""
        with suppress(StoreUnavailable), self._borrowed() as cursor:
            cursor.rollback()


def _anew(path: str) -> str:
    return f"{path}.anew"


def _discard(path: str) -> None:
    """Remove a file that was being written when a process died."""
    for each in (path, f"{path}.wal"):
        Path(each).unlink(missing_ok=True)
