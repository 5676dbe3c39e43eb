"""Backups as people handle them: saved, verified, and put back. Each is one file that DuckDB opens."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from sagascope_collector.errors import BadValue, CannotStart
from sagascope_collector.storage import sync_folder
from sagascope_collector.storage.migrate import Contents, read_all

COPY_BYTES: Final = 1024 * 1024


def save(pieces: Iterable[bytes], path: Path) -> Contents:
    """Writes a backup to a file, and reads it again; what was there stays until then.

    Raises:
        BadValue: it cannot be written, or was not written as it should have been.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BadValue(f"{path} is not a file, and was not changed. Name another one.")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _created(new) as file:
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
    """Reads all of a backup; returns what it holds.

    Raises:
        BadValue: it is none, is cut off or damaged, or a later version wrote it.
    """
    try:
        return read_all(path)
    except CannotStart as error:
        raise BadValue(f"{path} cannot be used as a backup: {error}") from error


def restore(path: Path, database: Path) -> Contents:
    """Puts a backup in place as a database that did not exist; nothing is left of it if that fails.

    Raises:
        BadValue: there is something already, the backup cannot be used, or the disk does not take it.
    """
    for each in (database, Path(f"{database}.wal"), Path(f"{database}.d")):
        if each.exists():
            raise BadValue(f"{each} exists and was not changed. Move it away, or name another with --db.")
    contents = verify(path)
    new = database.with_name(f".{database.name}.{os.getpid()}")
    try:
        with path.open("rb") as source, _created(new) as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
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
    """Returns the bytes of a file, some at a time."""
    with path.open("rb") as file:
        while piece := file.read(COPY_BYTES):
            yield piece


def _created(path: Path) -> IO[bytes]:
    """Opens a new file that its owner alone can read."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
