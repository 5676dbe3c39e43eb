"""The incidents and notifications that all collectors of a lake share: rows of PostgreSQL.

Each collector has a copy of the incidents. `redact` removes erased sagas from them, as `storage.erasure` does in a
file, and `transfer_incidents` adds those of a database file.
"""

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import orjson
import psycopg
import pyarrow as pa

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.incident_records import AlertState, IncidentChange, Notification, Pending
from sagascope_collector.lake.catalog import SHARED as SQL, Lake
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from sagascope_collector.storage.erasure import search_texts
from sagascope_collector.storage.incidents import SQL as LOCAL, redacted
from sagascope_collector.storage.schema import table

IDLE_IN_TRANSACTION_SECONDS: Final = 8
"""Time after which PostgreSQL ends the transaction of a process that was paused in it, and releases its locks."""


class CatalogSession:
    """Runs transactions in PostgreSQL, one at a time. It connects for the first one, and again after a failure."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.RLock()
        self._session: Any = None

    @contextlib.contextmanager
    def transaction(self, lock: str = "") -> Iterator[Any]:
        """Runs a block in a transaction, and yields its session; a nested block is part of the outer transaction.

        Args:
            lock: a statement that locks a table, so that no other process changes it until the block ends.

        Raises:
            StorageUnavailable: PostgreSQL does not answer. The transaction may or may not be committed.
        """
        with self._lock:
            try:
                if self._session is None:
                    timeout = f"{IDLE_IN_TRANSACTION_SECONDS}s"
                    self._session = self._lake.session(idle_in_transaction_session_timeout=timeout)
                with self._session.transaction():
                    if lock:
                        self._session.execute(lock)
                    yield self._session
            except psycopg.Error as error:
                self.close()
                raise StorageUnavailable(f"The lake's catalog does not answer: {self._lake.reason(error)}") from error

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            if self._session is not None:
                with contextlib.suppress(psycopg.Error):
                    self._session.close()
            self._session = None


_COPIES: Final = ("incidents", "incident_changes", "incident_members")


class LakeIncidents:
    """`incidents.SharedIncidents` of a lake. Every change is committed in PostgreSQL before it is copied."""

    def __init__(self, lake: Lake, leads: Callable[[], bool], storage: Storage) -> None:
        """Creates it; `leads` returns whether this process is the leader. The first `read` replaces all copies."""
        self._catalog = CatalogSession(lake)
        self._leads = leads
        self._storage = storage
        self._database = storage.database
        self._revision: int | None = None
        """The last change that was copied; None: the copies may be outdated."""

    @property
    def leads(self) -> bool:
        """Whether this collector opens and resolves incidents."""
        return self._leads()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Runs a block in one transaction, in which no other process changes incidents."""
        with self._catalog.transaction(SQL["lock_incidents"]):
            yield

    def read(self) -> Mapping[str, str]:
        """Copies new changes; returns their incidents as JSON texts, by key."""
        after = {"after": self._revision or 0}
        with self._catalog.transaction() as session:
            changes = session.execute(SQL["select_changes"], after).fetchall()
            if not changes and self._revision is not None:
                return {}
            incidents = session.execute(SQL["select_incidents"], after).fetchall()
        documents = {key: document for key, document, _ in incidents}
        self._copy(
            documents,
            [IncidentChange(**json.loads(change)) for _, change in changes],
            [member for key, _, members in incidents if members for member in _members(key, json.loads(members))],
        )
        self._revision = changes[-1][0] if changes else 0
        return documents

    def append(self, documents: Mapping[str, str], changes: Sequence[IncidentChange]) -> None:
        """Adds changes to the transaction of `exclusive`; the next `read` copies them."""
        with self._catalog.transaction() as session:
            _insert_changes(session, self._revision or 0, documents, changes, self._dumped_members)

    def _dumped_members(self, change: IncidentChange) -> str | None:
        if change.what != "acknowledged":
            return None
        members = self._database.rows(SQL["select_members"], {"key": change.incident})
        return json.dumps({"acknowledged_at": change.at, "sagas": members})

    def _copy(
        self, documents: Mapping[str, str], changes: Sequence[IncidentChange], members: Sequence[Sequence[Any]]
    ) -> None:
        new_changes = table("incident at what by_whom note sagas", changes, at=pa.int64(), sagas=pa.int64())
        new_members = table("incident acknowledged_at environment name id run", members, acknowledged_at=pa.int64())
        with self._storage.sagas.writing, self._database.transaction():
            if self._revision is None:
                for copied in _COPIES:
                    self._database.rows(f"DELETE FROM {copied}")  # noqa: S608  names of our own
            self._database.count(LOCAL["put_incidents"], batch_incidents=table("key document", documents.items()))
            self._database.count(LOCAL["insert_incident_changes"], batch_changes=new_changes)
            if members:
                for statement in ("delete_members", "insert_members", "update_joined"):
                    self._database.count(SQL[statement], batch_members=new_members)


def _insert_changes(
    session: Any,
    last: int,
    documents: Mapping[str, str],
    changes: Sequence[IncidentChange],
    members: Callable[[IncidentChange], str | None],
) -> None:
    """Within a transaction: inserts changes after the revision `last`, with the documents of their incidents."""
    numbered = list(enumerate(changes, last + 1))
    with session.cursor() as cursor:
        cursor.executemany(
            SQL["insert_change"],
            [{"revision": revision, "change": json.dumps(change._asdict())} for revision, change in numbered],
        )
        values = ((each.incident, revision, documents[each.incident], members(each)) for revision, each in numbered)
        names = ("key", "revision", "document", "members")
        cursor.executemany(SQL["put_incident"], [dict(zip(names, each, strict=True)) for each in values])


def _members(key: str, known: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for saga in known["sagas"]:
        yield key, known["acknowledged_at"], *saga


KEEP_NS: Final = 30 * 86_400 * NANOSECONDS_PER_SECOND
"""Age at which notifications are deleted that were delivered, or are not retried any more."""


class LakeAlerts:
    """`alerting.AlertStore` of a lake. Only the collector that has claimed a notification sends it."""

    def __init__(self, lake: Lake) -> None:
        self._catalog = CatalogSession(lake)
        self._claimed: dict[str, float] = {}
        """The times at which the claims of this process end, by the monotonic clock, by the notification's id."""

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Runs a block in one transaction, in which no other process changes states."""
        with self._catalog.transaction(SQL["lock_alerts"]):
            yield

    def states(self) -> Sequence[AlertState]:
        """Returns the states of all receivers and incidents, except incidents whose resolution was notified."""
        return [AlertState(*row) for row in self._rows("select_states")]

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        """Writes both in one transaction."""
        with self._catalog.transaction() as session, session.cursor() as cursor:
            cursor.executemany(SQL["put_state"], [each._asdict() for each in states])
            if notifications:
                cursor.executemany(SQL["insert_notification"], [asdict(each) for each in notifications])
                before = min(each.at for each in notifications) - KEEP_NS
                cursor.execute(SQL["delete_old_notifications"], {"before": before})

    def pending(self) -> Sequence[Pending]:
        """Returns the notifications to deliver, oldest first."""
        found = self._rows("select_notifications")
        return [Pending(Notification(*own), attempts, at) for *own, attempts, at in found]

    def claim(self, id_: str, seconds: float) -> bool:
        """Claims a notification for this process, for some seconds; False: another process has claimed it."""
        ends = time.monotonic() + seconds
        is_mine = bool(self._rows("claim_notification", {"id": id_, "seconds": seconds}))
        if is_mine:
            self._claimed[id_] = ends
        return is_mine

    def delivered(self, id_: str, at: int) -> None:
        """Records that a notification was delivered. Retries while the claim lasts: else it would be sent twice."""
        ends = self._claimed.pop(id_, 0.0)
        while True:
            try:
                self._run("update_notification_delivered", {"id": id_, "at": at})
            except StorageUnavailable:
                if time.monotonic() > ends:
                    raise
                time.sleep(1)
            else:
                return

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        """Records a failed delivery and the time of the next attempt; None: no further attempt."""
        self._claimed.pop(id_, None)
        values = {"id": id_, "next_attempt_at": next_attempt_at, "error": error}
        self._run("update_notification_failed", values)

    def _rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self._catalog.transaction() as session:
            found: list[tuple[Any, ...]] = session.execute(SQL[statement], values).fetchall()
            return found

    def _run(self, statement: str, values: Mapping[str, Any]) -> None:
        with self._catalog.transaction() as session:
            session.execute(SQL[statement], values)


def redact(session: Any, ids: Sequence[SagaId], texts: Sequence[str], incidents: Sequence[str]) -> None:
    """Removes sagas from incidents, always from those named, and clears notes and notifications that contain a text.

    Raises:
        psycopg.Error: nothing was changed.
    """
    wanted = search_texts([*(each.id for each in ids), *texts, *incidents])
    with session.transaction():
        session.execute(SQL["lock_incidents"])
        for key, document, members in session.execute(SQL["select_all_incidents"]).fetchall():
            left = _without_sagas(members, set(ids)) if members else None
            if key in incidents or left != members or any(text in document for text in wanted):
                values = {"key": key, "document": redacted(document, wanted), "members": left}
                session.execute(SQL["update_incident"], values)
        for revision, change in session.execute(SQL["select_changes"], {"after": 0}).fetchall():
            known = orjson.loads(change)
            if any(text in known["note"] for text in wanted):
                without = orjson.dumps({**known, "note": ""}).decode()
                session.execute(SQL["update_change"], {"revision": revision, "change": without})
        session.execute(SQL["clear_notifications"], {"texts": wanted})


def _without_sagas(members: str, ids: set[SagaId]) -> str:
    known = orjson.loads(members)
    left = [each for each in known["sagas"] if SagaId(each[0], each[2]) not in ids]
    return members if len(left) == len(known["sagas"]) else orjson.dumps({**known, "sagas": left}).decode()


def transfer_incidents(storage: Storage, session: Any) -> None:
    """Adds the incidents that the lake does not have, in one transaction; the others stay as they are.

    Receivers are not notified again of what they were notified of by the database's collector.
    """
    with session.transaction(), session.cursor() as cursor:
        cursor.execute(SQL["lock_incidents"])
        known = {key for key, *_ in cursor.execute(SQL["select_all_incidents"]).fetchall()}
        ((last,),) = cursor.execute(SQL["select_last_revision"]).fetchall()
        documents = {key: text for key, text in storage.incidents.documents().items() if key not in known}
        found = (IncidentChange(*row) for row in storage.database.rows(SQL["select_local_changes"]))
        changes = [each for each in found if each.incident in documents]
        members = _members_by_incident(storage)
        _insert_changes(session, last, documents, changes, lambda change: members.get(change.incident))
        cursor.executemany(SQL["add_state"], [each._asdict() for each in storage.alerts.states()])
        pending = [asdict(each.notification) for each in storage.alerts.pending()]
        cursor.executemany(SQL["insert_notification"], pending)


def _members_by_incident(storage: Storage) -> dict[str, str]:
    """Returns the sagas of each incident when it was acknowledged, as `LakeIncidents` stores them."""
    sagas: defaultdict[tuple[str, int], list[list[str]]] = defaultdict(list)
    for key, at, *saga in storage.database.rows(SQL["select_local_members"]):
        sagas[key, at].append(saga)
    return {key: json.dumps({"acknowledged_at": at, "sagas": own}) for (key, at), own in sagas.items()}
