"""Sagas that must be judged again although nothing was received about them."""

from collections import deque
from collections.abc import Iterable

from sagascope_collector.records import SagaId
from sagascope_collector.sagas.model import Status
from sagascope_collector.store.contract import SagaFilter, Store

AT_START = (
    SagaFilter(status=Status.RUNNING),
    SagaFilter(status=Status.COMPENSATING),
    SagaFilter(attention="any"),
)
"""What a restart may have changed: the settings, and what was not heard meanwhile."""

NOT_COMPLETED = (Status.RUNNING, Status.COMPENSATING, Status.FAILED, Status.COMPENSATED)
"""Statuses of sagas of which something may be missed: a step, or an undo."""


class Again:
    """Walks through lists of sagas, a part at a time."""

    def __init__(self) -> None:
        self._walks: deque[tuple[SagaFilter, str | None]] = deque((each, None) for each in AT_START)

    def learned(self, names: Iterable[tuple[str, str]]) -> None:
        """Note of which names something was learned: what is open is judged by it, and what was given up."""
        for environment, name in names:
            for status in NOT_COMPLETED:
                self._walks.append((SagaFilter(environment=environment, name=name, status=status), None))

    def part(self, store: Store, limit: int) -> list[SagaId]:
        """The next ids to judge again; empty when none are left."""
        while self._walks:
            narrowed, cursor = self._walks[0]
            page = store.saga_rows(narrowed, limit=limit, cursor=cursor)
            self._walks.popleft()
            if page.next_cursor:
                self._walks.appendleft((narrowed, page.next_cursor))
            if page.rows:
                return list(dict.fromkeys(SagaId(row.key.environment, row.key.id) for row in page.rows))
        return []
