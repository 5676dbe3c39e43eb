"""Moves incidents, what people said of them, and the state of alerts from a database file into a lake."""

import json
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from sagascope_collector.incident_records import IncidentChange
from sagascope_collector.lake.catalog import SHARED as SQL
from sagascope_collector.storage import Storage


def move(storage: Storage, session: Any) -> None:
    """Adds the incidents that the lake does not have, in one transaction; the others stay as they are.

    What receivers were notified of is not notified again.
    """
    with session.transaction(), session.cursor() as cursor:
        cursor.execute(SQL["lock_incidents"])
        known = {key for key, *_ in cursor.execute(SQL["select_all_incidents"]).fetchall()}
        ((last,),) = cursor.execute(SQL["select_last_revision"]).fetchall()
        documents = {key: text for key, text in storage.incidents.documents().items() if key not in known}
        found = (IncidentChange(*row) for row in storage.database.rows(SQL["select_local_changes"]))
        changes = [each for each in found if each.incident in documents]
        numbered = {each.incident: revision for revision, each in enumerate(changes, last + 1)}
        members = _members(storage)
        cursor.executemany(
            SQL["insert_change"],
            [
                {"revision": revision, "change": json.dumps(each._asdict())}
                for revision, each in enumerate(changes, last + 1)
            ],
        )
        cursor.executemany(
            SQL["put_incident"],
            [
                {"key": key, "revision": revision, "document": documents[key], "members": members.get(key)}
                for key, revision in numbered.items()
            ],
        )
        cursor.executemany(SQL["add_state"], [each._asdict() for each in storage.alerts.states()])
        pending = [asdict(each.notification) for each in storage.alerts.pending()]
        cursor.executemany(SQL["insert_notification"], pending)


def _members(storage: Storage) -> dict[str, str]:
    """Returns the sagas of each incident when it was acknowledged, as `LakeIncidents` stores them."""
    sagas: defaultdict[tuple[str, int], list[list[str]]] = defaultdict(list)
    for key, at, *saga in storage.database.rows(SQL["select_local_members"]):
        sagas[key, at].append(saga)
    return {key: json.dumps({"acknowledged_at": at, "sagas": own}) for (key, at), own in sagas.items()}
