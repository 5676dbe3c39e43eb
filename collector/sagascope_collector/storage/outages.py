"""When nothing was taken in on this database, though senders may have tried."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("outages")

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Outages:
    """The runs of collectors on a database, and the ingest outages within them. Times are nanoseconds since 1970."""

    def __init__(self, database: Database, steady: Callable[[], int]) -> None:
        """`steady` returns nanoseconds since the machine started."""
        self._database = database
        self._steady = steady
        self._started_at = 0

    def start(self, now: int) -> None:
        """Notes that a run starts now."""
        self._started_at = now
        self._database.rows(SQL["insert_run"], {"now": now, "boot_id": _boot_id(), "uptime": self._steady()})

    def stay_alive(self, now: int) -> None:
        """Notes that a collector listens now: the time of a crash is known to within the time between two calls."""
        self._note("update_run_alive", now)

    def stop(self, now: int) -> None:
        """Notes that this run ends now."""
        self._note("update_run_stopped", now)

    def _note(self, name: str, now: int) -> None:
        self._database.rows(SQL[name], {"now": now, "started_at": self._started_at, "uptime": self._steady()})

    def put(self, start: int, end: int) -> None:
        """Notes an outage within this run; a later one with the same start replaces it."""
        self._database.rows(SQL["put_outage"], {"start": start, "end": end})

    def since(self, since: int) -> list[tuple[int, int]]:
        """Returns (from, to) of every outage that lasted until after ``since``, earliest first.

        Between a stop or crash and the next start, and as `put` said. A new database has none. Between two runs on one
        machine an outage is no longer than the machine ran meanwhile, whatever its wall clock said.
        """
        found = self._database.rows(SQL["select_outages"], {"since": since})
        return [(start, end) for start, end in found]


def _boot_id() -> str:
    """Returns what tells this start of the machine from others; another text each time where that is not known."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(time.time_ns())
