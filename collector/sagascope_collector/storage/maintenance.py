"""What is done now and then, a piece at a time. Nothing of it is urgent, and a crash in the midst loses nothing."""

import threading
from collections.abc import Callable

from sagascope_collector.storage.long_running import LongRunning
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.retention import Retention
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.statistics import Statistics


class Maintenance:
    """The pieces of work, in their order."""

    def __init__(
        self,
        records: Records,
        sagas: Sagas,
        statistics: Statistics,
        long_running: LongRunning,
        retention: Retention,
        working: threading.Lock,
        clock: Callable[[], int],
    ) -> None:
        """`working` is held while a piece of work is done, and by others while the database is copied."""
        self._records = records
        self._sagas = sagas
        self._statistics = statistics
        self._long_running = long_running
        self._retention = retention
        self._clock = clock
        self._working = working

    def step(self) -> bool:
        """Does one piece of work; False: there is none now.

        Raises:
            StorageUnavailable: it is still to be done; all answers are as they were.
        """
        with self._working:
            now = self._clock()
            pieces: tuple[Callable[[], bool], ...] = (
                self._records.snapshot,
                lambda: self._statistics.count(now),
                lambda: self._sagas.settle(now),
                self._sagas.sort_terms,
                self._long_running.move,
                lambda: self._retention.step(now),
            )
            return any(piece() for piece in pieces)
