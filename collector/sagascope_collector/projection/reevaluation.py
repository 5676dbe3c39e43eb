"""Sagas that must be re-evaluated although nothing was received about them.

A learned plan, a changed setting or the silence of a process may change their verdict.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Final

from sagascope_collector import analysis
from sagascope_collector.analysis.model import UNKNOWN_NAME
from sagascope_collector.projection.baseline_learner import BaselineChange
from sagascope_collector.records import Instance, SagaId
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


ProcessId = tuple[str, str, str]
"""(environment, service, identity)."""

ReportDeadlines = Mapping[tuple[str, str], int | None]
"""The time until which each process was expected to report, by (service, identity)."""

MAX_SAGAS: int = 200_000
"""Maximum number of saga ids in memory. Sagas beyond it are re-evaluated when they are due."""


class ProcessDependencies:
    """Which sagas rely on which processes, and on which expected reports."""

    def __init__(self) -> None:
        self._of_saga: dict[SagaId, dict[ProcessId, int | None]] = {}
        self._of_process: defaultdict[ProcessId, set[SagaId]] = defaultdict(set)

    def replace(self, saga: SagaId, report_deadlines: ReportDeadlines) -> None:
        """Replaces the processes on which the sagas of an id rely."""
        for process in self._of_saga.pop(saga, ()):
            self._of_process[process].discard(saga)
            if not self._of_process[process]:
                del self._of_process[process]
        if report_deadlines and len(self._of_saga) < MAX_SAGAS:
            held = {(saga.environment, *process): deadline for process, deadline in report_deadlines.items()}
            self._of_saga[saga] = held
            for process in held:
                self._of_process[process].add(saga)

    def changed(self, instances: Iterable[Instance], now: int) -> list[SagaId]:
        """Returns the sagas to re-evaluate after the latest reports of these processes."""
        found: dict[SagaId, None] = {}
        for each in instances:
            process = (each.process.environment, each.process.service, each.process.identity)
            deadline = analysis.must_report_by(each) if process in self._of_process else None
            for saga in sorted(self._of_process.get(process, ())):
                if analysis.is_other_deadline(self._of_saga[saga][process], deadline, now):
                    found[saga] = None
        return list(found)
