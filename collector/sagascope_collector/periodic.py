"""Background threads: one that runs a task periodically or when triggered, and one that maintains the store."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sagascope_collector.errors import StorageUnavailable

if TYPE_CHECKING:
    from sagascope_collector.storage import Storage  # bridges run periodic tasks without a database

_log: Final = logging.getLogger(__name__)

PAUSE_FACTOR: Final = 4
"""After a run, the task pauses for at least this many times the run's duration, even if it is triggered."""

STOP_TIMEOUT_SECONDS: Final = 1.0


class PeriodicTask:
    """Runs a task periodically. A failure is logged when the first of a series occurs, and the task is retried."""

    def __init__(self, name: str, run: Callable[[], object], *, interval_seconds: float) -> None:
        """Creates the task; it does not run before `start`."""
        self._name = name
        self._run_once = run
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()
        self._triggered = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def trigger(self) -> None:
        """Requests a run now, or another one after the current run. Does not wait. Thread-safe."""
        self._triggered.set()

    def stop(self) -> None:
        """Stops the thread; waits for at most `STOP_TIMEOUT_SECONDS`."""
        self._stopping.set()
        self._triggered.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        is_failing = False
        while not self._stopping.is_set():
            self._triggered.clear()  # before the run, so that a trigger during it causes another run
            started = time.monotonic()
            try:
                self._run_once()
                is_failing = False
            except StorageUnavailable as error:
                if not is_failing:
                    _log.warning("The periodic task %s failed and will be retried: %s", self._name, error)
                is_failing = True
            except Exception as error:  # noqa: BLE001  the thread must survive our own defects
                if not is_failing:
                    _log.exception("The periodic task %s failed and will be retried: %s", self._name, error)
                is_failing = True
            self._pause(time.monotonic() - started, is_failing=is_failing)

    def _pause(self, run_seconds: float, *, is_failing: bool) -> None:
        pause_seconds = PAUSE_FACTOR * run_seconds
        if is_failing:
            pause_seconds = max(self._interval_seconds, pause_seconds)
        self._stopping.wait(pause_seconds)
        self._triggered.wait(max(0.0, self._interval_seconds - pause_seconds))


IDLE_INTERVAL_SECONDS: Final = 0.5
"""The time between two runs of maintenance when there is nothing to do."""

RETRY_INTERVAL_SECONDS: Final = 10.0

MAINTENANCE_STOP_TIMEOUT_SECONDS: Final = 5.0


class Maintenance:
    """Runs the maintenance of the store in a thread, one task at a time."""

    def __init__(self, storage: "Storage") -> None:
        self._storage = storage
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops after the current task; a task that exceeds the timeout is resumed at the next start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(MAINTENANCE_STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._run_step())

    def _run_step(self) -> float:
        """Runs one task; returns the seconds to wait before the next."""
        try:
            return 0.0 if self._storage.maintain() else IDLE_INTERVAL_SECONDS
        except StorageUnavailable as error:
            _log.warning("Maintenance failed and will be retried: %s", error)
        except Exception:  # noqa: BLE001  skipped maintenance only costs speed
            _log.exception("Maintenance failed and will be retried.")
        return RETRY_INTERVAL_SECONDS
