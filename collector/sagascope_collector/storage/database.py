"""Owns the DuckDB connection: callers pass statements, and get values back."""

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
from sagascope_collector.storage.connection import migrate

INTERRUPT_INTERVAL_SECONDS: Final = 0.05
"""Time between two interrupts of one statement: DuckDB ignores an interrupt while it prepares a statement."""

_end: ContextVar[float | None] = ContextVar("end", default=None)
"""The deadline by the monotonic clock; None: no deadline."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limits the time of all reads of this task or thread within the block.

    At the deadline, a running statement is interrupted and its transaction is rolled back; later reads in the block
    raise the same error. Of nested deadlines, the earliest counts. Outside of such a block there is no limit.

    Raises:
        ReadTooLong: the deadline has passed; raised by the method that reads.
    """
    end, outer = time.monotonic() + seconds, _end.get()
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


class Watchdog:
    """Interrupts statements at their deadlines, in one thread that sleeps while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def over(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts statements on this cursor within the block at the deadline of `within`.

        Raises:
            ReadTooLong: the deadline has passed, possibly before a statement started.
        """
        end = _end.get()
        if end is None:
            yield
            return
        if time.monotonic() >= end:
            raise ReadTooLong(TOO_LONG)
        with self._changed:
            self._running[id(cursor)] = end, cursor
            if not self._thread:
                self._thread = threading.Thread(target=self._watch, name="read-watchdog", daemon=True)
                self._thread.start()
            elif end < self._wakes_at:
                self._changed.notify()
        try:
            yield
        except duckdb.InterruptException as error:
            raise ReadTooLong(TOO_LONG) from error
        finally:
            with self._changed:
                del self._running[id(cursor)]

    def close(self) -> None:
        """Stops the thread; later deadlines have no effect."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for end, cursor in self._running.values():
                    if end <= now:
                        cursor.interrupt()
                self._wakes_at = min(
                    (max(end, now + INTERRUPT_INTERVAL_SECONDS) for end, _ in self._running.values()),
                    default=float("inf"),
                )
                self._changed.wait(self._wakes_at - now if self._running else None)


TOO_LONG: Final = "This took longer than one call may read. Ask for less, for example with `since`, or try again later."


IS_DUCKDB_1: Final = duckdb.__version__.startswith("1.")

Values = Mapping[str, Any]

MAX_BOUND_ROWS: Final = 4
"""Maximum number of rows that an insertion binds as values."""

SELECTED_ROWS: Final = 1_024
"""Rows per batch of `Database.selected`."""

SELECTED_MEMORY_SHARE: Final = 4
"""The divisor of DuckDB's memory that gives the limit of statements while `Database.selected` runs.

With more, commits could fail.
"""

MEMORY_INTERVAL_SECONDS: Final = 0.1

_STATEMENT_MEMORY: Final = """
    SELECT sum(memory_usage_bytes)
    FROM duckdb_memory()
    WHERE tag NOT IN ('BASE_TABLE', 'IN_MEMORY_TABLE', 'METADATA', 'TRANSACTION', 'ART_INDEX')
"""
"""Memory that statements use, without tables."""

INTERRUPT_AFTER_SECONDS: float = 1.0
"""Time that other statements have to end before the file is replaced."""


@cache
def _insertion(table: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' for _ in range(columns))})"
    return f"INSERT INTO {table} VALUES {', '.join(row for _ in range(rows))}"  # noqa: S608


class _ThreadState(threading.local):
    """The current transaction of a thread."""

    cursor: duckdb.DuckDBPyConnection | None = None
    is_exclusive: bool = False


class Database:
    """A DuckDB database with this version's schema. Thread-safe.

    A thread borrows a cursor for one statement or one transaction; then other threads reuse it. So a thread that ends
    leaves no cursor open.
    """

    def __init__(self, path: str, memory_bytes: int = connection.MEMORY_BYTES, *, read_only: bool = False) -> None:
        """Opens or creates the database; raises the errors of `connection.connect` and `connection.migrate`."""
        self.path = path
        self._memory_bytes = memory_bytes
        self._connection = connection.connect(path, memory_bytes, read_only=read_only)
        self._watchdog = Watchdog()
        self._thread_state = _ThreadState()
        self._free: list[duckdb.DuckDBPyConnection] = []
        self._idle = threading.Condition()
        self._borrowed: set[duckdb.DuckDBPyConnection] = set()
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
        """Runs a statement and fetches its rows; the statement can read `tables` by name.

        Raises:
            StorageUnavailable: the database cannot run it now.
            ReadTooLong: the deadline of `within` has passed.
        """
        with self._at_work(tables) as cursor:
            return cursor.execute(statement, dict(values or {})).fetchall()

    def arrow(self, statement: str, values: Values | None = None, /, **tables: pa.Table) -> pa.Table:
        """Runs a statement and fetches its rows as columns; raises the errors of `rows`."""
        with self._at_work(tables) as cursor:
            return _result(cursor, statement, dict(values or {})).to_arrow_table()

    def batches(self, statement: str, values: Values, *, rows: int) -> Iterator[pa.Table]:
        """Runs a statement and yields tables of up to `rows` rows; raises the errors of `rows`."""
        with self._at_work({}) as cursor:
            for batch in _read(_result(cursor, statement, dict(values)).to_arrow_reader(rows)):
                yield pa.Table.from_batches([batch])

    @contextmanager
    def selected(self, statement: str) -> Iterator[Iterator[pa.RecordBatch]]:
        """Runs a SELECT in a separate read-only transaction, which ends with the block; raises the errors of `rows`."""
        with self._at_work({}) as cursor, self._limiting_memory(cursor):
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            try:
                with cursor.sql(statement).to_arrow_reader(SELECTED_ROWS) as reader:
                    yield _read(reader)
            finally:
                with suppress(duckdb.Error):  # a failed query has already rolled back
                    cursor.rollback()

    @contextmanager
    def _limiting_memory(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts statements on this cursor when they use so much memory that commits could fail."""
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
        """Runs a statement that changes rows, and returns their number; raises the errors of `rows`."""
        return int(self.rows(statement, values, **tables)[0][0])

    def insert(self, table: str, rows: pa.Table, first: Sequence[Any] = ()) -> None:
        """Appends rows to a table; `first` are the values of the columns before theirs. Raises the errors of `rows`.

        A few rows are bound as values, which costs a third of registering them as a table.
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
        """Runs all statements of this thread within the block in one transaction, which is on disk after the block.

        Raises:
            StorageUnavailable: the transaction was rolled back.
        """
        mine = self._thread_state
        if mine.cursor is not None:  # within a transaction: its commit includes the block
            yield
            return
        with self._thread_cursor() as cursor:
            mine.cursor = cursor
            try:
                cursor.begin()
                yield
                cursor.commit()
            except BaseException:
                with suppress(duckdb.Error):  # a failed commit has already rolled back
                    cursor.rollback()
                raise
            finally:
                mine.cursor = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Waits until the statements of other threads end, and holds new ones until the block ends.

        A statement that takes longer than `INTERRUPT_AFTER_SECONDS` is interrupted.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            if not self._idle.wait_for(lambda: not self._borrowed, INTERRUPT_AFTER_SECONDS):
                for cursor in self._borrowed:
                    cursor.interrupt()
                self._idle.wait_for(lambda: not self._borrowed, INTERRUPT_AFTER_SECONDS)
                for cursor in self._borrowed:  # borrowed by a thread that fetches rows intermittently
                    cursor.close()
        self._thread_state.is_exclusive = True
        try:
            yield
        finally:
            self._thread_state.is_exclusive = False
            with self._idle:
                self._exclusive = False
                self._idle.notify_all()

    def replace_with(self, new: Path) -> None:
        """Replaces the database's file with another one; within `exclusive` only.

        Raises:
            StorageUnavailable: the file is unchanged.
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

    def close(self) -> None:
        """Waits for running statements to end, and releases the file; later calls raise `StorageUnavailable`."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._borrowed and not self._exclusive)
        self._watchdog.close()
        self._close_cursors()
        self._connection.close()

    def _close_cursors(self) -> None:
        while self._free:
            self._free.pop().close()

    @contextmanager
    def _at_work(self, tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._thread_cursor() as cursor:
            for name, table in tables.items():
                cursor.register(name, table)
            try:
                with self._watchdog.over(cursor):
                    yield cursor
            finally:
                for name in tables:
                    cursor.unregister(name)

    @contextmanager
    def _thread_cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yields a cursor: that of this thread's transaction, else a free one."""
        mine = self._thread_state
        cursor = mine.cursor or self._borrow_cursor()
        try:
            yield cursor
        except duckdb.Error as error:
            raise StorageUnavailable(f"The database cannot do this now: {str(error).splitlines()[0]}") from error
        finally:
            if cursor is not mine.cursor:
                self._return_cursor(cursor)

    def _borrow_cursor(self) -> duckdb.DuckDBPyConnection:
        with self._idle:
            self._idle.wait_for(lambda: not self._exclusive or self._thread_state.is_exclusive)
            if self._closed:
                raise StorageUnavailable("The database is closed.")
            cursor = self._free.pop() if self._free else self._connection.cursor()
            self._borrowed.add(cursor)
            return cursor

    def _return_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._idle:
            self._borrowed.discard(cursor)
            if self._exclusive:
                cursor.close()  # the connection to which it belongs may be replaced
            else:
                self._free.append(cursor)
            self._idle.notify_all()


def _result(cursor: duckdb.DuckDBPyConnection, statement: str, values: dict[str, Any]) -> Any:
    """Returns a result whose columns are read fast: DuckDB 1.5 copies those of `sql` value by value."""
    return cursor.execute(statement, values) if IS_DUCKDB_1 else cursor.sql(statement, params=values)


def _read(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yields the batches of a result; raises the errors of DuckDB, which Arrow replaces with its own."""
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
    """Syncs a folder, so that the names of its files are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
