"""Maintenance of a lake by the collector that leads: merges small files, deletes old records, snapshots and files."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import duckdb
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.lake.catalog import SQL, TABLES, Lake, change
from sagascope_collector.lake.erasure import LakeErasure
from sagascope_collector.lake.follower import Follower
from sagascope_collector.lake.records import InstanceTable
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import Storage
from sagascope_collector.storage.schema import table

INTERVAL_SECONDS: Final = 5.0

SMALL_FILES: Final = 10
"""Files of one size class that are merged at a time, at least."""

SIZES: Final = ((0, 1_000_000), (1_000_000, 16_000_000))
"""The size classes of files that are merged, in bytes: a record is written about three times in its life."""

EXPIRE_SECONDS: Final = 600.0
"""Time between two expirations of snapshots and deletions of files."""

SNAPSHOT_SECONDS: Final = 6 * 3_600
"""Age up to which collectors can follow by snapshots; one that lags further reads the tables."""

FILE_SECONDS: Final = 3_600
"""Time between the replacement of a file and its deletion: a query that reads it may take as long."""

UNCOMMITTED_SECONDS: Final = 3_600
"""Age at which a file that no commit names is given up: its receiver may commit it no more."""

RETENTION_SECONDS: Final = 3_600.0
"""Time between two looks for old records."""

STEP_SECONDS: Final = 240
"""Maximum duration of one transaction: a leader that was paused within it holds up all commits for so long."""

SLICE_NS: Final = 300 * NANOSECONDS_PER_SECOND
"""Records of so much time are deleted in one transaction: receivers wait meanwhile."""

DAY_NS: Final = 86_400 * NANOSECONDS_PER_SECOND

_log: Final = logging.getLogger(__name__)


class LakeMaintenance:
    """Maintains a lake, one short transaction at a time under the lock of commits. For one thread."""

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
            storage: the copy of it, which knows the transactions that must stay.
            follower: what keeps the copy up to date.
            erasure: what finishes interrupted erasures.
            leads: whether this process is the one that maintains the lake.
            keep_seconds: the age at which records are deleted; None: never.
        """
        self._lake = lake
        self._storage = storage
        self._follower = follower
        self._erasure = erasure
        self._leads = leads
        self._keep_seconds = keep_seconds
        self._session: Any = None
        self._due = {self._expire: 0.0, self._retain: 0.0}
        self._instances = InstanceTable(storage)
        self._failing = set[Callable[[], None]]()
        self._task = PeriodicTask("lake-maintenance", self.step, interval_seconds=INTERVAL_SECONDS)

    def start(self) -> None:
        """Starts the thread."""
        self._task.start()

    def stop(self) -> None:
        """Stops soon; what a transaction did not finish is repeated."""
        self._task.stop()

    def step(self) -> None:
        """Does what is due. What fails is logged, repeated later, and does not keep the rest from being done."""
        if not self._leads():
            self.close()
            return
        self._succeeds(self._erasure.resume)
        if self._follower.unready():
            return
        self._succeeds(self._merge)
        for task, interval in ((self._retain, RETENTION_SECONDS), (self._expire, EXPIRE_SECONDS)):
            if time.monotonic() >= self._due[task] and self._succeeds(task):
                self._due[task] = time.monotonic() + interval

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
        """Runs statements in the lake, in a transaction of their own, while no other process commits."""
        if self._session is None:
            self._session = self._lake.session()
        with self._lake.attached(STEP_SECONDS // 2) as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            with self._lake.exclusive(self._session, STEP_SECONDS):
                change(connection, *statements, values=values)

    def _merge(self) -> None:
        for smallest, largest in SIZES:
            sizes = {"smallest": smallest, "largest": largest, "number": SMALL_FILES}
            for (name,) in self._read("select_tables_to_merge", sizes):
                self._run(SQL["merge_files"], values={"table": name, "smallest": smallest, "largest": largest})

    def _retain(self) -> None:
        """Deletes records older than the limit, but of transactions that have not ended or need attention."""
        if self._keep_seconds is None:
            return
        end = self._lake.clock() - round(self._keep_seconds * NANOSECONDS_PER_SECOND)
        ((start,),) = self._read("select_receipts", {"since": 0})
        while start is not None and start < end:
            before = min(start + SLICE_NS, end)
            deletions = [SQL[f"delete_old_{name}"] for name in TABLES]
            self._run(*deletions, values={"from": start, "before": before}, kept=self._kept(before))
            ((start,),) = self._read("select_receipts", {"since": before})
        for name in TABLES:
            self._run(SQL["rewrite_files"], values={"table": name})

    def _kept(self, before: int) -> pa.Table:
        """Returns the transactions whose records stay: the copy still has them, although they began long ago."""
        found = self._storage.database.rows(SQL["select_kept"], {"before": before + DAY_NS})
        return table("environment saga_id", {*found, *self._storage.changes.all()})

    def _expire(self) -> None:
        """Deletes old snapshots, and files that merging replaced or that a receiver wrote and never committed.

        The latter by the receivers' records: DuckLake would delete all Parquet files of the place, also of other lakes.
        """
        ((last,),) = self._read("select_old_snapshot", {"seconds": SNAPSHOT_SECONDS})
        if last is not None and last <= self._follower.snapshot:
            self._instances.write(self._session)
            self._run(SQL["expire_snapshots"], values={"seconds": SNAPSHOT_SECONDS})
        with self._lake.exclusive(self._session):
            self._session.execute(SQL["give_up_files"], {"seconds": UNCOMMITTED_SECONDS})
        self._run(SQL["delete_replaced_files"], values={"seconds": FILE_SECONDS})
