"""Follows a lake snapshot by snapshot, and appends to a local database what receivers committed.

`scan` copies from the tables themselves where no snapshots are left to follow.
"""

import contextlib
import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import duckdb
import orjson
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import CannotStart, StorageUnavailable
from sagascope_collector.lake.catalog import SQL, STOP_SECONDS, TABLES, Lake
from sagascope_collector.lake.writer import to_batch
from sagascope_collector.observations import load_observations
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage, schema, summaries

Secret = Callable[[str], str]
"""Returns a secret text that the key for pseudonyms and a salt determine."""


def digest(secret: str, *parts: str) -> str:
    """Returns the hash of an id of a saga (environment, id) or of a text."""
    return hashlib.sha256((secret + chr(31).join(parts)).encode("utf-8", "surrogatepass")).hexdigest()


class ErasureRecord(NamedTuple):
    """An erasure from the lake, as the catalog stores it."""

    first_snapshot: int
    last_snapshot: int | None
    """Later snapshots append new records. None: it is under way, and no snapshot from the first one on may be read."""
    salt: str
    digests: Sequence[str]

    def apply(self, storage: Storage, secret: Secret) -> tuple[list[SagaId], int]:
        """Erases the sagas that its hashes identify from a copy; returns them, and the number of their records.

        Raises:
            StorageUnavailable: it is not erased; it is finished after the next start at the latest.
        """
        prefix = secret(self.salt)
        waiting = schema.table("environment id", storage.changes.all())
        digests = schema.table("digest", ((each,) for each in self.digests))
        found = storage.database.rows(SQL["select_erased"], {"secret": prefix}, waiting=waiting, digests=digests)
        ids = [SagaId(*row) for row in found]
        keys = storage.database.rows(SQL["select_keys"], gone=summaries.ids_table(ids)) if ids else []
        values = {value for (document,) in keys for value in orjson.loads(document).values()}
        texts = [each for each in values if digest(prefix, each) in self.digests]
        return ids, storage.erasure.erase(ids, texts)


POLL_INTERVAL_SECONDS: Final = 0.25

BATCH_SNAPSHOTS: Final = 10
"""Maximum number of snapshots that are read together."""

SCAN_ROWS: Final = 50_000
"""Records in one batch of a scan."""

SCAN_SNAPSHOTS: Final = 1_000
"""Number of snapshots whose observations a scan reads together."""

REPORT_INTERVAL_SECONDS: Final = 3.0
"""Time between two reports of an unchanged position."""

MAX_ERASURE_SECONDS: Final = 600.0
"""Time for which a copy that an erasure delays is still ready."""

STALE_NS: Final = 5 * NANOSECONDS_PER_SECOND

Interval = tuple[int, int]

Snapshot = tuple[int, Sequence[str], str]
"""The number of a snapshot, the tables to which it appended records, and what it says of processes."""

_log: Final = logging.getLogger(__name__)


class Position(NamedTuple):
    """A position in a lake. The first one precedes all records."""

    lake: str
    """The lake's identity."""
    snapshot: int = 0
    """The last snapshot that is copied completely."""
    spans: int = 0
    """In each of the three tables, the row id up to which (exclusive) all rows are stored, whatever their snapshot."""
    logs: int = 0
    linked_spans: int = 0


class LakeCursor:
    """The table `lake_cursor`."""

    def __init__(self, storage: Storage) -> None:
        self._database = storage.database

    def read(self) -> Position | None:
        """Returns the stored position; None: the database follows no lake."""
        found = self._database.rows(SQL["select_cursor"])
        return Position(*found[0]) if found else None

    def write(self, position: Position) -> None:
        """Stores a position."""
        with self._database.transaction():
            self._database.rows(SQL["delete_cursor"])
            self._database.rows(SQL["insert_cursor"], position._asdict())


class Follower:
    """Copies the records of a lake to a local database, from its own thread.

    The cursor is stored after the records. Copying a commit twice changes nothing, because repeats are not stored. If
    maintenance has deleted the next snapshot, all records that are not copied yet are read from the tables.
    """

    def __init__(self, lake: Lake, storage: Storage, secret: Secret) -> None:
        """Reads the cursor; `secret` derives the key of the hashes by which erasures name sagas.

        Raises:
            CannotStart: the database has records that are not of this lake, or the lake does not answer.
        """
        self._lake = lake
        self._storage = storage
        self._secret = secret
        self._name = secrets.token_hex(8)
        self._session: Any = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._stopping = threading.Event()
        self._as_of = 0
        self._outages: Sequence[Interval] = ()
        self._failure: str | None = None
        self._erasing_since: float | None = None
        self._reported = (-1, 0.0)
        self.on_erased: Callable[[Sequence[SagaId]], None] = lambda _: None
        """Called with the sagas that were erased from the copy, to remove them from memory as well."""
        self.removed: dict[int, int] = {}
        """The number of records that each erasure since the start removed from the copy, by its last snapshot."""
        try:
            with lake.session() as session:
                ((identity,),) = session.execute(SQL["select_identity"]).fetchall()
        except psycopg.Error as error:
            raise CannotStart(f"The lake cannot be opened: {lake.reason(error)}") from error
        self._cursor = LakeCursor(storage)
        known = self._cursor.read()
        if known is None and storage.records.seq:
            raise CannotStart("The database of --db has records of its own. Name a new file, which the lake fills.")
        if known and known.lake != identity:
            raise CannotStart("The database of --db belongs to another lake. Name a new file, which the lake fills.")
        self._position = known or Position(identity)
        self._cursor.write(self._position)
        self._thread = threading.Thread(target=self._run, name="sagascope-follower", daemon=True)

    def catch_up(self) -> None:
        """Copies everything that is in the lake.

        Raises:
            CannotStart: the lake cannot be read, or the local database cannot be written.
        """
        try:
            while self._poll():
                continue
        except (duckdb.Error, psycopg.Error, StorageUnavailable) as error:
            raise CannotStart(f"The lake cannot be read: {self._lake.reason(error)}") from error

    def start(self) -> None:
        """Follows the lake from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops after the current commits; if reading them takes long, they are read again after the next start."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if self._session is not None and not self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):
                self._session.execute(SQL["delete_follower"], {"follower": self._name})
                self._session.close()

    @property
    def snapshot(self) -> int:
        """The last snapshot that was copied."""
        return self._position.snapshot

    def as_of(self) -> int:
        """Returns the time up to which all telemetry is copied, in nanoseconds since 1970: the time of every verdict.

        It is the current time minus the lag of the slowest live receiver. It does not advance while the lake cannot be
        read.
        """
        return self._as_of or self._lake.clock()

    def outages(self) -> Sequence[Interval]:
        """Returns the ingest outages that receivers recorded, earliest first."""
        return self._outages

    def unready(self) -> str | None:
        """Returns why answers lack records; None: the copy is up to date, or an erasure delays it.

        An erasure delays all collectors at once, so that none would be ready.
        """
        since = self._erasing_since
        if since is not None and time.monotonic() - since < MAX_ERASURE_SECONDS:
            return None
        if self._as_of and self._lake.clock() - self._as_of < 2 * STALE_NS:
            return None
        return self._failure or "The collector is catching up with the lake."

    def is_following(self) -> bool:
        """Returns whether the last commits could be read and copied."""
        return bool(self._as_of) and self._failure is None

    def notices(self) -> Sequence[str]:
        """Returns a notice while answers lag behind."""
        lag = (self._lake.clock() - self._as_of) // NANOSECONDS_PER_SECOND if self._as_of else 0
        if lag * NANOSECONDS_PER_SECOND < STALE_NS:
            return []
        return [f"lake_lag: answers are as of {lag} s ago. {self._failure or 'A receiver has telemetry that waits.'}"]

    def _run(self) -> None:
        while not self._stopping.is_set():
            is_more = False
            try:
                is_more = self._poll()
                self._failure = None
            except (duckdb.Error, psycopg.Error) as error:
                self._fail(f"The lake cannot be read: {self._lake.reason(error)}")
            except StorageUnavailable as error:
                self._fail(str(error))
            except Exception:  # noqa: BLE001  # the follower must outlive any fault of ours
                _log.exception("Commits of the lake could not be copied.")
                self._fail("Commits of the lake cannot be copied; see the log of the collector.")
            if not is_more:
                self._stopping.wait(POLL_INTERVAL_SECONDS)

    def _fail(self, reason: str) -> None:
        if reason != self._failure:
            _log.warning("%s", reason)
        self._failure = reason
        self._session = self._connection = None

    def _poll(self) -> bool:
        """Copies the next commits; returns whether there may be more."""
        if self._session is None:
            self._session = self._lake.session()
        # the lag before the snapshots: what a receiver has reported as committed is then among them
        now = self._lake.clock()
        ((lag,),) = self._session.execute(SQL["select_lag"]).fetchall()
        outages = self._session.execute(SQL["select_outages"]).fetchall()
        asked = {"after": self._position.snapshot, "limit": BATCH_SNAPSHOTS}
        found = self._session.execute(SQL["select_snapshots"], asked).fetchall()
        erasures = self._erasures()
        self._erasing_since = (self._erasing_since or time.monotonic()) if erasures else None
        if found and (self._position.snapshot == 0 or found[0][0] > self._position.snapshot + 1):
            return self._scan()
        if found and erasures and erasures[0].first_snapshot <= found[-1][0]:
            return self._follow_erasure(found, erasures[0])
        if found:
            self._copy(found)
            self._advance(self._position._replace(snapshot=found[-1][0]))
        if len(found) == BATCH_SNAPSHOTS:
            return True
        if found:
            self._store_row_ids()
        self._report()
        self._outages = outages
        # never earlier than before: the time of verdicts must not go back when a receiver falls behind
        self._as_of = max(self._as_of, now - round((lag or 0) * NANOSECONDS_PER_SECOND))
        return False

    def _scan(self) -> bool:
        """Copies all missing records; returns whether there may be more: not while an erasure is under way."""
        latest = self._latest()
        erasures = self._erasures()
        if any(each.last_snapshot is None and each.first_snapshot <= latest.snapshot for each in erasures):
            self._report()
            return False
        for each in erasures:
            self._erase(each)
        scan(self._lake_connection(), self._session, self._storage, self._position, latest)
        self._advance(latest)
        return True

    def _follow_erasure(self, found: Sequence[Snapshot], erasure: ErasureRecord) -> bool:
        """Copies up to the end of an erasure, and erases; returns whether there may be more: not while it is under way.

        Records that a receiver committed between two attempts of an interrupted erasure are erased by the second.
        """
        until = erasure.first_snapshot - 1 if erasure.last_snapshot is None else erasure.last_snapshot
        if copied := [each for each in found if each[0] <= until]:
            self._copy(copied)
            if copied[-1][0] == erasure.last_snapshot:
                self._erase(erasure)  # before the position: after a crash, it is repeated
            self._advance(self._position._replace(snapshot=copied[-1][0]))
        self._report()
        return bool(copied)

    def _erasures(self) -> list[ErasureRecord]:
        """Returns the erasures that this copy has not carried out. To be read after the snapshots that they concern."""
        found = self._session.execute(SQL["select_erasures"], {"after": self._position.snapshot}).fetchall()
        return [ErasureRecord(*each) for each in found]

    def _erase(self, erasure: ErasureRecord) -> None:
        ids, removed = erasure.apply(self._storage, self._secret)
        self.on_erased(ids)
        self.removed[erasure.last_snapshot or 0] = removed

    def _report(self) -> None:
        """Stores the position in the catalog, for which erasures wait."""
        if (
            self._reported[0] != self._position.snapshot
            or time.monotonic() - self._reported[1] > REPORT_INTERVAL_SECONDS
        ):
            self._session.execute(SQL["put_follower"], {"follower": self._name, "snapshot": self._position.snapshot})
            self._reported = self._position.snapshot, time.monotonic()

    def _copy(self, found: Sequence[Snapshot]) -> None:
        """Copies snapshots. Those of maintenance are skipped: rewritten rows would be read as inserted ones."""
        observations = [each for *_, text in found if text for each in load_observations(text)]
        runs = [list(run) for appends, run in groupby(found, lambda each: bool(each[1])) if appends]
        for run in runs:
            names = {name for _, tables, _ in run for name in tables}
            spans, logs, links = (
                self._lake_connection()
                .execute(f"FROM lake.table_insertions('{table}', {run[0][0]}, {run[-1][0]})")
                .to_arrow_table()
                if table in names  # of an empty table, DuckLake reads statistics column by column
                else None
                for table in TABLES
            )
            self._storage.records.append(to_batch(spans, logs, links, observations if run is runs[-1] else ()))

    def _store_row_ids(self) -> None:
        """Stores the next row ids, if all snapshots were copied."""
        if (latest := self._latest()).snapshot == self._position.snapshot:
            self._advance(latest)

    def _latest(self) -> Position:
        """Returns the position after the latest snapshot."""
        (found,) = self._session.execute(SQL["select_end"]).fetchall()
        return Position(self._position.lake, *found)

    def _advance(self, position: Position) -> None:
        self._cursor.write(position)
        self._position = position

    def _lake_connection(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._lake.attached()
        return self._connection


def scan(
    connection: duckdb.DuckDBPyConnection, session: Any, storage: Storage, position: Position, until: Position
) -> None:
    """Appends all rows between two positions.

    Row ids grow with each commit, and survive merging and rewriting. After an interruption, the scan starts again:
    records that were appended before are not stored twice.

    Args:
        connection: a database with the lake attached.
        session: a session with its catalog.
        storage: the local database.
        position: the position up to which it is complete.
        until: the position after a snapshot.

    Raises:
        duckdb.Error: the lake cannot be read.
        psycopg.Error: the catalog cannot be read.
        StorageUnavailable: the local database cannot be written.
    """
    storage.instances.adopt(document for (document,) in session.execute(SQL["select_instances"]).fetchall())
    _observe(session, storage, position.snapshot, until.snapshot)
    has_links = until.linked_spans > position.linked_spans
    if has_links:
        connection.execute(_at(until.snapshot, "create_links_since"), {"first": position.linked_spans})
    try:
        if until.spans > position.spans:
            _append(connection, storage, "spans", position.spans, until.snapshot, has_links=has_links)
        if until.logs > position.logs:
            _append(connection, storage, "logs", position.logs, until.snapshot)
    finally:
        if has_links:
            connection.execute(SQL["drop_links_since"])
    storage.records.write_snapshot()  # otherwise a restart would lose the instances, which are in no commit


def _at(snapshot: int, name: str) -> str:
    return SQL[name].replace("$snapshot", str(snapshot))


def _observe(session: Any, storage: Storage, after: int, until: int) -> None:
    while after < until:
        found = session.execute(SQL["select_snapshots"], {"after": after, "limit": SCAN_SNAPSHOTS}).fetchall()
        texts = [text for number, _, text in found if text and number <= until]
        storage.instances.observe([each for text in texts for each in load_observations(text)])
        after = found[-1][0] if found else until


def _append(
    connection: duckdb.DuckDBPyConnection,
    storage: Storage,
    kind: str,
    first: int,
    snapshot: int,
    *,
    has_links: bool = False,
) -> None:
    """Appends the spans or log records from a row id on."""
    with connection.cursor() as other, connection.cursor() as reading:
        found: Any = reading.execute(_at(snapshot, f"select_{kind}_since"), {"first": first})
        for part in found.to_arrow_reader(SCAN_ROWS):
            rows, links = pa.Table.from_batches([part]), None
            if has_links:
                other.register("batch", rows)
                links = other.execute(SQL["select_links_of_spans"]).to_arrow_table()
                other.unregister("batch")
            spans, logs = (rows, None) if kind == "spans" else (None, rows)
            storage.records.append(to_batch(spans, logs, links, ()))
