"""Saves, verifies and restores backups. A backup is one file that DuckDB can open."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import duckdb

from sagascope_collector.errors import BadValue, CannotStart
from sagascope_collector.storage import sync_folder
from sagascope_collector.storage.connection import applied, check_path, explain, statements

SQL: Final = statements("migrations")

COPY_CHUNK_BYTES: Final = 1024 * 1024


class Contents(NamedTuple):
    """The contents of a backup."""

    bytes: int
    records: int
    """The number of spans and log records."""
    latest: int
    """The time of receipt of the latest record in nanoseconds since 1970; 0: there is none."""


def save(pieces: Iterable[bytes], path: Path) -> Contents:
    """Writes and verifies a backup, and then replaces an older one.

    Raises:
        BadValue: the file cannot be written, or the backup is not valid.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BadValue(f"{path} is not a file, and was not changed. Name another one.")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with create(new) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        contents = verify(new)
        new.replace(path)
        sync_folder(path.parent)
        return contents
    except OSError as error:
        raise BadValue(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        new.unlink(missing_ok=True)


def verify(path: Path) -> Contents:
    """Reads all of a backup; returns a summary of its contents.

    Raises:
        BadValue: the file is not a backup, is truncated or damaged, or was written by a later version.
    """
    try:
        records, latest = read_all(path)
        return Contents(path.stat().st_size, records, latest)
    except CannotStart as error:
        raise BadValue(f"{path} cannot be used as a backup: {error}") from error


def restore(path: Path, database: Path) -> Contents:
    """Creates a database from a backup; removes it if that fails.

    Raises:
        BadValue: there is no backup, or it is not valid; the database exists, or cannot be written.
    """
    for each in (database, Path(f"{database}.wal"), Path(f"{database}.d")):
        if each.exists():
            raise BadValue(f"{each} exists and was not changed. Move it away, or name another with --db.")
    if not path.is_file():
        raise BadValue(f"{path} does not exist, or is not a file.")
    contents = verify(path)
    new = database.with_name(f".{database.name}.{os.getpid()}")
    try:
        with path.open("rb") as source, create(new) as target:
            shutil.copyfileobj(source, target, COPY_CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        Path(f"{database}.commit").unlink(missing_ok=True)
        new.rename(database)
        sync_folder(database.absolute().parent)
    except OSError as error:
        raise BadValue(f"{database} cannot be written: {error.strerror}.") from error
    finally:
        new.unlink(missing_ok=True)
    return contents


def pieces(path: Path) -> Iterator[bytes]:
    """Yields the bytes of a file in chunks."""
    with path.open("rb") as file:
        while piece := file.read(COPY_CHUNK_BYTES):
            yield piece


def create(path: Path) -> IO[bytes]:
    """Opens a new file that only its owner can read."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def read_all(path: Path) -> tuple[int, int]:
    """Reads every row of a database, so that DuckDB verifies every block in use.

    Returns the number of spans and log records, and the time of receipt of the latest (0: there is none).

    Raises:
        CannotStart: the file is not a database of Sagascope, is damaged, or was written by a later version.
    """
    check_path(path)
    try:
        with duckdb.connect(path, read_only=True, config={"threads": "1"}) as opened:
            if not applied(opened, str(path)):
                raise explain(str(path), "It is empty.")
            for (table,) in opened.execute(SQL["select_tables"]).fetchall():
                opened.execute(SQL["read_table"].replace('"table"', table)).fetchall()
            ((records, latest),) = opened.execute(SQL["count_records"]).fetchall()
            return records, latest
    except duckdb.Error as error:
        raise explain(str(path), str(error)) from error
