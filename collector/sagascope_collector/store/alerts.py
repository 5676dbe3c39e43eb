"""`alerting.AlertStore` on DuckDB."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

import pyarrow as pa

from sagascope_collector.store.alerting import Notification, Told, Waiting
from sagascope_collector.store.database import Database
from sagascope_collector.store.sql import Query

TOLD: Final = pa.schema(
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


class Alerts:
    """The tables of alerts in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def told(self) -> Sequence[Told]:
        """See `AlertStore.told`."""
        return [Told(*row) for row in self._database.rows(Query.SELECT_ALERTS_TOLD)]

    def tell(self, told: Sequence[Told], notifications: Sequence[Notification]) -> None:
        """See `AlertStore.tell`."""
        said = pa.Table.from_pylist([each._asdict() for each in told], schema=TOLD)
        with self._database.transaction():
            self._database.count(Query.PUT_ALERTS_TOLD, batch_told=said)
            if notifications:
                batch = pa.Table.from_pylist([asdict(each) for each in notifications], schema=NOTIFICATIONS)
                self._database.count(Query.INSERT_NOTIFICATIONS, batch_notifications=batch)

    def waiting(self) -> Sequence[Waiting]:
        """See `AlertStore.waiting`."""
        found = self._database.rows(Query.SELECT_NOTIFICATIONS)
        return [Waiting(Notification(*own), tries, at) for *own, tries, at in found]

    def delivered(self, id_: str, at: int) -> None:
        """See `AlertStore.delivered`."""
        self._database.count(Query.UPDATE_NOTIFICATION_DELIVERED, {"id": id_, "at": at})

    def failed(self, id_: str, next_try_at: int | None, error: str) -> None:
        """See `AlertStore.failed`."""
        values = {"id": id_, "next_try_at": next_try_at, "error": error}
        self._database.count(Query.UPDATE_NOTIFICATION_FAILED, values)

    def outcomes(self) -> Mapping[str, int]:
        """See `AlertStore.outcomes`."""
        (counts,) = self._database.rows(Query.COUNT_NOTIFICATIONS)
        return dict(zip(("waiting", "delivered", "given_up"), counts, strict=True))

    def redact(self, texts: pa.Table) -> None:
        """Within a transaction: clear what was told, or is to be, where one of these texts is in it."""
        self._database.count(Query.CLEAR_NOTIFICATIONS, texts=texts)
