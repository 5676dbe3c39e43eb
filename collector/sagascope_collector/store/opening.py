"""Opens the database file, and says what is wrong with one that cannot be opened. Never writes to such a file."""

import os
import shutil
from pathlib import Path
from typing import Final

import duckdb

from sagascope_collector.errors import CannotStart, DatabaseLocked, NewerDatabase, NotADatabase
from sagascope_collector.store.sql import Query

IN_MEMORY: Final = ":memory:"

MAGIC: Final = b"DUCK"
MAGIC_AT: Final = 8
"""Where a DuckDB file says that it is one, in bytes from its start."""

MEMORY: Final = 600_000_000
"""Bytes that DuckDB may hold, for all statements together."""

SPILL: Final = "2GB"
"""What statements that need more than that may put on disk, in a folder among the facts."""

_CONFIG: Final[dict[str, str]] = {
    "threads": "1",  # a second costs more processor time for the same work
    "wal_autocheckpoint": "64MB",  # holds summaries only; what it holds is read again at the start after a crash
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}


def connect(path: str, memory_bytes: int = MEMORY) -> duckdb.DuckDBPyConnection:
    """Open the database at `path`, or make it; ``:memory:`` keeps it in memory, and nothing of it on disk.

    Raises:
        DatabaseLocked: another process has it open.
        NewerDatabase: a later DuckDB wrote it.
        NotADatabase: it is something else, or damaged.
        CannotStart: the folder is missing or may not be written.
    """
    if path != IN_MEMORY:
        look_at(Path(path))
    try:
        connection = duckdb.connect(path, config=_config(path, memory_bytes))
        shutil.rmtree(_spill(path), ignore_errors=True)  # a crash left it
        connection.execute(Query.KEEP_FOOTERS.text)
        return connection
    except duckdb.Error as error:
        raise explained(path, str(error)) from error


def _config(path: str, memory_bytes: int) -> dict[str, str | bool | int | float | list[str]]:
    spill = "" if path == IN_MEMORY else _spill(path)
    return {
        **_CONFIG,
        "memory_limit": f"{memory_bytes}B",
        "temp_directory": spill,
        **({"max_temp_directory_size": SPILL} if spill else {}),
    }


def _spill(path: str) -> str:
    return f"{path}.d/spill"


def look_at(path: Path) -> None:
    """Refuse what is clearly no database, before DuckDB tries to make something of it.

    Raises:
        NotADatabase: it is something else.
        CannotStart: the folder is missing or may not be written.
    """
    if not path.parent.is_dir():
        raise CannotStart(f"{path} is in a folder that does not exist. Make that, or name another file with --db.")
    if path.is_dir():
        raise NotADatabase(f"{path} is a folder. Name a file with --db.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CannotStart(f"{path} may not be written by this user. Change its permissions, or name another with --db.")
    if path.exists() and not _has_magic(path):
        raise NotADatabase(f"{path} is not a DuckDB database. It was left as it is; name another file with --db.")


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def explained(path: str, reason: str) -> CannotStart:
    """What a person is told when DuckDB does not open a file."""
    if "lock on file" in reason:
        return DatabaseLocked(
            f"{path} is in use by another process: {reason.splitlines()[0]} "
            "One collector owns a database; stop the other, or name another file with --db."
        )
    if "version number" in reason:
        return NewerDatabase(f"{path} was written by a later version of DuckDB: {reason.splitlines()[0]}")
    return NotADatabase(
        f"{path} is damaged and was left as it is: {reason.splitlines()[0]} Name another file with --db."
    )
