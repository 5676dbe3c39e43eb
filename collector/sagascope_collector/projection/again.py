"""Sagas that must be judged again although nothing was received about them."""

from collections import deque
from collections.abc import Iterable

from sagascope_collector.analysis.model import UNKNOWN_NAME, Status
from sagascope_collector.projection.memory import Learned
from sagascope_collector.records import SagaId
from sagascope_collector.storage import SagaFilter, Storage

AT_START = (
    SagaFilter(status=Status.RUNNING),
    SagaFilter(status=Status.COMPENSATING),
    SagaFilter(attention="any"),
)
"""What a restart may have changed: the settings, and what was not heard meanwhile."""

OPEN = (Status.RUNNING, Status.COMPENSATING)
GIVEN_UP = (Status.FAILED, Status.COMPENSATED)


class Again:
    """Walks through lists of sagas, a part at a time."""

    def __init__(self) -> None:
        self._walks: deque[tuple[SagaFilter, str | None]] = deque((each, None) for each in AT_START)

    def learned(self, news: Iterable[Learned]) -> None:
        """Note what was learned: what is open is judged by it, and by what undoes what also what was given up.

        So is what is open and has no name yet: its type may be inferred now.
        """
        for (environment, name), has_compensations in news:
            for status in (*OPEN, *(GIVEN_UP if has_compensations else ())):
                self._walk(SagaFilter(environment=environment, name=name, status=status))
            for status in OPEN:
                self._walk(SagaFilter(environment=environment, name=UNKNOWN_NAME, status=status))

    def _walk(self, narrowed: SagaFilter) -> None:
        if (narrowed, None) not in self._walks:
            self._walks.append((narrowed, None))

    def part(self, storage: Storage, limit: int) -> list[SagaId]:
        """The next ids to judge again; empty when none are left."""
        while self._walks:
            narrowed, cursor = self._walks[0]
            page = storage.listing.page(narrowed, limit=limit, cursor=cursor)
            self._walks.popleft()
            if page.next_cursor:
                self._walks.appendleft((narrowed, page.next_cursor))
            if page.rows:
                return list(dict.fromkeys(SagaId(row.key.environment, row.key.id) for row in page.rows))
        return []
