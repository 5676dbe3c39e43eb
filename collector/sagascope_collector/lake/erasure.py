"""Erases sagas from a lake: their rows, the files that held them, and their values in the catalog.

A request is stored in the catalog before it is carried out; if it is interrupted, any collector finishes it. What
collectors need to erase it from their copies as well stays in the catalog, as keyed hashes.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import duckdb
import orjson
import psycopg
import pyarrow as pa

from sagascope import semconv
from sagascope_collector import json_values
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.lake.catalog import SQL, TABLES, Lake, change
from sagascope_collector.lake.follower import Follower, Secret, digest
from sagascope_collector.lake.incidents import redact
from sagascope_collector.observations import Identity
from sagascope_collector.records import SagaId
from sagascope_collector.storage import RetentionPolicy, Storage, schema, summaries
from sagascope_collector.storage.maintenance import FOREVER
from sagascope_collector.storage.records import without_links

ERASURE_LOCK: Final = 8_492_019
"""The key of the session advisory lock that a process holds while it carries out an erasure."""

COPY_TIMEOUT_SECONDS: Final = 30.0
"""Time in which live collectors must copy what precedes an erasure; one that takes longer then reads the tables."""

OWN_COPY_TIMEOUT_SECONDS: Final = 3_000.0
"""Time in which the copy of this process must follow: erasing from it takes as long as copying its file."""

POLL_INTERVAL_SECONDS: Final = 0.1

VACUUMED: Final = (
    "ducklake_file_column_stats",
    "ducklake_table_column_stats",
    "sagascope_incidents",
    "sagascope_incident_changes",
    "sagascope_alert_notifications",
)
"""Tables of the catalog that contained erased values, which PostgreSQL would keep in free space and statistics."""

STATEMENT_SECONDS: Final = 3_600
"""Maximum duration of a statement of an erasure: it rewrites tables."""

ERASURE_LOCK_IDLE_SECONDS: Final = 1_200
"""Maximum time of the rewriting of one table: a process that is paused in it delays all commits for so long."""

LOCK_TIMEOUT: Final = "300s"
"""Maximum wait for the commit lock. It exceeds the time for which maintenance may hold it."""


class InstanceTable:
    """The table `sagascope_instances`, as one copy of the lake writes it. For one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._written: dict[Identity, str] = {}

    def write(self, session: Any) -> None:
        """Stores all instances that the copy knows; snapshots that it has copied may expire only after that.

        Raises:
            psycopg.Error: nothing was stored.
        """
        known = self._storage.instances.documents()
        changed = [(*key, text) for key, text in known.items() if self._written.get(key) != text]
        with session.transaction(), session.cursor() as cursor:
            cursor.executemany(SQL["put_instance"], changed)
            cursor.executemany(SQL["delete_instance"], [key for key in self._written if key not in known])
        self._written = known


class LakeErasure:
    """Carries out erasures in a lake, one at a time. Thread-safe."""

    def __init__(
        self, lake: Lake, storage: Storage, secret: Secret, follower: Follower, keeps: RetentionPolicy = FOREVER
    ) -> None:
        """Creates it.

        Args:
            lake: the lake.
            storage: the copy of this process.
            secret: derives the key of hashes.
            follower: keeps the copy up to date, and erases from it.
            keeps: the retention of the copy.
        """
        self._lake = lake
        self._storage = storage
        self._secret = secret
        self._follower = follower
        self._keeps = keeps
        self._instances = InstanceTable(storage)

    def wait(self) -> None:
        """Waits until the copy contains all commits before the call.

        Raises:
            StorageUnavailable: the catalog does not answer, or the copy lags.
        """
        with self._reporting(), self._lake.session() as session:
            ((latest,),) = session.execute(SQL["select_latest"]).fetchall()
        self._wait_for(lambda: self._follower.snapshot >= latest, COPY_TIMEOUT_SECONDS)

    def older(self, key: str, values: Sequence[str]) -> list[SagaId]:
        """Returns the sagas with a business key of one of these values, of records that the copy may no longer have.

        It reads the attributes of all these records.

        Raises:
            StorageUnavailable: the lake cannot be read.
        """
        name, found, before = f"{semconv.KEY_PREFIX}{key}", set[SagaId](), self._left_before()
        with self._reporting(), self._lake.session() as session:
            ((earliest,),) = session.execute(SQL["select_receipts"], {"since": 0}).fetchall()
        if earliest is None or earliest >= before:
            return []
        with self._reporting(), self._lake.attached() as connection:
            for value in values:
                asked = {"before": before, "key": f'"{name}"', "value": orjson.dumps(value).decode()[1:-1]}
                for environment, id_, keys, texts in connection.execute(SQL["select_ids_with_key"], asked).fetchall():
                    own = [each for each in orjson.loads(keys) if isinstance(each, str)]
                    stored = json_values.attributes(zip(own, orjson.loads(texts), strict=True))
                    if str(stored.get(name)) == value:
                        found.add(SagaId(environment, id_))
        return sorted(found)

    def _left_before(self) -> int:
        """Returns the time before which received records may no longer be in the copy."""
        if self._keeps.bytes is not None:
            return self._lake.clock()
        if self._keeps.seconds is None:
            return 0
        return self._lake.clock() - round(self._keeps.seconds * NANOSECONDS_PER_SECOND)

    def erase(self, ids: Sequence[SagaId], texts: Sequence[str]) -> int:
        """Erases sagas from the lake and the copy; returns the number of their records in the lake.

        If another process carries it out, it is the number in the copy.

        Raises:
            StorageUnavailable: it is not finished; the leader finishes it.
        """
        salt = secrets.token_hex(16)
        secret = self._secret(salt)
        digests = [*(digest(secret, *each) for each in ids), *(digest(secret, each) for each in texts)]
        incidents = self._storage.incidents.named(summaries.ids_table(ids))
        request = orjson.dumps({"ids": [list(each) for each in ids], "texts": texts, "incidents": incidents}).decode()
        with self._reporting(), self._session() as session:
            values = {"request": request, "salt": salt, "digests": digests}
            ((number,),) = session.execute(SQL["insert_erasure"], values).fetchall()
            self._wait_for(lambda: self._takes_lock(session))
            ((last,),) = session.execute(SQL["select_finished_erasure"], {"erasure": number}).fetchall()
            if last is not None:
                return self._follower.removed.get(last, 0)
            return self._carry_out(session, number, request)

    def resume(self) -> None:
        """Finishes erasures that were interrupted; does nothing while another process carries one out.

        Raises:
            StorageUnavailable: they are still not finished.
        """
        with self._reporting(), self._session() as session:
            if not session.execute(SQL["select_unfinished_erasures"]).fetchall() or not self._takes_lock(session):
                return
            for number, request in session.execute(SQL["select_unfinished_erasures"]).fetchall():
                self._carry_out(session, number, request)

    def _session(self) -> Any:
        return self._lake.session(statement_seconds=STATEMENT_SECONDS, lock_timeout=LOCK_TIMEOUT)

    def _takes_lock(self, session: Any) -> bool:
        """Takes the lock of erasures until the session ends; returns whether it was free."""
        ((is_taken,),) = session.execute(SQL["try_lock"], [ERASURE_LOCK]).fetchall()
        return bool(is_taken)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, psycopg.Error) as error:
            raise StorageUnavailable(f"The lake cannot be changed: {self._lake.reason(error)}") from error

    def _carry_out(self, session: Any, number: int, request: str) -> int:
        """Carries out a request; returns the number of records that were in the lake."""
        asked = orjson.loads(request)
        ids = [SagaId(*each) for each in asked["ids"]]
        with self._lake.exclusive(session, ERASURE_LOCK_IDLE_SECONDS):
            # first: a collector that reads a snapshot of the erasure must know that an erasure is under way
            session.execute(SQL["begin_erasure"], {"erasure": number})
            records = self._delete(ids)
            for name in TABLES:
                session.execute(SQL["confirm_locks"])  # restarts the idle time: each table may take almost all of it
                with self._lake.attached(ERASURE_LOCK_IDLE_SECONDS // 2) as connection:
                    change(connection, SQL["rewrite_erased_files"], values={"table": name})
            session.execute(SQL["update_table_statistics"])
            ((last,),) = session.execute(SQL["end_erasure"], {"erasure": number}).fetchall()
        self._wait_for(lambda: self._follower.snapshot >= last)
        self._wait_for_others(session, last)  # after the expiration, they would have to read the tables
        self._instances.write(session)  # snapshots that expire may be the only place of observations
        redact(session, ids, asked["texts"], asked["incidents"])
        with (
            self._lake.exclusive(session, ERASURE_LOCK_IDLE_SECONDS),
            self._lake.attached(ERASURE_LOCK_IDLE_SECONDS // 2) as connection,
        ):
            expired = session.execute(SQL["select_snapshots_before"], {"snapshot": last}).fetchall()
            connection.execute(SQL["expire_versions"], {"versions": [each for (each,) in expired]})
            ((until,),) = session.execute(SQL["select_last_replaced"]).fetchall()
            connection.execute(SQL["delete_erased_files"], {"before": until.isoformat()})
        self._vacuum(session, VACUUMED)
        session.execute(SQL["finish_erasure"], {"erasure": number})
        self._vacuum(session, ["sagascope_erasures"])  # the request named the sagas
        return records

    def _delete(self, ids: Sequence[SagaId]) -> int:
        """Deletes the rows of sagas, and links to them; returns the number of records."""
        gone, named = summaries.ids_table(ids), {each.id for each in ids}
        with self._lake.attached(ERASURE_LOCK_IDLE_SECONDS // 2) as connection:
            connection.register("gone", gone)
            found = connection.execute(SQL["select_linking"]).fetchall()
            if rows := [(*each, without_links(each[2], named)) for each in found]:
                types = {"trace_id": pa.binary(), "span_id": pa.binary()}
                connection.register("changed", schema.table("trace_id span_id earlier links", rows, **types))
                change(connection, SQL["update_links"], SQL["mark_erasure"])
        with self._lake.attached(ERASURE_LOCK_IDLE_SECONDS // 2) as connection:
            connection.register("gone", gone)
            _, *counts = change(connection, SQL["erase_links"], SQL["erase_spans"], SQL["erase_logs"])
            return sum(each["Count"][0].as_py() for each in counts)

    def _vacuum(self, session: Any, tables: Sequence[str]) -> None:
        """Removes old rows of tables from disk, once no transaction may still read them."""
        ((now,),) = session.execute(SQL["select_transaction"]).fetchall()
        self._wait_for(lambda: not session.execute(SQL["select_older_transactions"], {"now": now}).fetchall())
        # VACUUM locks the table, so that commits wait: it must not wait long for its own lock
        session.execute("SET lock_timeout = '60s'")
        for name in tables:
            session.execute(f"VACUUM (FULL, ANALYZE) {name}")
        session.execute("RESET lock_timeout")

    def _wait_for(self, is_done: Callable[[], bool], seconds: float = OWN_COPY_TIMEOUT_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > end:
                raise StorageUnavailable(
                    "The collector lags behind the lake. An erasure that has begun is finished later."
                )
            time.sleep(POLL_INTERVAL_SECONDS)

    def _wait_for_others(self, session: Any, snapshot: int) -> None:
        end = time.monotonic() + COPY_TIMEOUT_SECONDS
        while session.execute(SQL["select_behind"], {"snapshot": snapshot}).fetchall() and time.monotonic() < end:
            time.sleep(POLL_INTERVAL_SECONDS)
