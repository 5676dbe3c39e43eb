"""Determines after a start whether acknowledged commits are missing, and when there were ingest outages.

DuckDB opens a database without its write-ahead log, too. So while the database is open, the number of the last commit
is kept, synced, in a small file beside it. A clean stop checkpoints, records that in the database and removes the file.
See docs/adr/0012.
"""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sagascope_collector.storage.connection import IN_MEMORY, OWNER_ONLY, statements
from sagascope_collector.storage.database import Database

SQL: Final = statements("runs")

_FORMAT: Final = struct.Struct("<36sQ")
"""The id of the database, and the number of the last commit."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class CommitMark:
    """The number of the last commit, kept beside the database."""

    def __init__(self, database: Database) -> None:
        """Reads the id of the database; does not write yet."""
        self._path = mark_path(database.path)
        ((database_id, _),) = database.rows(SQL["select_stop"])
        self._id = str(database_id).encode()
        self._file: int | None = None

    def set(self, seq: int) -> None:
        """Writes the number of a commit that is on disk, and syncs it.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is None:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, OWNER_ONLY)
        os.pwrite(self._file, _FORMAT.pack(self._id, seq), 0)
        os.fdatasync(self._file)

    def remove(self) -> None:
        """Removes the file after a clean stop."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file and leaves it for the next start."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def mark_path(path: str) -> Path:
    """Returns the path of a database's mark."""
    return Path(f"{path}.commit")


def data_loss(database: Database, seq: int, *, had_log: bool) -> str | None:
    """Returns a sentence about acknowledged data that may be missing; None: none is.

    Args:
        database: the database, just opened.
        seq: the number of its last commit.
        had_log: whether it had a write-ahead log before it was opened.
    """
    if database.path == IN_MEMORY:
        return None
    ((database_id, is_clean),) = database.rows(SQL["select_stop"])
    marked = _read(mark_path(database.path), database_id)
    if marked is not None:
        if marked <= seq:
            return None
        return (
            f"{marked - seq:,} acknowledged records are missing: the database ends with commit {seq:,}, and commit "
            f"{marked:,} was acknowledged. Its write-ahead log ({Path(database.path).name}.wal) is missing or damaged."
        )
    if is_clean or had_log:
        return None
    return (
        "Acknowledged records may be missing: the collector did not stop cleanly, and the database has no write-ahead "
        f"log ({Path(database.path).name}.wal) beside it."
    )


def opened(database: Database) -> None:
    """Records in the file itself that the database is in use, because the log may get lost."""
    ((_, is_clean),) = database.rows(SQL["select_stop"])
    if is_clean and database.path != IN_MEMORY:
        database.rows(SQL["update_clean"], {"is_clean": False})
        database.rows("CHECKPOINT")


def stopped(database: Database) -> None:
    """Records that all data is in the file."""
    if database.path != IN_MEMORY:
        database.rows(SQL["update_clean"], {"is_clean": True})
        database.rows("CHECKPOINT")


def _read(path: Path, database_id: str) -> int | None:
    try:
        owner, seq = _FORMAT.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None
    return int(seq) if owner == database_id.encode() else None


class Outages:
    """The runs of collectors on a database, and the ingest outages within them. Times are nanoseconds since 1970."""

    def __init__(self, database: Database, steady: Callable[[], int]) -> None:
        """Creates the table access; `steady` returns nanoseconds since the machine started."""
        self._database = database
        self._steady = steady
        self._started_at = 0

    def start(self, now: int) -> None:
        """Records that a run starts now."""
        self._started_at = now
        self._database.rows(SQL["insert_run"], {"now": now, "boot_id": _boot_id(), "uptime": self._steady()})

    def record_alive(self, now: int) -> None:
        """Records that the collector listens now. The time of a crash is known to within the interval of calls."""
        self._note("update_run_alive", now)

    def stop(self, now: int) -> None:
        """Records that this run ends now."""
        self._note("update_run_stopped", now)

    def _note(self, name: str, now: int) -> None:
        self._database.rows(SQL[name], {"now": now, "started_at": self._started_at, "uptime": self._steady()})

    def put(self, start: int, end: int) -> None:
        """Stores an outage within this run; a later one with the same start replaces it."""
        self._database.rows(SQL["put_outage"], {"start": start, "end": end})

    def since(self, since: int) -> list[tuple[int, int]]:
        """Returns (start, end) of every outage that ended after ``since``, earliest first.

        Outages are the times between a stop or crash and the next start, and those of `put`. A new database has none.
        An outage between two runs on one machine is no longer than the machine ran meanwhile, whatever its wall clock
        showed.
        """
        found = self._database.rows(SQL["select_outages"], {"since": since})
        return [(start, end) for start, end in found]


def steady_clock() -> int:
    """Returns nanoseconds since the machine started, including sleep. Setting the wall clock has no effect."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot_id() -> str:
    """Returns an id of the current boot of the machine; another text at each call if it is not known."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(time.time_ns())
