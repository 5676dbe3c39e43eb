"""Tells whether acknowledged commits are missing after a start: DuckDB opens a database without its log, too.

While the database is open, the number of the last commit is kept, synced, in a small file beside it; a clean stop
checkpoints, notes that in the database and removes the file. See docs/adr/0012.
"""

import os
import struct
from pathlib import Path
from typing import Final

from sagascope_collector.storage.connection import IN_MEMORY
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("integrity")

_FORMAT: Final = struct.Struct("<36sQ")
"""The id of the database, and the number of the last commit."""

_OWNER_ONLY: Final = 0o600


class CommitMark:
    """The number of the last commit, kept beside the database."""

    def __init__(self, path: str, database_id: str) -> None:
        """Writes nothing yet; `path` is that of the database."""
        self._path = mark_path(path)
        self._id = database_id.encode()
        self._file: int | None = None

    def set(self, seq: int) -> None:
        """Writes the number of a commit that is on disk, and waits until this is, too.

        Raises:
            OSError: it is not.
        """
        if self._file is None:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, _OWNER_ONLY)
        os.pwrite(self._file, _FORMAT.pack(self._id, seq), 0)
        os.fdatasync(self._file)

    def remove(self) -> None:
        """Removes it after a clean stop."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leaves it for the next start."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def mark_path(path: str) -> Path:
    """Returns where the mark of a database is."""
    return Path(f"{path}.commit")


def data_loss(database: Database, seq: int, *, had_log: bool) -> str | None:
    """Returns what may be missing, as a sentence; None: nothing is.

    Args:
        database: has just been opened.
        seq: the number of its last commit.
        had_log: whether it had a write-ahead log before.
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
    """Notes that the database is in use, in the file itself: the log may get lost."""
    ((_, is_clean),) = database.rows(SQL["select_stop"])
    if is_clean and database.path != IN_MEMORY:
        database.rows(SQL["update_clean"], {"is_clean": False})
        database.checkpoint()


def stopped(database: Database) -> None:
    """Notes that everything is in the file."""
    if database.path != IN_MEMORY:
        database.rows(SQL["update_clean"], {"is_clean": True})
        database.checkpoint()


def identity_of(database: Database) -> str:
    """Returns the id of the database."""
    ((database_id, _),) = database.rows(SQL["select_stop"])
    return str(database_id)


def _read(path: Path, database_id: str) -> int | None:
    try:
        owner, seq = _FORMAT.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None
    return int(seq) if owner == database_id.encode() else None
