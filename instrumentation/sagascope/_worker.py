"""A background thread that works when there is something to do and sleeps when there is not."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from sagascope._guard import Guard

_WORKING = Guard("working in the background")


class Pause(NamedTuple):
    """What a worker does next."""

    seconds: float | None
    """How long to wait at most; None: until it is woken."""
    wakeable: bool
    """Whether new work ends the pause."""


class Worker:
    """One daemon thread. `wake` costs its caller an attribute lookup, unless the thread sleeps."""

    def __init__(
        self, name: str, work: Callable[[], Pause], last: Callable[[], None], idle: Callable[[], bool], gather: float
    ) -> None:
        self._name = name
        self._work = work
        self._last = last
        self._idle = idle
        self._gather = gather
        """Seconds between being woken and working, so that what comes together leaves together."""
        self.forked()

    def forked(self) -> None:
        """Make everything new: in a forked child the thread is gone, and its locks may be held by nobody."""
        self._asleep = False
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is work."""
        if self._asleep:
            self._asleep = False
            self._woken.set()

    def finish(self) -> None:
        """Tell the thread to do its last work and end."""
        self._stop.set()
        self._woken.set()

    def join(self, timeout: float) -> None:
        """Wait for its end, at most `timeout` seconds."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = Pause(1.0, wakeable=False)
            with _WORKING:
                pause = self._work()
            self._rest(pause)
        with _WORKING:
            self._last()

    def _rest(self, pause: Pause) -> None:
        if not pause.wakeable:
            self._stop.wait(pause.seconds)
            return
        self._woken.clear()
        self._asleep = True
        if self._stop.is_set():
            return
        # work that came before _asleep was set woke nobody
        woken = not self._idle() or self._woken.wait(pause.seconds)
        self._asleep = False
        if woken:
            self._stop.wait(self._gather)
