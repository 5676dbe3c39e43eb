"""The thread in which a store does what is not urgent: sealing, merging, retention."""

import logging
import threading
from typing import Final

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.storage import Storage

PAUSE: Final = 0.5
"""Seconds between two looks while there is nothing to do."""

AFTER_FAULT: Final = 10.0
"""Seconds until what failed is tried again."""

_log: Final = logging.getLogger(__name__)


class Housekeeping:
    """Lets a store tend to itself until it is told to stop."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End after the piece of work that is under way, or leave it after five seconds: it is resumed at the start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._pause())

    def _pause(self) -> float:
        """Do one piece of work; for how long to wait before the next."""
        try:
            return 0.0 if self._storage.maintenance.step() else PAUSE
        except StorageUnavailable as error:
            _log.warning("Maintenance failed and will be attempted again: %s", error)
        except Exception:  # noqa: BLE001  # what is not tidied up is only slower
            _log.exception("Maintenance failed and will be attempted again.")
        return AFTER_FAULT
