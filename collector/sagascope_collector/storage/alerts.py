"""What is kept of alerts: which webhook was sent what, and what is still to be sent."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

import pyarrow as pa

from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("alerts")


class AlertState(NamedTuple):
    """What one webhook was sent about one incident."""

    webhook: str
    incident: str
    opened_at: int
    """When the incident opened, in nanoseconds; a later return of it has another."""
    grown: int
    """The greatest number of sagas that was sent."""
    is_over: bool
    over_since: int | None
    """When the incident was first seen to be over, while that is not sent yet."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message. The same `id` is kept once."""

    id: str
    webhook: str
    at: int
    event: str
    """``opened``, ``grown`` or ``over``."""
    document: str
    """The body, as JSON."""


class Pending(NamedTuple):
    """A notification that was not delivered yet."""

    notification: Notification
    attempts: int
    next_attempt_at: int


STATES: Final = pa.schema(
    [
        ("webhook", pa.string()),
        ("incident", pa.string()),
        ("opened_at", pa.int64()),
        ("grown", pa.int64()),
        ("is_over", pa.bool_()),
        ("over_since", pa.int64()),
    ]
)
NOTIFICATIONS: Final = pa.schema(
    [
        ("id", pa.string()),
        ("webhook", pa.string()),
        ("at", pa.int64()),
        ("event", pa.string()),
        ("document", pa.string()),
    ]
)


class AlertRecords:
    """The tables of alerts in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def states(self) -> Sequence[AlertState]:
        """Returns what every webhook was sent about incidents that are not over for it."""
        return [AlertState(*row) for row in self._database.rows(SQL["select_states"])]

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        """Writes both in one transaction: after a crash nothing is sent twice, and nothing is forgotten."""
        rows = pa.Table.from_pylist([each._asdict() for each in states], schema=STATES)
        with self._database.transaction():
            self._database.count(SQL["put_states"], batch_states=rows)
            if notifications:
                batch = pa.Table.from_pylist([asdict(each) for each in notifications], schema=NOTIFICATIONS)
                self._database.count(SQL["insert_notifications"], batch_notifications=batch)

    def pending(self) -> Sequence[Pending]:
        """Returns what is to be delivered, oldest first."""
        found = self._database.rows(SQL["select_notifications"])
        return [Pending(Notification(*own), attempts, at) for *own, attempts, at in found]

    def delivered(self, id_: str, at: int) -> None:
        """Notes that one was delivered."""
        self._database.count(SQL["update_notification_delivered"], {"id": id_, "at": at})

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        """Notes that one was not delivered, and when it is attempted again; None: never."""
        values = {"id": id_, "next_attempt_at": next_attempt_at, "error": error}
        self._database.count(SQL["update_notification_failed"], values)

    def outcomes(self) -> Mapping[str, int]:
        """Returns how many notifications are ``waiting``, ``delivered`` and ``given_up``."""
        (counts,) = self._database.rows(SQL["count_notifications"])
        return dict(zip(("waiting", "delivered", "given_up"), counts, strict=True))

    def redact(self, texts: pa.Table) -> None:
        """Within a transaction: clears notifications, sent or not, that contain one of these texts."""
        self._database.count(SQL["clear_notifications"], texts=texts)
