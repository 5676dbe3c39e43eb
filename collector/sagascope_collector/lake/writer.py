"""Appends batches to a lake, one commit at a time, and reports in the catalog how far this process has come."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import NewerDatabase, StorageUnavailable
from sagascope_collector.lake.catalog import (
    COMMIT_STATEMENT_SECONDS,
    EXCLUDED,
    SQL,
    STOP_SECONDS,
    TRANSACTION_IDLE_SECONDS,
    Lake,
    check_version,
    known_version,
    roll_back,
)
from sagascope_collector.observations import Observation, dump_observations
from sagascope_collector.storage import Batch, schema

HEARTBEAT_INTERVAL_SECONDS: Final = 2.0

LIVE_SECONDS: Final = 10.0
"""Time after a heartbeat for which collectors wait for this process. After that, it is no longer ready."""

FAILURE_SECONDS: Final = 10.0
"""Time after a failed commit in which senders may retry. During it, telemetry counts as refused."""

OVERTAKEN: Final = "maintenance has deleted the commit's files, or the snapshot on which it is based"

_log: Final = logging.getLogger(__name__)


def to_lake(table: pa.Table, origins: pa.Table) -> pa.Table:
    """Returns rows of `schema.SPANS` or `schema.LOGS` with the columns of their origin instead of its number."""
    of_rows = origins.take(table["origin"])
    for name in schema.ORIGINS.names:
        table = table.append_column(name, of_rows[name])
    return table.drop_columns(["origin"])


def links_to_lake(links: pa.Table, spans: pa.Table) -> pa.Table:
    """Returns rows of `schema.LINKS` with the time of receipt of their spans."""
    if not links.num_rows:
        return links
    times = zip(*(spans[name].to_pylist() for name in ("trace_id", "span_id", "received_at")), strict=True)
    received_at = {(trace_id, span_id): at for trace_id, span_id, at in times}
    ids = zip(links["trace_id"].to_pylist(), links["span_id"].to_pylist(), strict=True)
    return links.append_column("received_at", pa.array([received_at[each] for each in ids], pa.int64()))


def to_batch(
    spans: pa.Table | None, logs: pa.Table | None, links: pa.Table | None, observations: Sequence[Observation]
) -> Batch:
    """Returns the batch of rows that were written by `to_lake` and `links_to_lake`."""
    numbers: dict[tuple[str, ...], int] = {}
    return Batch(
        spans=_numbered(spans, schema.SPANS, numbers),
        logs=_numbered(logs, schema.LOGS, numbers),
        links=links.select(schema.LINKS.names).cast(schema.LINKS) if links else schema.no_rows(schema.LINKS),
        origins=_origins(numbers),
        observations=tuple(observations),
    )


def _origins(numbers: Iterable[tuple[str, ...]]) -> pa.Table:
    columns = list(zip(*numbers, strict=True)) or [()] * len(schema.ORIGINS.names)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema.ORIGINS)


def _numbered(table: pa.Table | None, wanted: pa.Schema, numbers: dict[tuple[str, ...], int]) -> pa.Table:
    if table is None:
        return schema.no_rows(wanted)
    rows = zip(*(table[name].to_pylist() for name in schema.ORIGINS.names), strict=True)
    origin = pa.array([numbers.setdefault(row, len(numbers)) for row in rows], pa.int32())
    return table.append_column("origin", origin).select(wanted.names).cast(wanted)


class _File(NamedTuple):
    id: int
    table: str
    path: str


class LakeWriter:
    """Appends records to a lake, from one thread."""

    def __init__(self, lake: Lake, name: str) -> None:
        """Creates a writer; `name` identifies it in the lake's history. It connects at the first append."""
        self._lake = lake
        self._name = name
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._session: Any = None
        self._failing: tuple[float, float] | None = None
        """The start of the first failed commit since the last success, and the latest failure, by a monotonic clock."""
        self._version = known_version()

    def failing_seconds(self) -> float:
        """Returns for how long telemetry has been refused; 0 if it is stored."""
        failing = self._failing
        if failing is None or time.monotonic() - failing[1] > FAILURE_SECONDS:
            return 0.0
        return time.monotonic() - failing[0]

    def append(self, batch: Batch, *, rejected: int = 0) -> None:
        """Commits a batch, completely or not at all.

        Raises:
            StorageUnavailable: it may or may not be in the lake. It can be appended again: repeats count once.
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
            self._connection = self._lake.attached(TRANSACTION_IDLE_SECONDS, COMMIT_STATEMENT_SECONDS)
        connection, session = self._connection, self._session
        files = [self._write(connection, name, rows) for name, rows in tables.items()]
        # before the lock is taken, because reading the files takes time; commits meanwhile do not matter to added rows
        connection.begin()
        for file in files:
            connection.execute(SQL["add_file"], {"table": file.table, "path": file.path})
        connection.execute("CALL lake.set_commit_message(?, '', extra_info => ?)", [self._name, observations])
        ((snapshot,),) = connection.execute(SQL["select_snapshot"]).fetchall()
        values = {"files": [each.id for each in files], "snapshot": snapshot, "version": self._version}
        with self._lake.exclusive(session):
            ((is_known, is_committable),) = session.execute(SQL["select_is_committable"], values).fetchall()
            if not (is_known and is_committable):
                # stored again, so that maintenance deletes them: it may have given up a file before it was written
                session.execute(SQL["delete_files"], values)
                for file in files:
                    session.execute(SQL["insert_file"], {"path": file.path})
                raise psycopg.OperationalError(EXCLUDED if not is_known else OVERTAKEN)
            connection.commit()
        session.execute(SQL["delete_files"], values)

    def _write(self, connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> _File:
        """Writes a file that is in no commit yet. Maintenance deletes it if none follows: its path is stored."""
        path = self._lake.new_file(table)
        ((number,),) = self._session.execute(SQL["insert_file"], {"path": path}).fetchall()
        with connection.cursor() as writing:
            writing.register("batch", rows)
            writing.execute(SQL["write_file"], {"path": path})
        return _File(number, table, path)

    def close(self) -> None:
        """Rolls back an uncommitted batch, and closes the connections; the next append opens new ones."""
        if self._connection is not None:
            roll_back(self._connection)
        for opened in (self._connection, self._session):
            with contextlib.suppress(duckdb.Error, psycopg.Error):
                if opened is not None:
                    opened.close()
        self._connection = self._session = None


class Heartbeat:
    """Stores periodically the time up to which the telemetry of this process is in the lake."""

    def __init__(self, lake: Lake, name: str, writer: LakeWriter, oldest: Callable[[], int | None]) -> None:
        """Creates it; `oldest` returns the time of receipt of the request that waits longest, None if none waits."""
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
        """Why the last heartbeat could not be stored, or is overdue; None: it was stored in time."""
        if self._failure is None and time.monotonic() - self._reported_at > LIVE_SECONDS:
            return "The lake's catalog does not answer."
        return self._failure

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops, and removes this receiver from the catalog if another is live: collectors no longer wait for it."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if self._session is not None and not self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):
                self._session.execute(SQL["delete_heartbeat"], {"receiver": self._name})
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
            if self._stopping.wait(HEARTBEAT_INTERVAL_SECONDS):
                return

    def _report(self) -> None:
        if self._session is None:
            self._session = self._lake.session()
        clock = self._lake.clock
        clock.adjust(self._session)
        check_version(self._session)  # a process that an upgrade excludes must not be ready
        oldest = self._oldest()
        waiting = max(0.0, (clock() - oldest) / NANOSECONDS_PER_SECOND) if oldest else 0.0
        values = {"receiver": self._name, "waiting": max(waiting, self._writer.failing_seconds())}
        self._session.execute(SQL["put_heartbeat"], values)
