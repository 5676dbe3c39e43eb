"""A copy of a store at one moment, made beside it while it goes on: files that never change are linked, not copied."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.store.contract import Part
from sagascope_collector.store.database import Database
from sagascope_collector.store.links import DATABASE, linked

PLACES: Final = "backup-"
"""How the names of folders begin in which copies are put together."""


@contextmanager
def taken(
    database: Database, folder: Path, quiet: Sequence[threading.Lock], appending: threading.Lock
) -> Iterator[Sequence[Part]]:
    """The parts of a copy, until the block ends.

    While `quiet` are held nothing is moved and no summary written; `appending` is held only while files are linked.

    Raises:
        StoreUnavailable: there is no room for it, or the disk has no links.
    """
    place = folder / f"{PLACES}{uuid4().hex}"
    try:
        place.mkdir()
        with ExitStack() as stack:
            for lock in quiet:
                stack.enter_context(lock)
            with appending:
                facts = list(linked(folder, place))
            database.copy_to(place / DATABASE)
        copied = place / DATABASE
        yield [Part(DATABASE, copied, copied.stat().st_size), *facts]
    except OSError as error:
        raise StoreUnavailable(f"No copy can be made in {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def discard_unfinished(folder: Path) -> None:
    """Remove what a copy left that was being made in a process that died."""
    for place in folder.glob(f"{PLACES}*"):
        shutil.rmtree(place, ignore_errors=True)
