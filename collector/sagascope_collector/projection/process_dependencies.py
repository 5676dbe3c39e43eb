"""Sagas whose verdict relies on the expected next report of a process. They are re-evaluated if that changes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sagascope_collector import analysis
from sagascope_collector.records import Instance, SagaId

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

    def replace(self, saga: SagaId, promises: ReportDeadlines) -> None:
        """Replaces the processes on which the sagas of an id rely."""
        for process in self._of_saga.pop(saga, ()):
            self._of_process[process].discard(saga)
            if not self._of_process[process]:
                del self._of_process[process]
        if promises and len(self._of_saga) < MAX_SAGAS:
            held = {(saga.environment, *process): promise for process, promise in promises.items()}
            self._of_saga[saga] = held
            for process in held:
                self._of_process[process].add(saga)

    def changed(self, instances: Iterable[Instance], now: int) -> list[SagaId]:
        """Returns the sagas to re-evaluate after the latest reports of these processes."""
        found: dict[SagaId, None] = {}
        for each in instances:
            process = (each.process.environment, each.process.service, each.process.identity)
            promise = analysis.must_report_by(each) if process in self._of_process else None
            for saga in sorted(self._of_process.get(process, ())):
                if analysis.is_other_promise(self._of_saga[saga][process], promise, now):
                    found[saga] = None
        return list(found)
