"""Appends batches to a lake, one commit at a time, and reports that this process does so."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import duckdb
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import NewerDatabase, StorageUnavailable
from sagascope_collector.lake import versions
from sagascope_collector.lake.catalog import SQL, STATEMENT_SECONDS, STOP_SECONDS, TRANSACTION_SECONDS, Lake, roll_back
from sagascope_collector.lake.records import links_to_lake, to_lake
from sagascope_collector.observations import dump_observations
from sagascope_collector.storage import Batch

INTERVAL_SECONDS: Final = 2.0
"""The interval of signs of life."""

LIVE_SECONDS: Final = 10.0
"""Time after a sign of life for which collectors wait for this process; it is not ready any more then."""

FAILURE_SECONDS: Final = 10.0
"""Time after a failed commit in which senders may retry; until then, later telemetry counts as missing."""

OVERTAKEN: Final = "maintenance has overtaken the commit"

_log: Final = logging.getLogger(__name__)


class _File(NamedTuple):
    id: int
    table: str
    path: str


class LakeWriter:
    """The records of a lake, for one thread that appends."""

    def __init__(self, lake: Lake, name: str) -> None:
        """Creates a writer; `name` identifies it in the history of the lake. Connects at the first append."""
        self._lake = lake
        self._name = name
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._session: Any = None
        self._failing: tuple[float, float] | None = None
        """The begin of the first failed commit since the last success, and the latest failure, by the steady clock."""
        self._version = versions.known()[-1].number

    def failing_seconds(self) -> float:
        """Returns for how long telemetry has been refused; 0 if it is stored."""
        failing = self._failing
        if failing is None or time.monotonic() - failing[1] > FAILURE_SECONDS:
            return 0.0
        return time.monotonic() - failing[0]

    def append(self, batch: Batch, *, rejected: int = 0) -> None:
        """Commits a batch, completely or not at all.

        Raises:
            StorageUnavailable: it may or may not be in the lake; a repetition counts once in all answers.
        """
        if batch.spans.num_rows or batch.logs.num_rows:
            tables = {
                "spans": to_lake(batch.spans, batch.origins),
                "logs": to_lake(batch.logs, batch.origins),
                "linked_spans": links_to_lake(batch.links, batch.spans),
            }
            self.put(tables, dump_observations(batch.observations))

    def put(self, tables: Mapping[str, pa.Table], observations: str) -> None:
        """Commits rows of tables, and a text with observations of processes; raises the error of `append`."""
        begun = time.monotonic()
        try:
            self._commit({name: rows for name, rows in tables.items() if rows.num_rows}, observations)
        except (duckdb.Error, psycopg.Error) as error:
            now = time.monotonic()
            is_new = self._failing is None or now - self._failing[1] > FAILURE_SECONDS
            self._failing = (begun, now) if is_new or self._failing is None else (self._failing[0], now)
            self.close()
            raise StorageUnavailable(f"The lake cannot be written: {self._lake.reason(error)}") from error
        self._failing = None

    def _commit(self, tables: Mapping[str, pa.Table], observations: str) -> None:
        if self._session is None:
            self._session = self._lake.session()
        if self._connection is None:
            self._connection = self._lake.attached(TRANSACTION_SECONDS, STATEMENT_SECONDS)
        connection, session = self._connection, self._session
        files = [self._write(connection, name, rows) for name, rows in tables.items()]
        # before the lock, since reading the files takes time; what is committed meanwhile does not matter to rows added
        connection.begin()
        for file in files:
            connection.execute(SQL["add_file"], {"table": file.table, "path": file.path})
        connection.execute("CALL lake.set_commit_message(?, '', extra_info => ?)", [self._name, observations])
        ((snapshot,),) = connection.execute(SQL["select_snapshot"]).fetchall()
        values = {"files": [each.id for each in files], "snapshot": snapshot, "version": self._version}
        with self._lake.exclusive(session):
            ((is_known, is_committable),) = session.execute(SQL["select_is_committable"], values).fetchall()
            if not (is_known and is_committable):
                # maintenance may have given up a file before it was written
                session.execute(SQL["delete_files"], values)
                for file in files:
                    session.execute(SQL["insert_file"], {"path": file.path})
                raise psycopg.OperationalError(versions.EXCLUDED if not is_known else OVERTAKEN)
            connection.commit()
        session.execute(SQL["delete_files"], values)

    def _write(self, connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> _File:
        """Writes a file that no commit names yet; maintenance deletes it if none ever does."""
        path = self._lake.new_file(table)
        ((number,),) = self._session.execute(SQL["insert_file"], {"path": path}).fetchall()
        with connection.cursor() as writing:
            writing.register("batch", rows)
            writing.execute(SQL["write_file"], {"path": path})
        return _File(number, table, path)

    def close(self) -> None:
        """Closes the connections; the next append opens new ones. What was not committed is rolled back."""
        if self._connection is not None:
            roll_back(self._connection)
        for opened in (self._connection, self._session):
            with contextlib.suppress(duckdb.Error, psycopg.Error):
                if opened is not None:
                    opened.close()
        self._connection = self._session = None


class Heartbeat:
    """Reports to the catalog every two seconds up to when the telemetry of this process is in the lake."""

    def __init__(self, lake: Lake, name: str, writer: LakeWriter, oldest: Callable[[], int | None]) -> None:
        """Creates it; `oldest` returns when the request that waits longest was received, None if none waits."""
        self._lake = lake
        self._name = name
        self._writer = writer
        self._oldest = oldest
        self._session: Any = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sagascope-heartbeat", daemon=True)
        self._failure: str | None = "The lake was not reached yet."
        self._reported_at = time.monotonic()

    @property
    def failure(self) -> str | None:
        """Why the last sign of life could not be written, or is not written in time; None: it was."""
        if self._failure is None and time.monotonic() - self._reported_at > LIVE_SECONDS:
            return "The lake's catalog does not answer."
        return self._failure

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops, and withdraws this receiver if another one lives."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if self._session is not None and not self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):
                self._session.execute(SQL["delete_sign_of_life"], {"receiver": self._name})
                self._session.close()

    def _run(self) -> None:
        while True:
            try:
                self._report()
                self._failure, self._reported_at = None, time.monotonic()
            except NewerDatabase as error:
                self._failure = str(error)
            except psycopg.Error as error:
                self._failure = f"The lake's catalog does not answer: {self._lake.reason(error)}"
                self._session = None
            if self._stopping.wait(INTERVAL_SECONDS):
                return

    def _report(self) -> None:
        if self._session is None:
            self._session = self._lake.session()
        clock = self._lake.clock
        clock.adjust(self._session)
        versions.check(self._session, SQL)
        oldest = self._oldest()
        waiting = max(0.0, (clock() - oldest) / NANOSECONDS_PER_SECOND) if oldest else 0.0
        values = {"receiver": self._name, "waiting": max(waiting, self._writer.failing_seconds())}
        self._session.execute(SQL["put_sign_of_life"], values)
