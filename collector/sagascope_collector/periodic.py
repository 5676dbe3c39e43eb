"""A thread that looks after something now and then, and at once when it is called."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sagascope_collector.errors import StorageUnavailable

if TYPE_CHECKING:
    from sagascope_collector.storage import Storage  # bridges run periodic tasks, and need no database

_log: Final = logging.getLogger(__name__)

SHARE: Final = 4
"""A look that took long is followed by a rest this many times as long, called or not."""

STOPS_WITHIN: Final = 1.0


class PeriodicTask:
    """Looks every so often until it is stopped. A look that fails is logged when that begins, and tried again."""

    def __init__(self, name: str, look: Callable[[], object], *, every: float) -> None:
        """`every` is in seconds; nothing is done before `start`."""
        self._name = name
        self._look = look
        self._every = every
        self._stopping = threading.Event()
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def call(self) -> None:
        """Let it look at once, or once more if it is looking; from any thread, without waiting."""
        self._called.set()

    def stop(self) -> None:
        """End within a second."""
        self._stopping.set()
        self._called.set()
        if self._thread.ident is not None:
            self._thread.join(STOPS_WITHIN)

    def _run(self) -> None:
        failing = False
        while not self._stopping.is_set():
            self._called.clear()  # before the look: a call during it brings another
            begun = time.monotonic()
            try:
                self._look()
                failing = False
            except Exception as error:  # noqa: BLE001  the thread must outlive any fault of ours
                if not failing:
                    _log.exception("Looking after %s failed, and is tried again: %s", self._name, error)
                failing = True
            self._rest(time.monotonic() - begun, failing=failing)

    def _rest(self, took: float, *, failing: bool) -> None:
        rest = max(self._every, SHARE * took) if failing else SHARE * took
        self._stopping.wait(rest)
        self._called.wait(max(0.0, self._every - rest))


PAUSE: Final = 0.5
"""Seconds between two looks while there is nothing to do."""

AFTER_FAULT: Final = 10.0
"""Seconds until what failed is tried again."""


class Maintenance:
    """Lets a store tend to itself until it is told to stop."""

    def __init__(self, storage: "Storage") -> None:
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
            return 0.0 if self._storage.maintain() else PAUSE
        except StorageUnavailable as error:
            _log.warning("Maintenance failed and will be attempted again: %s", error)
        except Exception:  # noqa: BLE001  # what is not tidied up is only slower
            _log.exception("Maintenance failed and will be attempted again.")
        return AFTER_FAULT
