"""The folder beside the database that holds the facts: ``<database>.d``."""

import tempfile
from pathlib import Path

from sagascope_collector.errors import CannotStart, NotADatabase, StoreUnavailable
from sagascope_collector.store.opening import IN_MEMORY

TRIAL_NAME: str = "trial"

REWRITE_NAME: str = "rewrite"
"""A file of this name says that the database file holds what was forgotten, and is to be written anew."""

TRIAL: int = 64 * 1024
"""Bytes that are written to see whether the disk takes them: a small commit, and what belongs to it."""


def folder_of(path: str) -> Path:
    """Where the facts of a database are; of one in memory, a new folder that is to be removed with it."""
    return Path(tempfile.mkdtemp(prefix="sagascope-")) if path == IN_MEMORY else Path(f"{path}.d")


def enter(folder: Path, *, begun: bool) -> None:
    """Make the folder, or see that it is there, `begun` being whether the database has ever been used.

    Raises:
        NotADatabase: the database was moved without it; nothing was changed.
        CannotStart: it cannot be made.
    """
    if begun and not journals(folder):
        raise NotADatabase(
            f"{folder} is missing, or not complete: it holds the facts of the database. "
            "Put it back beside it, or name another file with --db."
        )
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotStart(f"{folder} cannot be made: {error.strerror}.") from error


def journal(folder: Path, number: int) -> Path:
    """The file of a generation's journal."""
    return folder / f"hot-{number:08}"


def journals(folder: Path) -> list[int]:
    """The numbers of the generations that have a journal, in no particular order."""
    names = [path.name.removeprefix("hot-") for path in folder.glob("hot-*")]
    return [int(name) for name in names if name.isdecimal()]


def tidy(folder: Path, sealed_through: int) -> None:
    """Remove journals whose records are sealed: a crash left them."""
    for number in journals(folder):
        if number <= sealed_through:
            journal(folder, number).unlink()


def try_writing(folder: Path) -> None:
    """Write a file and remove it.

    Raises:
        StoreUnavailable: the disk does not take it.
    """
    trial = folder / TRIAL_NAME
    try:
        trial.write_bytes(bytes(TRIAL))
    except OSError as error:
        raise StoreUnavailable(f"The disk does not take what is received: {error.strerror}.") from error
    finally:
        trial.unlink(missing_ok=True)
