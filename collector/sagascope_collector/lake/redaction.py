"""Removes erased sagas from what collectors share in PostgreSQL, as `storage.erasure` does in a file."""

from collections.abc import Sequence
from typing import Any

import orjson

from sagascope_collector.lake.catalog import SHARED as SQL
from sagascope_collector.records import SagaId
from sagascope_collector.storage.erasure import sought
from sagascope_collector.storage.incidents import redacted


def redact(session: Any, ids: Sequence[SagaId], texts: Sequence[str], incidents: Sequence[str]) -> None:
    """Removes sagas from incidents, always from those named, and clears notes and notifications that contain a text.

    Raises:
        psycopg.Error: nothing was changed.
    """
    wanted = sought([*(each.id for each in ids), *texts, *incidents])
    with session.transaction():
        session.execute(SQL["lock_incidents"])
        for key, document, members in session.execute(SQL["select_all_incidents"]).fetchall():
            left = _without(members, set(ids)) if members else None
            if key in incidents or left != members or any(text in document for text in wanted):
                values = {"key": key, "document": redacted(document, wanted), "members": left}
                session.execute(SQL["update_incident"], values)
        for revision, change in session.execute(SQL["select_changes"], {"after": 0}).fetchall():
            known = orjson.loads(change)
            if any(text in known["note"] for text in wanted):
                without = orjson.dumps({**known, "note": ""}).decode()
                session.execute(SQL["update_change"], {"revision": revision, "change": without})
        session.execute(SQL["clear_notifications"], {"texts": wanted})


def _without(members: str, ids: set[SagaId]) -> str:
    known = orjson.loads(members)
    left = [each for each in known["sagas"] if SagaId(each[0], each[2]) not in ids]
    return members if len(left) == len(known["sagas"]) else orjson.dumps({**known, "sagas": left}).decode()
