"""Opens the database file and migrates it to this version's schema; explains why a file cannot be opened.

The SQL of the storage is in files: by subject in `sql/`, with statements under ``-- name: verb_noun``, and numbered
migrations in `migrations/`, each applied in one transaction with its own record.
"""

import os
import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import duckdb

from sagascope_collector.errors import CannotStart, DatabaseLocked, NewerDatabase, NotADatabase

IN_MEMORY: Final = ":memory:"

STORAGE_VERSION: Final = "v1.5.0"
"""The storage format: DuckDB 1.5 and 2.0 both open it."""

MEMORY_BYTES: Final = 400_000_000
"""Memory limit of DuckDB, for all statements together."""

MAX_TEMPORARY_SIZE: Final = "4GB"
"""Maximum size of the temporary files of statements that exceed it, in a folder that DuckDB creates and removes."""

CHECKPOINT_BYTES: Final = "64MB"
"""Size of the write-ahead log at which DuckDB moves its content into the file.

A larger log makes checkpoints rarer, and each checkpoint, like a start after a crash, longer: see docs/adr/0011.
"""

_MAGIC: Final = b"DUCK"
_MAGIC_OFFSET: Final = 8
OWNER_ONLY: Final = 0o600


def connect(path: str, memory_bytes: int = MEMORY_BYTES, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Opens or creates the database at `path`; ``:memory:`` stores nothing on disk.

    Afterwards, no statement can access files other than those of the database, load an extension or change a setting.

    Raises:
        DatabaseLocked: another process has it open.
        NewerDatabase: a later DuckDB wrote it.
        NotADatabase: the file is not a database, is damaged, or has the format before the first release.
        CannotStart: the folder is missing or not writable.
    """
    if path != IN_MEMORY:
        check_path(Path(path))
        os.umask(0o077)  # permanent: DuckDB creates its log again after each checkpoint, with this umask
    config: dict[str, Any] = {
        "storage_compatibility_version": STORAGE_VERSION,
        "threads": "1",  # a second thread costs more processor time for the same work
        "memory_limit": f"{memory_bytes}B",
        "wal_autocheckpoint": CHECKPOINT_BYTES,
        "max_temp_directory_size": MAX_TEMPORARY_SIZE,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",  # otherwise a table name could be that of a Python variable
        "allow_community_extensions": "false",
        "preserve_insertion_order": "true",  # rows lie in the order of their commits, on which look-ups rely
    }
    try:
        connection = duckdb.connect(path, read_only=read_only, config=config)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        if path != IN_MEMORY:
            connection.execute(f"SET allowed_directories = [{quoted(str(Path(path).absolute().parent))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise explain(path, str(error)) from error
    if path != IN_MEMORY:
        Path(path).chmod(OWNER_ONLY)
    return connection


def quoted(text: str) -> str:
    """Quotes a text as a SQL literal, for the few statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def check_path(path: Path) -> None:
    """Refuses a file that is clearly not a database of Sagascope, before DuckDB tries to open it.

    Raises:
        NotADatabase: the file is not a database, or has the format before the first release.
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
    if path.exists():
        with path.open("rb") as file:
            start = file.read(_MAGIC_OFFSET + len(_MAGIC))
        if start[_MAGIC_OFFSET:] != _MAGIC:
            raise NotADatabase(f"{path} is not a DuckDB database. It was not changed; name another file with --db.")


def explain(path: str, reason: str) -> CannotStart:
    """Returns the error for a file that DuckDB cannot open."""
    first_line = reason.splitlines()[0]
    if "lock on file" in reason:
        return DatabaseLocked(
            f"{path} is in use by another process: {first_line} "
            "One collector owns a database; stop the other, or name another file with --db."
        )
    if "version number" in reason:
        return NewerDatabase(f"{path} was written by a later version of DuckDB: {first_line}")
    return NotADatabase(f"{path} is damaged and was not changed: {first_line} Name another file with --db.")


Statements = MappingProxyType[str, str]
"""The text of each statement, by name."""

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(subject: str, package: str = __package__) -> Statements:
    """Returns the statements of one subject, of this package or another."""
    text = files(package).joinpath("sql", f"{subject}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return MappingProxyType({name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)})


SQL: Final = statements("migrations")


class Migration(NamedTuple):
    """One numbered change of the schema."""

    version: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """Returns every migration that this version knows, in order."""
    found = [each for each in files(__package__).joinpath("migrations").iterdir() if each.name.endswith(".sql")]
    known = [Migration(int(each.name[:4]), each.name[5:-4], each.read_text(encoding="utf-8")) for each in found]
    return sorted(known)


def migrate(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Applies the missing migrations. Applied migrations stay if a later one fails.

    Raises:
        NewerDatabase: a later version of Sagascope wrote to it; nothing was changed.
        NotADatabase: it has tables of another application; nothing was changed.
    """
    done = applied(connection, path)
    missing = [each for each in migrations() if each.version not in done]
    applied_by = version("sagascope") if missing else ""
    for each in missing:
        connection.begin()
        try:
            connection.execute(SQL["create_migrations"])
            connection.execute(each.text)
            values = {"version": each.version, "name": each.name, "applied_by": applied_by}
            connection.execute(SQL["insert_migration"], values)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def applied(connection: duckdb.DuckDBPyConnection, path: str) -> list[int]:
    """Returns the versions of the applied migrations, in order; empty for an empty database.

    Raises:
        NewerDatabase: a later version of Sagascope wrote to it.
        NotADatabase: it has tables of another application.
    """
    tables = {name for (name,) in connection.execute(SQL["select_tables"]).fetchall()}
    if tables and "migrations" not in tables:
        raise NotADatabase(f"{path} is a DuckDB database, but not one of Sagascope's. Name another file with --db.")
    found = [number for (number,) in connection.execute(SQL["select_migrations"]).fetchall()] if tables else []
    known = migrations()[-1].version
    if found and found[-1] > known:
        raise NewerDatabase(
            f"{path} was written by a later version of Sagascope (schema {found[-1]}; this version knows "
            f"{known}). Update Sagascope, or name another file with --db."
        )
    return found
