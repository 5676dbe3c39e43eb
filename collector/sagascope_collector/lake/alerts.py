"""The notifications that all collectors of a lake share: rows of PostgreSQL."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.lake.catalog import SHARED as SQL, Lake
from sagascope_collector.lake.session import CatalogSession
from sagascope_collector.storage import AlertState, Notification, Pending

KEEP_NS: Final = 30 * 86_400 * NANOSECONDS_PER_SECOND
"""Age at which notifications that were delivered or given up are deleted."""


class LakeAlerts:
    """`alerting.AlertStore` of a lake. Only the collector that has claimed a notification sends it."""

    def __init__(self, lake: Lake) -> None:
        self._catalog = CatalogSession(lake)
        self._claimed: dict[str, float] = {}
        """When the claims of this process end, by the steady clock."""

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
        """Claims a notification for this process and so long; False: another has claimed it."""
        ends = time.monotonic() + seconds
        is_mine = bool(self._rows("claim_notification", {"id": id_, "seconds": seconds}))
        if is_mine:
            self._claimed[id_] = ends
        return is_mine

    def delivered(self, id_: str, at: int) -> None:
        """Records that a notification was delivered. Tries again while the claim lasts: else it is sent twice."""
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
