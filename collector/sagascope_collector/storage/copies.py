"""Copies the database into a new file while it is in use: for backups, and to remove all traces of erased sagas.

Records are copied first, a part at a time. Records received meanwhile, and tables that change constantly, are copied
during a short pause of all other statements. The caller holds the lock of maintenance, so that tables that only
maintenance changes stay the same.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from glob import escape
from itertools import count
from pathlib import Path
from typing import Final

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.records import SagaId
from sagascope_collector.storage import connection, summaries
from sagascope_collector.storage.connection import IN_MEMORY, migrate, quoted, statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.sagas import Sagas

SQL: Final = statements("copies")

RECORD_TABLES: Final = ("span_records", "log_records", "linked_spans")
"""Tables to which commits append."""

MAINTENANCE_TABLES: Final = (
    "ended_terms",
    "recent_ended_terms",
    "trace_commits",
    "long_running_spans",
    "long_running_logs",
    "step_counts",
    "step_durations",
    "expired_sagas",
)
"""Tables that only maintenance changes."""

ENDED_TABLE: Final = "ended_sagas"
"""The table that maintenance changes, and records that an ended saga receives."""

UNCOPIED_TABLE: Final = "erasures"
"""The table that is not copied: no erasure is pending in a copy, because it has no data of the sagas to erase."""

COPY_ROWS: int = 1_000_000
"""Maximum number of records that one transaction copies: a long read transaction makes the file grow."""

MAX_PAUSE_ROWS: int = 100_000
"""Maximum number of records that are left to be copied during the pause."""

MAX_LATE_PARTS: Final = 20
"""Maximum number of transactions that copy what was received meanwhile, before the pause."""

FREE_DISK_FACTOR: Final = 1.1
"""Required free disk space, as a multiple of the file's size."""

Progress = Callable[[float], None]
"""Called with the copied share of the records, from 0 to 1."""

_copy_numbers: Final = count(1)


@dataclass(eq=False)
class Rewriting:
    """Writes copies of one database, one at a time."""

    _database: Database
    _sagas: Sagas
    _records: Records

    @contextmanager
    def copy(self, new: Path, progress: Progress = lambda _: None, *, is_in_use: bool = False) -> Iterator[None]:
        """Writes a copy to a new file. It is complete when the block begins; others wait until the block ends.

        `is_in_use`: the copy replaces the database. Otherwise it is like a database that was closed.

        Raises:
            StorageUnavailable: too little disk space is free, or the copy cannot be written; the new file is removed.
        """
        self._check_disk(new)
        discard(new)
        try:
            self._create(new)
            self._database.rows(f"ATTACH {quoted(str(new))} AS copied")
            try:
                with self._sagas.tracking_reopened() as reopened:
                    copied = self._copy_before(progress)
                    with self._database.exclusive():
                        self._copy_rest(copied, reopened)
                        self._database.rows(SQL["update_copied_clean"], {"is_clean": not is_in_use})
                        self._database.rows("CHECKPOINT copied")
                        self._database.rows("DETACH copied")
                        yield
            except BaseException:
                self._database.rows("DETACH DATABASE IF EXISTS copied")
                raise
        except BaseException:
            discard(new)
            raise

    def _check_disk(self, new: Path) -> None:
        needed = Path(self._database.path).stat().st_size * FREE_DISK_FACTOR
        if shutil.disk_usage(new.absolute().parent).free < needed:
            raise StorageUnavailable(f"A copy of the database needs {needed / 1e6:,.0f} MB of free disk.")

    def _create(self, new: Path) -> None:
        """Creates the new file with the schema only."""
        try:
            with closing(connection.connect(str(new))) as created:
                migrate(created, str(new))
        except OSError as error:
            raise StorageUnavailable(f"{new} cannot be written: {error.strerror}.") from error

    def _copy_before(self, progress: Progress) -> int:
        """Copies records and maintenance tables while other statements run; returns the last copied commit."""
        for table in (ENDED_TABLE, *MAINTENANCE_TABLES):
            self._database.rows(f"INSERT INTO copied.{table} FROM {table}")
        copied, parts, until = 0, 0, self._records.seq
        while self._records.seq - copied > MAX_PAUSE_ROWS and (copied < until or parts < MAX_LATE_PARTS):
            through = min(copied + COPY_ROWS, self._records.seq)
            self._copy_records(copied, through)
            copied, parts = through, parts + (through > until)
            progress(min(copied / max(self._records.seq, 1), 1.0))
        return copied

    def _copy_records(self, after: int, through: int) -> None:
        span = {"after": after, "through": through}
        for table in RECORD_TABLES:
            self._database.rows(SQL[f"copy_{table}"], span)

    def _copy_rest(self, copied: int, reopened: Sequence[SagaId]) -> None:
        self._copy_records(copied, 2**64 - 1)  # the number of the last commit may not be known yet
        if reopened:
            self._database.rows(SQL["delete_reopened"], settled=summaries.ids_table(reopened))
        for (table,) in self._database.rows(SQL["select_tables"]):
            if table not in (ENDED_TABLE, *MAINTENANCE_TABLES, *RECORD_TABLES, UNCOPIED_TABLE):
                self._database.rows(f"DELETE FROM copied.{table}")  # noqa: S608  # names of our own tables
                self._database.rows(f"INSERT INTO copied.{table} FROM {table}")


@dataclass(eq=False)
class Backups:
    """Consistent copies of one database."""

    _database: Database
    _rewriting: Rewriting
    _working: threading.Lock
    """The lock of maintenance."""
    _clock: Callable[[], int]

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """Yields a copy of all data acknowledged before the call, beside the database. It is removed after the block.

        Raises:
            StorageUnavailable: no copy can be made.
        """
        if self._database.path == IN_MEMORY:
            raise StorageUnavailable("A database in memory has no backup: it keeps nothing.")
        file = Path(f"{self._database.path}.copy-{os.getpid()}-{next(_copy_numbers)}")
        try:
            with self._working, self._rewriting.copy(file):
                pass
            yield file
        finally:
            discard(file)

    def note(self, location: str) -> None:
        """Stores the location of a copy made now."""
        self._database.rows(SQL["insert_backup"], {"made_at": self._clock(), "location": location})

    def since(self, since: int) -> Sequence[str]:
        """Returns the locations of copies made at or after a time in nanoseconds."""
        return [location for location, _ in self._database.rows(SQL["select_backups"], {"since": since})]


def discard_unfinished(path: Path) -> None:
    """Removes copies of this database that a crashed process left beside it."""
    for kind in ("copy-*", "rewriting"):
        for each in path.parent.glob(f"{escape(path.name)}.{kind}"):
            discard(each)


def discard(path: Path) -> None:
    """Removes a database file, and the files that DuckDB leaves beside it."""
    for each in (path, Path(f"{path}.wal")):
        each.unlink(missing_ok=True)
