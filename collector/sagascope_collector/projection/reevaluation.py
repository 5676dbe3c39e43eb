"""Sagas that must be re-evaluated although nothing was received about them."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from sagascope_collector.analysis.model import UNKNOWN_NAME
from sagascope_collector.projection.baseline_learner import BaselineChange
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters, SagaStatus
from sagascope_collector.storage import Storage

AT_START = (SagaFilters(status="running"), SagaFilters(status="compensating"), SagaFilters(attention="any"))
"""Sagas that a restart may affect, because of changed settings or of records that were not received meanwhile."""

OPEN: Final[tuple[SagaStatus, ...]] = ("running", "compensating")
GIVEN_UP: Final[tuple[SagaStatus, ...]] = ("failed", "compensated")


class ReevaluationQueue:
    """A queue of sagas to re-evaluate in batches."""

    def __init__(self) -> None:
        self._pending: deque[tuple[SagaFilters, str | None]] = deque((each, None) for each in AT_START)

    def learned(self, news: Iterable[BaselineChange]) -> None:
        """Queues the sagas that a newly learned plan affects: open ones and, if compensations changed, those given up.

        Open sagas without a name are queued as well, because their type may be inferred now.
        """
        for (environment, name), has_compensations in news:
            for status in (*OPEN, *(GIVEN_UP if has_compensations else ())):
                self._enqueue(SagaFilters(environment=environment, name=name, status=status))
            for status in OPEN:
                self._enqueue(SagaFilters(environment=environment, name=UNKNOWN_NAME, status=status))

    def _enqueue(self, narrowed: SagaFilters) -> None:
        if (narrowed, None) not in self._pending:
            self._pending.append((narrowed, None))

    def part(self, storage: Storage, limit: int) -> list[SagaId]:
        """Returns the next ids to re-evaluate; empty if none are left."""
        while self._pending:
            narrowed, cursor = self._pending[0]
            page = storage.listing.page(narrowed, limit=limit, cursor=cursor)
            self._pending.popleft()
            if page.next_cursor:
                self._pending.appendleft((narrowed, page.next_cursor))
            if page.rows:
                return list(dict.fromkeys(SagaId(row.key.environment, row.key.id) for row in page.rows))
        return []
