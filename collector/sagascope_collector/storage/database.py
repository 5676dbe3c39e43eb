"""The one owner of the DuckDB connection: callers hand it statements, and get values back."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from sagascope_collector.errors import ReadTooLong, StorageUnavailable
from sagascope_collector.storage import connection
from sagascope_collector.storage.connection import check, migrate

INTERRUPT_INTERVAL_SECONDS: Final = 0.05
"""Time between two interrupts of one statement: DuckDB forgets one that comes while the statement is prepared."""

_end: ContextVar[float | None] = ContextVar("end", default=None)
"""By the monotonic clock; None: there is none."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Gives this task, or thread, so many seconds for all that it reads inside; outside there is no bound.

    What then still runs in the database is interrupted, and a transaction under way is rolled back; whatever is read
    next raises too. Of two deadlines, one within the other, the earlier one counts.

    Raises:
        ReadTooLong: from the method that was called.
    """
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


class Watchdog:
    """Interrupts statements at their deadlines, in one thread, which waits while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts what runs on this cursor inside, once the time of `within` is over.

        Raises:
            ReadTooLong: it is, or was before anything started.
        """
        end = _end.get()
        if end is None:
            yield
            return
        if time.monotonic() >= end:
            raise ReadTooLong(TOO_LONG)
        self._enter(cursor, end)
        try:
            yield
        except duckdb.InterruptException as error:
            raise ReadTooLong(TOO_LONG) from error
        finally:
            self._leave(cursor)

    def close(self) -> None:
        """Ends the thread; nothing is interrupted any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _enter(self, cursor: duckdb.DuckDBPyConnection, end: float) -> None:
        with self._changed:
            self._running[id(cursor)] = end, cursor
            if not self._thread:
                self._thread = threading.Thread(target=self._watch, name="read-watchdog", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()

    def _leave(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._changed:
            del self._running[id(cursor)]

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                self._interrupt(now)
                self._wakes = min(
                    (max(end, now + INTERRUPT_INTERVAL_SECONDS) for end, _ in self._running.values()),
                    default=float("inf"),
                )
                self._changed.wait(self._wakes - now if self._running else None)

    def _interrupt(self, now: float) -> None:
        for end, cursor in self._running.values():
            if end <= now:
                cursor.interrupt()


TOO_LONG: Final = "This took longer than one call may read. Ask for less, for example with `since`, or try again later."


Values = Mapping[str, Any]

MAX_BOUND_ROWS: Final = 4
"""Rows up to which an insertion binds values."""

SELECTED_ROWS: Final = 1_024
"""Rows that `Database.selected` reads together."""

SELECTED_MEMORY_SHARE: Final = 4
"""One of so many parts of DuckDB's memory may be used by statements while `Database.selected` runs: more could make
commits fail."""

MEMORY_INTERVAL_SECONDS: Final = 0.1

_STATEMENT_MEMORY: Final = """
    SELECT sum(memory_usage_bytes)
    FROM duckdb_memory()
    WHERE tag NOT IN ('BASE_TABLE', 'IN_MEMORY_TABLE', 'METADATA', 'TRANSACTION', 'ART_INDEX')
"""
"""What statements hold, apart from tables."""

INTERRUPT_AFTER_SECONDS: float = 1.0
"""Time that other statements have to end when the file is exchanged."""


@cache
def _insertion(table: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' for _ in range(columns))})"
    return f"INSERT INTO {table} VALUES {', '.join(row for _ in range(rows))}"  # noqa: S608


class _OfThread(threading.local):
    """The transaction that a thread is in."""

    cursor: duckdb.DuckDBPyConnection | None = None
    is_exclusive: bool = False


class Database:
    """A DuckDB database with this version's schema. Safe from any thread.

    Cursors are lent to a thread for one statement or one transaction, and used again by others: a thread that ends
    leaves none open.
    """

    def __init__(self, path: str, memory_bytes: int = connection.MEMORY_BYTES, *, read_only: bool = False) -> None:
        """Opens or makes the database; raises what `connection.connect` and `connection.migrate` raise."""
        check()
        self.path = path
        self._memory_bytes = memory_bytes
        self._connection = connection.connect(path, memory_bytes, read_only=read_only)
        self._watchdog = Watchdog()
        self._of_thread = _OfThread()
        self._free: list[duckdb.DuckDBPyConnection] = []
        self._idle = threading.Condition()
        self._lent: set[duckdb.DuckDBPyConnection] = set()
        self._closed = self._exclusive = False
        try:
            if not read_only:
                migrate(self._connection, path)
        except BaseException:
            self._connection.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def rows(self, statement: str, values: Values | None = None, /, **tables: pa.Table) -> list[tuple[Any, ...]]:
        """Runs a statement and fetches its rows; `tables` are visible to it by their names.

        Raises:
            StorageUnavailable: the database cannot do it now.
            ReadTooLong: the time of `within` is over.
        """
        with self._at_work(tables) as cursor:
            fetched: list[tuple[Any, ...]] = cursor.execute(statement, dict(values or {})).fetchall()
            return fetched

    def arrow(self, statement: str, values: Values | None = None, /, **tables: pa.Table) -> pa.Table:
        """Runs a statement and fetches its rows as columns; raises as `rows` does."""
        with self._at_work(tables) as cursor:
            return cursor.sql(statement, params=dict(values or {})).to_arrow_table()

    def batches(self, statement: str, values: Values, *, rows: int) -> Iterator[pa.Table]:
        """Runs a statement and fetches its rows as columns, so many at a time; raises as `rows` does."""
        with self._at_work({}) as cursor:
            reader = cursor.sql(statement, params=dict(values)).to_arrow_reader(rows)
            for batch in _read(reader):
                yield pa.Table.from_batches([batch])

    @contextmanager
    def selected(self, statement: str) -> Iterator[Iterator[pa.RecordBatch]]:
        """Runs a SELECT in a read-only transaction of its own, which ends with the block; raises as `rows` does."""
        with self._at_work({}) as cursor, self._sparing(cursor):
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            try:
                with cursor.sql(statement).to_arrow_reader(SELECTED_ROWS) as reader:
                    yield _read(reader)
            finally:
                with suppress(duckdb.Error):  # a query that failed has rolled back already
                    cursor.rollback()

    @contextmanager
    def _sparing(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts what runs on this cursor when statements hold so much memory that commits could fail for it."""
        ended, is_over, most = threading.Event(), threading.Event(), self._memory_bytes // SELECTED_MEMORY_SHARE

        def watch() -> None:
            while not ended.wait(MEMORY_INTERVAL_SECONDS):
                with suppress(StorageUnavailable):
                    if self.rows(_STATEMENT_MEMORY)[0][0] > most:
                        is_over.set()
                        cursor.interrupt()

        watching = threading.Thread(target=watch, name="sql-memory")
        watching.start()
        try:
            yield
        except duckdb.InterruptException as error:
            if is_over.is_set():
                raise duckdb.OutOfMemoryException(str(error)) from error
            raise
        finally:
            ended.set()
            watching.join()

    def count(self, statement: str, values: Values | None = None, /, **tables: pa.Table) -> int:
        """Runs a statement that changes rows, and returns how many; raises as `rows` does."""
        ((changed,),) = self.rows(statement, values, **tables)
        return int(changed)

    def insert(self, table: str, rows: pa.Table, first: Sequence[Any] = ()) -> None:
        """Appends rows to a table, `first` being the values of columns before theirs; raises as `rows` does.

        A few rows are bound as values: that costs a third of making them visible as a table.
        """
        if rows.num_rows > MAX_BOUND_ROWS:
            columns = "".join("?, " for _ in first)
            with self._at_work({"appended": rows}) as cursor:
                cursor.execute(f"INSERT INTO {table} SELECT {columns}* FROM appended", list(first))  # noqa: S608
            return
        columns_ = [column.to_pylist() for column in rows.columns]
        values = [value for row in zip(*columns_, strict=True) for value in (*first, *row)]
        with self._at_work({}) as cursor:
            cursor.execute(_insertion(table, rows.num_rows, len(first) + rows.num_columns), values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes everything that this thread runs inside one transaction, which is on disk when the block is left.

        Raises:
            StorageUnavailable: nothing of it was done.
        """
        mine = self._of_thread
        if mine.cursor is not None:
            yield
            return
        with self._borrowed() as cursor:
            mine.cursor = cursor
            try:
                cursor.begin()
                yield
                cursor.commit()
            except BaseException:
                with suppress(duckdb.Error):  # a commit that failed has rolled back already
                    cursor.rollback()
                raise
            finally:
                mine.cursor = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lets the statements of others end, and has new ones wait until the block is left.

        A statement that goes on for longer than `INTERRUPT_AFTER_SECONDS` is interrupted.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            if not self._idle.wait_for(lambda: not self._lent, INTERRUPT_AFTER_SECONDS):
                self._interrupt()
        self._of_thread.is_exclusive = True
        try:
            yield
        finally:
            self._of_thread.is_exclusive = False
            with self._idle:
                self._exclusive = False
                self._idle.notify_all()

    def _interrupt(self) -> None:
        for cursor in self._lent:
            cursor.interrupt()
        self._idle.wait_for(lambda: not self._lent, INTERRUPT_AFTER_SECONDS)
        for cursor in self._lent:  # lent to a thread that fetches rows now and then
            cursor.close()

    def replace_with(self, new: Path) -> None:
        """Puts another file in the place of the database's; within `exclusive` only.

        Raises:
            StorageUnavailable: the file is as it was.
        """
        self._close_cursors()
        self._connection.close()
        try:
            if Path(f"{self.path}.wal").exists():
                raise StorageUnavailable("The database was not closed cleanly, and stays as it is.")
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(self.path)
            sync_folder(Path(self.path).absolute().parent)
        except OSError as error:
            raise StorageUnavailable(f"{self.path} cannot be rewritten: {error.strerror}.") from error
        finally:
            self._connection = connection.connect(self.path, self._memory_bytes)

    def checkpoint(self) -> None:
        """Moves the content of the write-ahead log into the file."""
        self.rows("CHECKPOINT")

    def close(self) -> None:
        """Lets the statements under way end, and releases the file; further work raises `StorageUnavailable`."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._lent and not self._exclusive)
        self._watchdog.close()
        self._close_cursors()
        self._connection.close()

    def _close_cursors(self) -> None:
        while self._free:
            self._free.pop().close()

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
        """Lends this thread's cursor: that of its transaction, else a free one."""
        mine = self._of_thread
        cursor = mine.cursor or self._lend()
        try:
            yield cursor
        except duckdb.Error as error:
            raise StorageUnavailable(f"The database cannot do this now: {str(error).splitlines()[0]}") from error
        finally:
            if cursor is not mine.cursor:
                self._take_back(cursor)

    def _lend(self) -> duckdb.DuckDBPyConnection:
        with self._idle:
            self._idle.wait_for(lambda: not self._exclusive or self._of_thread.is_exclusive)
            if self._closed:
                raise StorageUnavailable("The database is closed.")
            cursor = self._free.pop() if self._free else self._connection.cursor()
            self._lent.add(cursor)
            return cursor

    def _take_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._idle:
            self._lent.discard(cursor)
            if self._exclusive:
                cursor.close()
            else:
                self._free.append(cursor)
            self._idle.notify_all()


def _read(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Returns the batches of a result, with the errors of DuckDB: Arrow raises its own in their place."""
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        kind = next((kind for name, kind in _ERRORS.items() if name in str(error)), duckdb.DataError)
        raise kind(str(error)) from error


_ERRORS: Final[dict[str, type[duckdb.Error]]] = {
    "INTERRUPT Error": duckdb.InterruptException,
    "Out of Memory Error": duckdb.OutOfMemoryException,
    "IO Error": duckdb.IOException,
}


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
