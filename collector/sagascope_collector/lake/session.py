"""A session with the catalog that several threads share."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.lake.catalog import Lake

IDLE_IN_TRANSACTION_SECONDS: Final = 8
"""PostgreSQL ends a transaction of a process that was stopped within it, and frees its locks."""


class CatalogSession:
    """Runs transactions in PostgreSQL, one at a time. Connects at the first, and again after a failure."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.RLock()
        self._session: Any = None

    @contextlib.contextmanager
    def transaction(self, lock: str = "") -> Iterator[Any]:
        """Runs a block in a transaction, and gives it the connection; a block within a block is a part of it.

        Args:
            lock: A statement that locks a table, so that no other process changes it until the block has ended.

        Raises:
            StorageUnavailable: PostgreSQL does not answer. The transaction may or may not be committed.
        """
        with self._lock:
            try:
                if self._session is None:
                    timeout = f"{IDLE_IN_TRANSACTION_SECONDS}s"
                    self._session = self._lake.session(idle_in_transaction_session_timeout=timeout)
                with self._session.transaction():
                    if lock:
                        self._session.execute(lock)
                    yield self._session
            except psycopg.Error as error:
                self.close()
                raise StorageUnavailable(f"The lake's catalog does not answer: {self._lake.reason(error)}") from error

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            if self._session is not None:
                with contextlib.suppress(psycopg.Error):
                    self._session.close()
            self._session = None
