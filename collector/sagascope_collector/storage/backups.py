"""Makes backups while the collector runs, and remembers where they were written to."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.storage.connection import IN_MEMORY
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.rewriting import Rewriting, discard
from sagascope_collector.storage.statements import load

SQL: Final = load("backups")

_numbers: Final = count(1)


class Backups:
    """Consistent copies of one database."""

    def __init__(
        self, database: Database, rewriting: Rewriting, working: threading.Lock, clock: Callable[[], int]
    ) -> None:
        """`working` is the lock of maintenance."""
        self._database = database
        self._rewriting = rewriting
        self._working = working
        self._clock = clock

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """Returns a copy as of now, beside the database, until the block ends; what is acknowledged by now is in it.

        Raises:
            StorageUnavailable: no copy can be made.
        """
        if self._database.path == IN_MEMORY:
            raise StorageUnavailable("A database in memory has no backup: it keeps nothing.")
        file = Path(f"{self._database.path}.copy-{os.getpid()}-{next(_numbers)}")
        try:
            with self._working, self._rewriting.copy(file):
                pass
            yield file
        finally:
            discard(file)

    def note(self, location: str) -> None:
        """Remembers that a copy made now is written there."""
        self._database.rows(SQL["insert_backup"], {"made_at": self._clock(), "location": location})

    def since(self, since: int) -> Sequence[str]:
        """Returns where copies were written to that were made at this time, in nanoseconds, or later."""
        return [location for location, _ in self._database.rows(SQL["select_backups"], {"since": since})]
