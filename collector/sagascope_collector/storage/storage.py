"""An open database: one object per subject, assembled here."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.storage import runs
from sagascope_collector.storage.changes import Changes
from sagascope_collector.storage.connection import IN_MEMORY, MEMORY_BYTES
from sagascope_collector.storage.copies import Backups, Rewriting, discard_unfinished
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.erasure import Erasure
from sagascope_collector.storage.incidents import AlertRecords, IncidentRecords
from sagascope_collector.storage.listing import Hit, Listing
from sagascope_collector.storage.lookup import TRACE_ID_DIGITS, Lookup, TraceIndex
from sagascope_collector.storage.maintenance import FOREVER, LongRunning, Retention, RetentionPolicy
from sagascope_collector.storage.records import Instances, Records
from sagascope_collector.storage.runs import Outages, steady_clock
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.schema import Origins
from sagascope_collector.storage.statistics import Baselines, Outcomes, Statistics

_SELECT_LAKE: Final = "SELECT lake FROM lake_cursor"

_SELECT_USED: Final = (
    "SELECT block_size, used_blocks FROM pragma_database_size() WHERE database_name = current_database()"
)


class Storage:
    """One database. Its parts are thread-safe unless they state otherwise.

    Locks are taken in this order: `_maintaining`, `Sagas.writing`, `Records.appending`.
    """

    def __init__(
        self,
        path: str = IN_MEMORY,
        *,
        clock: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = steady_clock,
        memory_bytes: int = MEMORY_BYTES,
        keep: RetentionPolicy = FOREVER,
        accept_data_loss: bool = False,
    ) -> None:
        """Opens or creates a database; ``:memory:`` stores nothing on disk.

        If acknowledged records may be missing, `data_loss` describes it, and the database is read-only unless
        `accept_data_loss` is set.

        Args:
            path: the file.
            clock: returns the current time in nanoseconds since 1970.
            steady: returns nanoseconds since the machine started, which limit the length of outages.
            memory_bytes: the memory limit of DuckDB.
            keep: the limits of age and size.
            accept_data_loss: whether to continue although acknowledged records may be missing.

        Raises:
            CannotStart: an error of `connection.connect` or `connection.migrate`.
        """
        self._path = path
        self._clock = clock
        self._steady = steady
        self.remap: Callable[[], object] = lambda: None
        """Maps stored records by rules, as a unit of maintenance."""
        self._maintaining = threading.Lock()
        """Held during a unit of maintenance, and while the database is copied."""
        had_log = path != IN_MEMORY and Path(f"{path}.wal").exists()
        self.database = Database(path, memory_bytes)
        try:
            self._build(keep, is_read_only=False)
            self.data_loss = runs.data_loss(self.database, self.records.seq, had_log=had_log)
            if self.data_loss and not accept_data_loss:
                self.database.close()
                self.database = Database(path, memory_bytes, read_only=True)
                self._build(keep, is_read_only=True)
            else:
                if path != IN_MEMORY:
                    self._mark.set(self.records.seq)
                    self.records.mark = self._mark.set
                    discard_unfinished(Path(path))
                runs.opened(self.database)
                self.outages.start(clock())
                self.erasure.resume()
        except BaseException:
            self.database.close()
            raise

    def _build(self, keep: RetentionPolicy, *, is_read_only: bool) -> None:
        database = self.database
        self.is_read_only = is_read_only
        self._mark = runs.CommitMark(database)
        self.changes = Changes()
        self.instances = Instances(database)
        self.incidents = IncidentRecords(database)
        self.alerts = AlertRecords(database)
        self.baselines = Baselines(database)
        self.outages = Outages(database, self._steady)
        origins = Origins(database)
        self.records = Records(database, origins, self.instances, self.changes, self._clock)
        self.sagas = Sagas(database, self.records, self.changes, self.incidents, self._clock)
        self._traces = TraceIndex(database, self.records)
        self.lookup = Lookup(database, self.sagas, self.records, origins, self.instances, self._traces)
        self.listing = Listing(database, self.sagas)
        self.outcomes = Outcomes(database)
        self.statistics = Statistics(database, self.records)
        self.retention = Retention(
            keep, database, self.sagas, self.records, self.changes, self._traces, self.used_bytes
        )
        rewriting = Rewriting(database, self.sagas, self.records)
        self.backups = Backups(database, rewriting, self._maintaining, self._clock)
        self.erasure = Erasure(
            database,
            self.records,
            self.sagas,
            self.changes,
            self.incidents,
            self.alerts,
            self.baselines,
            self._traces,
            rewriting,
            self._maintaining,
        )
        self._long_running = LongRunning(database, self.records, self.sagas, origins, self.statistics)

    @property
    def follows_lake(self) -> bool:
        """Whether the database is the copy of a lake."""
        return bool(self.database.rows(_SELECT_LAKE))

    def search(self, text: str, *, limit: int) -> list[Hit]:
        """Returns (kind, summary) of sagas found by id, key, prefix of the id, trace or span; best first."""
        if found := self.listing.search(text, limit=limit):
            return found
        wanted = [saga for saga in self.lookup.sagas_with(text) if saga.id]
        kind = "trace" if len(text) == TRACE_ID_DIGITS else "span"
        return [(kind, row) for row in self.listing.of_ids(wanted, limit)] if wanted else []

    def maintain(self) -> bool:
        """Does one unit of maintenance, the most urgent first; False: none is due.

        Raises:
            StorageUnavailable: the unit was not done; all queries return the same as before.
        """
        with self._maintaining:
            now = self._clock()
            self.remap()
            return (
                self.records.snapshot()
                or self.statistics.count(now)
                or self.sagas.settle(now)
                or self.sagas.sort_terms()
                or self._long_running.move()
                or self.retention.step(now)
                or self._traces.index()
            )

    def size_bytes(self) -> int:
        """Returns the size of the database on disk, including its write-ahead log; 0 in memory."""
        if self._path == IN_MEMORY:
            return 0
        files = (Path(self._path), Path(f"{self._path}.wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def used_bytes(self) -> int:
        """Returns the used part of that size: deletion does not shrink the file, but its space is reused."""
        ((block_bytes, used_blocks),) = self.database.rows(_SELECT_USED)
        log = Path(f"{self._path}.wal")
        return int(block_bytes) * int(used_blocks) + (log.stat().st_size if log.exists() else 0)

    def close(self) -> None:
        """Finishes running work and releases the database; later calls except `close` raise `StorageUnavailable`."""
        if not self.database.is_open:
            return
        is_clean = False
        try:
            is_clean = not self.is_read_only and self._stop()
        finally:
            self.database.close()
            if is_clean and not Path(f"{self._path}.wal").exists():
                self._mark.remove()
            else:  # the next start compares the log with it
                self._mark.close()

    def _stop(self) -> bool:
        """Moves all data into the file; False: it stays in the log for the next start."""
        try:
            self.records.write_snapshot()
            self.outages.stop(self._clock())
            runs.stopped(self.database)
        except StorageUnavailable:
            return False
        return True
