"""The incidents that all collectors of a lake share: rows of PostgreSQL, of which each collector has a copy."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from sagascope_collector.incident_records import IncidentChange
from sagascope_collector.lake.catalog import SHARED as SQL, Lake
from sagascope_collector.lake.leader import Leader
from sagascope_collector.lake.session import CatalogSession
from sagascope_collector.storage import Storage
from sagascope_collector.storage.incidents import SQL as LOCAL
from sagascope_collector.storage.schema import table

_COPIES: Final = ("incidents", "incident_changes", "incident_members")


class LakeIncidents:
    """`incidents.SharedIncidents` of a lake. Every change is committed in PostgreSQL before it is copied."""

    def __init__(self, lake: Lake, leader: Leader, storage: Storage) -> None:
        """Creates it; the first `read` replaces the copies with what is in PostgreSQL."""
        self._catalog = CatalogSession(lake)
        self._leader = leader
        self._storage = storage
        self._database = storage.database
        self._revision: int | None = None
        """The last change that was copied; None: the copies may be of another time."""

    @property
    def leads(self) -> bool:
        """Whether this collector opens and resolves incidents."""
        return self._leader.leads

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
        numbered = list(enumerate(changes, (self._revision or 0) + 1))
        with self._catalog.transaction() as session, session.cursor() as cursor:
            cursor.executemany(
                SQL["insert_change"],
                [{"revision": revision, "change": json.dumps(change._asdict())} for revision, change in numbered],
            )
            cursor.executemany(
                SQL["put_incident"],
                [
                    {
                        "key": change.incident,
                        "revision": revision,
                        "document": documents[change.incident],
                        "members": self._dumped_members(change),
                    }
                    for revision, change in numbered
                ],
            )

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


def _members(key: str, known: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for saga in known["sagas"]:
        yield key, known["acknowledged_at"], *saga
