"""Where the key of stand-ins is kept: never in the database, so that a copy of that leads back to nothing."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sagascope_collector.errors import CannotStart
from sagascope_collector.scrubbing.tokens import SHORTEST_KEY

VARIABLE: Final = "SAGASCOPE_SCRUB_KEY"


def chosen(file: Path | None, environment: Mapping[str, str], db: str) -> Callable[[], bytes]:
    """The key of this file, else of the variable `VARIABLE`, else one that is made when it is first needed.

    That one is kept in a file beside the database, which its owner alone can read.

    Raises:
        CannotStart: the file cannot be read, or the key is too short to be safe.
    """
    if file or environment.get(VARIABLE):
        key = _checked(_read(file) if file else environment[VARIABLE].encode(), str(file or VARIABLE))
        return lambda: key
    if db.startswith(":"):
        return lambda: secrets.token_bytes(32)
    beside = Path(f"{db}.scrub-key")
    return lambda: _checked(_read(beside), str(beside)) if beside.exists() else _made(beside)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise CannotStart(f"The key for scrubbing cannot be read from {file}: {error.strerror}.") from error


def _checked(key: bytes, place: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise CannotStart(f"The key for scrubbing in {place} is too short: {SHORTEST_KEY} bytes at least.")
    return key


def _made(file: Path) -> bytes:
    """A new key, on disk before it is used."""
    key = secrets.token_hex(32).encode()
    unfinished = file.with_name(f"{file.name}.part")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writing:
        writing.write(key)
        writing.flush()
        os.fsync(writing.fileno())
    unfinished.replace(file)
    return key
