"""Elects one collector of a lake as the leader, by a session advisory lock of the catalog."""

import contextlib
import logging
import selectors
import threading
from collections.abc import Callable
from typing import Any, Final

import psycopg

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.lake.catalog import SQL, STOP_SECONDS, Lake
from sagascope_collector.storage.runs import steady_clock

LEADER_LOCK: Final = 8_492_018
"""The key of the session advisory lock that the leader holds; no other lock of a lake has it."""

INTERVAL_SECONDS: Final = 0.5

LEASE_NS: Final = 4 * NANOSECONDS_PER_SECOND
"""A leader that could not confirm its lock for this long no longer leads, although its connection may still exist."""

SESSION_TIMEOUT_SECONDS: Final = 8
"""PostgreSQL ends a session that sends nothing for this long, and with it the lock. It must exceed the lease, so that
a stopped process or a lost network has no leader for a moment rather than two."""

_log: Final = logging.getLogger(__name__)


class Leader:
    """Tries to become the leader, and confirms that it still is, from its own thread and connection."""

    def __init__(self, lake: Lake) -> None:
        """Creates it; it does not lead before `start`."""
        self._lake = lake
        self._may_lead: Callable[[], bool] = lambda: True
        self._session: Any = None
        self._confirmed_at: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sagascope-leader", daemon=True)

    @property
    def leads(self) -> bool:
        """Whether this process is the leader now. Thread-safe, and does not wait."""
        confirmed_at = self._confirmed_at
        return confirmed_at is not None and steady_clock() - confirmed_at < LEASE_NS

    def start(self, may_lead: Callable[[], bool]) -> None:
        """Starts the thread; `may_lead` returns whether this process knows enough to lead."""
        self._may_lead = may_lead
        self._thread.start()

    def stop(self) -> None:
        """Stops, so that another process can lead at once."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._give_up()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._may_lead():
                self._give_up()
                self._stopping.wait(INTERVAL_SECONDS)
                continue
            try:
                self._compete()
                self._wait()
            except psycopg.Error as error:
                if self._confirmed_at is not None:
                    _log.warning("This collector no longer leads: %s", self._lake.reason(error))
                self._give_up()
                self._stopping.wait(INTERVAL_SECONDS)

    def _wait(self) -> None:
        """Waits for the next attempt, or until PostgreSQL closes the connection: the lock is free then."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._session.fileno(), selectors.EVENT_READ)
            selector.select(INTERVAL_SECONDS)

    def _compete(self) -> None:
        begun = steady_clock()
        if self._session is None:
            self._session = self._lake.session(idle_session_timeout=f"{SESSION_TIMEOUT_SECONDS}s")
        if self._confirmed_at is not None:
            self._session.execute(SQL["confirm_leader_lock"])
            self._confirmed_at = begun
            return
        ((is_taken,),) = self._session.execute(SQL["try_lock"], [LEADER_LOCK]).fetchall()
        if is_taken:
            _log.info("This collector leads now.")
            self._confirmed_at = begun

    def _give_up(self) -> None:
        self._confirmed_at = None
        if self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.close()
        self._session = None
