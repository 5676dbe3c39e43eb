"""The tables of alerts: the notifications that each receiver got, and those still to be delivered."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final, NamedTuple

import pyarrow as pa

from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.schema import table

SQL: Final = statements("alerts")


class AlertState(NamedTuple):
    """The last state of one incident that one receiver was notified of."""

    receiver: str
    incident: str
    opened_at: int
    """When the incident opened, in nanoseconds; a reopened incident has another time."""
    growth_step: int
    """The largest growth step that the receiver was notified of; 0: none."""
    is_resolved: bool
    resolved_since: int | None
    """When the incident was first seen to be resolved, until the receiver is notified; else None."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one receiver. A notification with the same `id` is stored once."""

    id: str
    receiver: str
    at: int
    event: str
    """``opened``, ``grown`` or ``resolved``."""
    document: str
    """The body, as JSON."""


class Pending(NamedTuple):
    """A notification that is still to be delivered."""

    notification: Notification
    attempts: int
    next_attempt_at: int


class AlertRecords:
    """The tables of alerts in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.exclusive = database.transaction

    def states(self) -> Sequence[AlertState]:
        """Returns the states of all receivers and incidents, except incidents whose resolution was notified."""
        return [AlertState(*row) for row in self._database.rows(SQL["select_states"])]

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        """Writes both in one transaction, so that a crash neither repeats nor loses a notification."""
        numbers = dict.fromkeys(("opened_at", "growth_step", "resolved_since"), pa.int64())
        rows = table(" ".join(AlertState._fields), states, is_resolved=pa.bool_(), **numbers)
        with self._database.transaction():
            self._database.count(SQL["put_states"], batch_states=rows)
            if notifications:
                batch = table("id receiver at event document", map(astuple, notifications), at=pa.int64())
                self._database.count(SQL["insert_notifications"], batch_notifications=batch)

    def pending(self) -> Sequence[Pending]:
        """Returns the notifications to deliver, oldest first."""
        found = self._database.rows(SQL["select_notifications"])
        return [Pending(Notification(*own), attempts, at) for *own, attempts, at in found]

    def delivered(self, id_: str, at: int) -> None:
        """Records that a notification was delivered."""
        self._database.count(SQL["update_notification_delivered"], {"id": id_, "at": at})

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        """Records a failed delivery and the time of the next attempt; None: no further attempt."""
        values = {"id": id_, "next_attempt_at": next_attempt_at, "error": error}
        self._database.count(SQL["update_notification_failed"], values)

    def claim(self, _: str, __: float) -> bool:
        """Returns whether this process may send a notification: always, because no other has the database open."""
        return True

    def redact(self, texts: pa.Table) -> None:
        """Within a transaction: clears notifications, sent or not, that contain one of these texts."""
        self._database.count(SQL["clear_notifications"], texts=texts)
