"""What the verdict of one saga depends on beside its records: other sagas' successes, services that stopped reporting.

Also which sagas depend on which processes.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from sagascope_collector import analysis
from sagascope_collector.analysis import model
from sagascope_collector.analysis.context import StepSuccess
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.analysis.messages import published_at
from sagascope_collector.analysis.wording import datetime_text
from sagascope_collector.records import Instance, SagaId

MAX_STEPS: int = 20_000
"""Maximum number of steps whose latest success is in memory."""

MAX_STUCK: int = 100_000
"""Maximum number of sagas in memory that need attention."""

DOUBTFUL_INTERVALS: float = 1.5
"""Expected intervals without a report of most services after which missing reports are considered doubtful."""

DOUBTFUL_NS: int = 30_000_000_000
"""Time for which they stay doubtful after services report again: buffered records may still arrive."""


class SystemState:
    """The context of single sagas. The projection writes it in one thread; any thread may read it."""

    def __init__(self) -> None:
        self._latest_successes: dict[tuple[str, str, str], StepSuccess] = {}
        self._lost: Mapping[str, int] = {}
        self._services_last_seen: Mapping[tuple[str, str], int] = {}
        self._doubtful: Mapping[str, int] = {}
        self._stuck: dict[tuple[str, str], None] = {}
        self._erased: set[SagaId] = set()

    @property
    def latest_successes(self) -> Mapping[tuple[str, str, str], StepSuccess]:
        """The latest saga in which each step succeeded, by (environment, saga name, step)."""
        return self._latest_successes

    @property
    def telemetry_lost(self) -> Mapping[str, int]:
        """Environments in which most services stopped reporting at once, with the time at which they did."""
        return self._lost

    @property
    def services_last_seen(self) -> Mapping[tuple[str, str], int]:
        """The time at which each service was last seen, by (environment, service)."""
        return self._services_last_seen

    @property
    def stuck(self) -> Container[tuple[str, str]]:
        """(environment, saga id) of sagas that need attention, at most `MAX_STUCK`."""
        return self._stuck

    @property
    def doubtful_environments(self) -> Collection[str]:
        """Environments in which most services are not reporting, or were not until recently: telemetry may be lost."""
        return self._doubtful.keys()

    def notices(self) -> Sequence[str]:
        """Returns notices for readers of lists."""
        return [_notice(environment, since) for environment, since in sorted(self._lost.items())]

    def check_services(self, instances: Sequence[Instance], context: analysis.Context) -> None:
        """Determines which services stopped reporting."""
        self._lost = analysis.outages(instances, context)
        doubtful = dict.fromkeys(analysis.outages(instances, context, DOUBTFUL_INTERVALS), context.now)
        self._doubtful = {
            environment: at
            for environment, at in {**self._doubtful, **doubtful}.items()
            if context.now - at < DOUBTFUL_NS
        }
        last_seen: dict[tuple[str, str], int] = {}
        for each in instances:
            service = (each.process.environment, each.process.service)
            last_seen[service] = max(last_seen.get(service, 0), each.last_seen)
        self._services_last_seen = last_seen

    def record(self, saga: model.Saga, diagnosis: Diagnosis) -> None:
        """Records the steps in which a saga succeeded, and whether it needs attention."""
        identity = saga.key.environment, saga.key.id
        if diagnosis.verdict is None:
            self._stuck.pop(identity, None)
        elif len(self._stuck) < MAX_STUCK:
            self._stuck[identity] = None
        self.record_successes(saga)

    def record_completions(self, ids: Iterable[SagaId]) -> None:
        """Records sagas that completed cleanly, so that they need no attention."""
        for each in ids:
            self._stuck.pop((each.environment, each.id), None)

    def record_erasures(self, ids: Iterable[SagaId]) -> None:
        """Removes these sagas; later records with their ids are new. Thread-safe."""
        self._erased.update(ids)
        for step, success in list(self._latest_successes.items()):
            if SagaId(success.key.environment, success.key.id) in self._erased:
                self._latest_successes.pop(step, None)

    def record_successes(self, saga: model.Saga) -> None:
        """Records the steps in which a saga succeeded."""
        if SagaId(saga.key.environment, saga.key.id) in self._erased:
            return
        for step in saga.steps:
            for attempt in step.attempts:
                if attempt.state is model.AttemptState.OK:
                    self._record_success((*saga.key[:2], step.name), saga, attempt)

    def _record_success(self, step: tuple[str, str, str], saga: model.Saga, attempt: model.Attempt) -> None:
        at = attempt.executor_started_at
        known = self._latest_successes.get(step)
        if known.at < at if known else len(self._latest_successes) < MAX_STEPS:
            ids = attempt.trace_id, attempt.span_id
            success = StepSuccess(at, saga.key, attempt.process, *ids, published_at(saga, attempt))
            self._latest_successes[step] = success


def _notice(environment: str, since: int) -> str:
    where = f" in the environment {environment!r}" if environment else ""
    return (
        f"telemetry_lost: most services{where} stopped reporting at once at {datetime_text(since)}; "
        "until they report again, what rests on missing reports is possible at most."
    )


ProcessId = tuple[str, str, str]
"""(environment, service, identity)."""


ReportDeadlines = Mapping[tuple[str, str], int | None]
"""The time until which each process was expected to report, by (service, identity)."""


MAX_SAGAS: int = 200_000
"""Maximum number of saga ids in memory. Sagas beyond it are re-evaluated when they are due."""


class ProcessDependencies:
    """Which sagas depend on which processes, and on reports expected by which times."""

    def __init__(self) -> None:
        self._of_saga: dict[SagaId, dict[ProcessId, int | None]] = {}
        self._of_process: defaultdict[ProcessId, set[SagaId]] = defaultdict(set)

    def replace(self, saga: SagaId, report_deadlines: ReportDeadlines) -> None:
        """Replaces the processes on which the sagas of an id depend."""
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
