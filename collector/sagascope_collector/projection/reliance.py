"""Sagas whose judgement relies on what a process had promised: judged again when it is heard to promise otherwise."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sagascope_collector import analysis
from sagascope_collector.records import Instance, SagaId

ProcessId = tuple[str, str, str]
"""(environment, service, identity)."""

Promises = Mapping[tuple[str, str], int | None]
"""Until when each process was to be heard, by (service, identity)."""

HELD: int = 200_000
"""Saga ids that are held; what relies on a process beyond them is judged again when it is due."""


class Reliance:
    """Which sagas rely on which processes, and on what."""

    def __init__(self) -> None:
        self._of_saga: dict[SagaId, dict[ProcessId, int | None]] = {}
        self._of_process: defaultdict[ProcessId, set[SagaId]] = defaultdict(set)

    def judged(self, saga: SagaId, promises: Promises) -> None:
        """Replace what the sagas of an id rely on."""
        for process in self._of_saga.pop(saga, ()):
            self._of_process[process].discard(saga)
            if not self._of_process[process]:
                del self._of_process[process]
        if promises and len(self._of_saga) < HELD:
            held = {(saga.environment, *process): promise for process, promise in promises.items()}
            self._of_saga[saga] = held
            for process in held:
                self._of_process[process].add(saga)

    def broken(self, instances: Iterable[Instance], now: int) -> list[SagaId]:
        """The sagas that must be judged again, now that the processes were heard as they are told here."""
        found: dict[SagaId, None] = {}
        for each in instances:
            process = (each.process.environment, each.process.service, each.process.identity)
            promise = analysis.must_report_by(each) if process in self._of_process else None
            for saga in sorted(self._of_process.get(process, ())):
                if analysis.is_other_promise(self._of_saga[saga][process], promise, now):
                    found[saga] = None
        return list(found)
