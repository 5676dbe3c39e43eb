"""A background thread that sleeps while there is nothing to do, and the backoff of its retries."""

import random
import threading
from collections.abc import Callable
from typing import NamedTuple

from sagascope._guard import Guard

_WORKING = Guard("working in the background")

ERROR_PAUSE_SECONDS = 1.0
"""Pause after work that failed."""

INITIAL_BACKOFF_SECONDS = 0.5

JITTER = 0.5
"""Share of the backoff that is random, so that services do not retry at the same moment after an outage."""


class Pause(NamedTuple):
    """How long a worker sleeps."""

    seconds: float | None
    """Maximum duration; None: until it is notified."""
    interruptible: bool
    """Whether new work ends the pause."""


class Worker:
    """One daemon thread. `notify` costs its caller an attribute lookup, unless the thread sleeps.

    Args:
        name: The name of the thread.
        work: Does what is to be done, and returns the pause until the next call.
        finish: Called once, at the end.
        is_idle: Returns whether there is no work.
        delay: Seconds between a notification and work, so that records that arrive together are sent together.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Pause],
        finish: Callable[[], None],
        is_idle: Callable[[], bool],
        delay: float,
    ) -> None:
        self._work = work
        self._finish = finish
        self._is_idle = is_idle
        self._delay = delay
        self._is_sleeping = False
        self._notified = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        if self._is_sleeping:
            self._is_sleeping = False
            self._notified.set()

    def stop(self) -> None:
        self._stopped.set()
        self._notified.set()

    def join(self, timeout: float) -> None:
        """Waits for the end of the thread, at most `timeout` seconds."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = Pause(ERROR_PAUSE_SECONDS, interruptible=False)
            with _WORKING:
                pause = self._work()
            self._sleep(pause)
        with _WORKING:
            self._finish()

    def _sleep(self, pause: Pause) -> None:
        if not pause.interruptible:
            self._stopped.wait(pause.seconds)
            return
        self._notified.clear()
        self._is_sleeping = True
        if self._stopped.is_set():
            return
        # work that arrived before _is_sleeping was set did not notify the thread
        notified = not self._is_idle() or self._notified.wait(pause.seconds)
        self._is_sleeping = False
        if notified:
            self._stopped.wait(self._delay)


class Backoff:
    """The time between two attempts while the collector accepts nothing; it doubles with each, up to a maximum."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._seconds = 0.0

    def next_seconds(self, requested: float | None = None) -> float:
        """Returns the seconds until the next attempt: as requested, within bounds, or a random part of the backoff."""
        self._seconds = min(self._max_seconds, max(INITIAL_BACKOFF_SECONDS, self._seconds * 2))
        if requested is not None:
            return min(self._max_seconds, max(INITIAL_BACKOFF_SECONDS, requested))
        return self._seconds * (1 - JITTER * random.random())  # noqa: S311 - no secret

    def reset(self) -> None:
        self._seconds = 0.0
