"""The leader of a lake: elects one of its collectors by a session advisory lock, and maintains the lake there.

Maintenance merges small files, and deletes old records, snapshots and files.
"""

import contextlib
import logging
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import duckdb
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.lake.catalog import SQL, STOP_SECONDS, TABLES, Lake, change
from sagascope_collector.lake.erasure import InstanceTable, LakeErasure
from sagascope_collector.lake.follower import Follower
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import Storage
from sagascope_collector.storage.runs import steady_clock
from sagascope_collector.storage.schema import table

LEADER_LOCK: Final = 8_492_018
"""The key of the session advisory lock that the leader holds; no other lock of a lake has it."""

CONFIRM_INTERVAL_SECONDS: Final = 0.5

LEASE_NS: Final = 4 * NANOSECONDS_PER_SECOND
"""Time after the last confirmation of the lock at which a leader no longer leads: its session may still exist."""

SESSION_TIMEOUT_SECONDS: Final = 8
"""Time without a statement after which PostgreSQL ends the leader's session, and with it the lock. It exceeds the
lease: if a process is paused or the network is lost, the lake has no leader for a moment, rather than two."""

_log: Final = logging.getLogger(__name__)


class Leader:
    """Tries to become the leader, and confirms that it still is, from its own thread and session."""

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
        """Starts the thread; `may_lead` returns whether this process has the state that a leader needs."""
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
                self._stopping.wait(CONFIRM_INTERVAL_SECONDS)
                continue
            try:
                self._compete()
                self._wait()
            except psycopg.Error as error:
                if self._confirmed_at is not None:
                    _log.warning("This collector no longer leads: %s", self._lake.reason(error))
                self._give_up()
                self._stopping.wait(CONFIRM_INTERVAL_SECONDS)

    def _wait(self) -> None:
        """Waits for the next attempt, or until PostgreSQL closes the session, which also frees the lock."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._session.fileno(), selectors.EVENT_READ)
            selector.select(CONFIRM_INTERVAL_SECONDS)

    def _compete(self) -> None:
        begun = steady_clock()  # before the answer: the lease must not last longer than the session with the lock
        if self._session is None:
            self._session = self._lake.session(idle_session_timeout=f"{SESSION_TIMEOUT_SECONDS}s")
        if self._confirmed_at is not None:
            self._session.execute(SQL["confirm_locks"])
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


MAINTENANCE_INTERVAL_SECONDS: Final = 5.0

MIN_MERGED_FILES: Final = 10
"""Minimum number of files of one size class that are merged at a time."""

MERGED_SIZES_BYTES: Final = ((0, 1_000_000), (1_000_000, 16_000_000))
"""The size classes of files that are merged. With these, a record is written about three times in its life."""

EXPIRATION_INTERVAL_SECONDS: Final = 600.0
"""Time between two expirations of snapshots and deletions of files."""

SNAPSHOT_AGE_SECONDS: Final = 6 * 3_600
"""Age at which snapshots are deleted. A collector that lags further reads the tables instead of following snapshots."""

REPLACED_FILE_AGE_SECONDS: Final = 3_600
"""Time between the replacement of a file and its deletion: a query that reads the file may take as long."""

UNCOMMITTED_FILE_AGE_SECONDS: Final = 3_600
"""Age at which a file that is in no commit is deleted; its receiver can no longer commit it."""

RETENTION_INTERVAL_SECONDS: Final = 3_600.0
"""Time between two deletions of old records."""

MAINTENANCE_LOCK_IDLE_SECONDS: Final = 240
"""Maximum time for which a transaction may send nothing: a leader that is paused in it delays all commits so long."""

DELETED_PERIOD_NS: Final = 300 * NANOSECONDS_PER_SECOND
"""Period whose records are deleted in one transaction. Receivers wait meanwhile."""

DAY_NS: Final = 86_400 * NANOSECONDS_PER_SECOND


class LakeMaintenance:
    """Maintains a lake in short transactions, each under the commit lock. For one thread."""

    def __init__(
        self,
        lake: Lake,
        storage: Storage,
        follower: Follower,
        erasure: LakeErasure,
        leads: Callable[[], bool],
        keep_seconds: float | None,
    ) -> None:
        """Creates it.

        Args:
            lake: the lake.
            storage: its copy, which determines the sagas that must be kept.
            follower: keeps the copy up to date.
            erasure: finishes interrupted erasures.
            leads: returns whether this process is the leader.
            keep_seconds: the age at which records are deleted; None: never.
        """
        self._lake = lake
        self._storage = storage
        self._follower = follower
        self._erasure = erasure
        self._leads = leads
        self._keep_seconds = keep_seconds
        self._session: Any = None
        self._due_at = {self._expire: 0.0, self._retain: 0.0}
        self._instances = InstanceTable(storage)
        self._failing = set[Callable[[], None]]()
        self._task = PeriodicTask("lake-maintenance", self.step, interval_seconds=MAINTENANCE_INTERVAL_SECONDS)

    def start(self) -> None:
        """Starts the thread."""
        self._task.start()

    def stop(self) -> None:
        """Stops soon; an interrupted transaction is repeated after the next start."""
        self._task.stop()

    def step(self) -> None:
        """Runs the tasks that are due. A task that fails is logged and retried later; the others still run."""
        if not self._leads():
            self.close()
            return
        self._succeeds(self._erasure.resume)
        if self._follower.unready():
            return
        self._succeeds(self._merge)
        for task, interval in ((self._retain, RETENTION_INTERVAL_SECONDS), (self._expire, EXPIRATION_INTERVAL_SECONDS)):
            if time.monotonic() >= self._due_at[task] and self._succeeds(task):
                self._due_at[task] = time.monotonic() + interval

    def _succeeds(self, task: Callable[[], None]) -> bool:
        try:
            task()
        except (duckdb.Error, psycopg.Error, StorageUnavailable) as error:
            if task not in self._failing:
                _log.warning("The lake could not be maintained: %s", self._lake.reason(error))
            self._failing.add(task)
            self.close()
            return False
        self._failing.discard(task)
        return True

    def close(self) -> None:
        """Closes the connection."""
        if self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.close()
        self._session = None

    def _read(self, statement: str, values: Any = None) -> list[Any]:
        if self._session is None:
            self._session = self._lake.session()
        found: list[Any] = self._session.execute(SQL[statement], values).fetchall()
        return found

    def _run(self, *statements: str, values: Any = None, **tables: pa.Table) -> None:
        """Runs statements of one transaction in the lake, while no other process commits."""
        if self._session is None:
            self._session = self._lake.session()
        with self._lake.attached(MAINTENANCE_LOCK_IDLE_SECONDS // 2) as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            with self._lake.exclusive(self._session, MAINTENANCE_LOCK_IDLE_SECONDS):
                change(connection, *statements, values=values)

    def _merge(self) -> None:
        for smallest, largest in MERGED_SIZES_BYTES:
            sizes = {"smallest": smallest, "largest": largest, "number": MIN_MERGED_FILES}
            for (name,) in self._read("select_tables_to_merge", sizes):
                self._run(SQL["merge_files"], values={"table": name, "smallest": smallest, "largest": largest})

    def _retain(self) -> None:
        """Deletes records older than the limit, except those of sagas that are open or need attention."""
        if self._keep_seconds is None:
            return
        end = self._lake.clock() - round(self._keep_seconds * NANOSECONDS_PER_SECOND)
        ((start,),) = self._read("select_receipts", {"since": 0})
        while start is not None and start < end:
            before = min(start + DELETED_PERIOD_NS, end)
            deletions = [SQL[f"delete_old_{name}"] for name in TABLES]
            self._run(*deletions, values={"from": start, "before": before}, kept=self._kept(before))
            ((start,),) = self._read("select_receipts", {"since": before})
        for name in TABLES:  # a deletion itself only marks rows
            self._run(SQL["rewrite_files"], values={"table": name})

    def _kept(self, before: int) -> pa.Table:
        """Returns the sagas whose records are kept: those that the copy still has, although they started long ago."""
        found = self._storage.database.rows(SQL["select_kept"], {"before": before + DAY_NS})
        return table("environment saga_id", {*found, *self._storage.changes.all()})

    def _expire(self) -> None:
        """Deletes old snapshots, and files that merging replaced or that a receiver wrote and never committed.

        The catalog has the paths of uncommitted files: DuckLake's own search for them would delete all Parquet files of
        the folder, also those of other lakes.
        """
        ((last,),) = self._read("select_old_snapshot", {"seconds": SNAPSHOT_AGE_SECONDS})
        if last is not None and last <= self._follower.snapshot:
            self._instances.write(self._session)
            self._run(SQL["expire_snapshots"], values={"seconds": SNAPSHOT_AGE_SECONDS})
        with self._lake.exclusive(self._session):
            self._session.execute(SQL["give_up_files"], {"seconds": UNCOMMITTED_FILE_AGE_SECONDS})
        self._run(SQL["delete_replaced_files"], values={"seconds": REPLACED_FILE_AGE_SECONDS})
