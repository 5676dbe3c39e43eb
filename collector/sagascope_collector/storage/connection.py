"""Opens the database file, and says what is wrong with one that cannot be opened."""

import os
from pathlib import Path
from typing import Final

import duckdb

from sagascope_collector.errors import CannotStart, DatabaseLocked, NewerDatabase, NotADatabase

IN_MEMORY: Final = ":memory:"

STORAGE_VERSION: Final = "v1.5.0"
"""The format that is written: DuckDB 1.5 and 2.0 both open it."""

MEMORY_BYTES: Final = 400_000_000
"""What DuckDB may hold in memory, for all statements together."""

MAX_SPILL: Final = "4GB"
"""What statements that need more than that may put on disk meanwhile, in a folder that DuckDB makes and removes."""

CHECKPOINT_BYTES: Final = "64MB"
"""Size of the write-ahead log at which DuckDB moves its content into the file. A larger one makes checkpoints rarer,
and each, like a start after a crash, longer: see docs/adr/0011."""

_MAGIC: Final = b"DUCK"
_MAGIC_OFFSET: Final = 8
_OWNER_ONLY: Final = 0o600


def connect(path: str, memory_bytes: int = MEMORY_BYTES, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Opens the database at `path`, or makes it; ``:memory:`` keeps nothing on disk.

    No statement can reach another file than those beside it, load an extension or change a setting afterwards.

    Raises:
        DatabaseLocked: another process has it open.
        NewerDatabase: a later DuckDB wrote it.
        NotADatabase: it is something else, damaged, or of the format before the first release.
        CannotStart: the folder is missing or not writable.
    """
    if path != IN_MEMORY:
        check_path(Path(path))
    try:
        connection = _connect(path, memory_bytes, read_only)
    except duckdb.Error as error:
        raise explain(path, str(error)) from error
    if path != IN_MEMORY:
        Path(path).chmod(_OWNER_ONLY)
    return connection


def _connect(path: str, memory_bytes: int, read_only: bool) -> duckdb.DuckDBPyConnection:
    folder = str(Path(path).absolute().parent)
    if path != IN_MEMORY:
        os.umask(0o077)  # for good: DuckDB makes its log anew after each checkpoint, with what this leaves
    connection = duckdb.connect(
        path,
        read_only=read_only,
        config={
            "storage_compatibility_version": STORAGE_VERSION,
            "threads": "1",  # a second costs more processor time for the same work
            "memory_limit": f"{memory_bytes}B",
            "wal_autocheckpoint": CHECKPOINT_BYTES,
            "max_temp_directory_size": MAX_SPILL,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "allow_community_extensions": "false",
            "preserve_insertion_order": "true",
        },
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    if path != IN_MEMORY:
        connection.execute(f"SET allowed_directories = [{quoted(folder)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def quoted(text: str) -> str:
    """Returns a text as SQL writes it: for the few statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def check_path(path: Path) -> None:
    """Refuses what is clearly no database of ours, before DuckDB tries to open it.

    Raises:
        NotADatabase: it is something else, or of the format before the first release.
        CannotStart: the folder is missing or not writable.
    """
    if Path(f"{path}.d").is_dir():
        raise NotADatabase(
            f"{path}.d belongs to a database of an unreleased version, which this one cannot read. "
            "Move both away, or name another file with --db."
        )
    if not path.parent.is_dir():
        raise CannotStart(f"{path} is in a folder that does not exist. Create it, or name another file with --db.")
    if path.is_dir():
        raise NotADatabase(f"{path} is a folder. Name a file with --db.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CannotStart(f"{path} is not writable by this user. Change its permissions, or name another with --db.")
    if path.exists() and not _has_magic(path):
        raise NotADatabase(f"{path} is not a DuckDB database. It was not changed; name another file with --db.")


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_MAGIC_OFFSET + len(_MAGIC))[_MAGIC_OFFSET:] == _MAGIC


def explain(path: str, reason: str) -> CannotStart:
    """Returns the error for a file that DuckDB does not open."""
    first_line = reason.splitlines()[0]
    if "lock on file" in reason:
        return DatabaseLocked(
            f"{path} is in use by another process: {first_line} "
            "One collector owns a database; stop the other, or name another file with --db."
        )
    if "version number" in reason:
        return NewerDatabase(f"{path} was written by a later version of DuckDB: {first_line}")
    return NotADatabase(f"{path} is damaged and was not changed: {first_line} Name another file with --db.")
