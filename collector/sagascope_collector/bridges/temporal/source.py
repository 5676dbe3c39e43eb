"""`bridges.Source` of Temporal: meets runs by the visibility API, and looks at each when something is to be seen."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self

from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope_collector.bridges.running import Harvest
from sagascope_collector.bridges.telling import Facts
from sagascope_collector.bridges.temporal.course import Course
from sagascope_collector.bridges.temporal.facts import SECOND, Teller
from sagascope_collector.bridges.temporal.pending import Look
from sagascope_collector.bridges.temporal.place import Place, Run
from sagascope_collector.bridges.temporal.queues import Queues
from sagascope_collector.bridges.temporal.server import Server
from sagascope_collector.errors import SourceUnavailable

AT_ONCE: Final = 500
"""Runs that one poll looks at."""

TOGETHER: Final = 8
"""Calls under way at a time."""

PER_SECOND: Final = 200
"""Looks at runs in which nothing happens, in the long run."""

RARELY: Final = 5 * SECOND
"""Between two looks at a run in which nothing happens, at least when there are few."""

SOONER: Final = 16
"""Times: so much sooner a run is looked at again right after something happened in it."""

OVERLAP: Final = 10 * SECOND
"""By so much the visibility API may lag."""

RUNNING: Final = (Status.WORKFLOW_EXECUTION_STATUS_RUNNING, Status.WORKFLOW_EXECUTION_STATUS_PAUSED)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the server answered of a run; `described` is None where it is over, or forgotten."""

    run: Run
    described: DescribeWorkflowExecutionResponse | None
    events: Sequence[HistoryEvent]


class Temporal:
    """Follows the workflows of namespaces. A context manager.

    A look at a run is one call, and one more when its history has grown. Runs in which nothing happens are looked at
    the more rarely the more there are; one whose next try, or timer, is known, right after that.

    Args:
        server: is asked.
        namespaces: that are followed.
        environment: of what is told.
        undoes: the step that an activity undoes, by the activity's type, beside what its name says.
    """

    def __init__(
        self,
        server: Server,
        namespaces: Sequence[str],
        *,
        environment: str = "",
        undoes: Mapping[str, str] | None = None,
    ) -> None:
        self._server = server
        self._namespaces = namespaces
        self._environment = environment
        self._undoes = undoes or {}
        self._threads = ThreadPoolExecutor(TOGETHER, thread_name_prefix="temporal")
        self._due: dict[str, int] = {}
        self._waits: dict[str, int] = {}
        self._asked: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def poll(self, place: Place, now: int) -> Harvest[Place]:
        """See `Source.poll`."""
        ended = {run: at for run, at in place.ended.items() if at > now - 2 * OVERLAP}
        runs, looked = dict(place.runs), dict(place.looked)
        over, silent = self._meet(runs, ended, looked, now)
        asked = (run for run, each in runs.items() if each.namespace not in silent and self._due.get(run, 0) <= now)
        due = sorted(asked, key=lambda run: self._due.get(run, 0))
        told, queues = Facts(), Queues(self._server, dict(place.unpolled), self._asked, now)
        for seen in self._threads.map(partial(self._ask, over=over), [runs[run] for run in due[:AT_ONCE]]):
            run = self._take(seen, told, queues, now, len(runs))
            if run is None or run.is_over:
                self._forget(runs, ended, seen.run.run, now)
            else:
                runs[run.run] = run
        is_behind = bool(due[AT_ONCE:]) and self._due.get(due[AT_ONCE], 0) < now - RARELY
        after = Place(looked=looked, runs=runs, ended=ended, unpolled=queues.since)
        trouble = " ".join(silent.values())
        return Harvest(told, after, len(runs), trouble, is_behind=is_behind, at_once=bool(due[AT_ONCE:]))

    def _meet(
        self, runs: dict[str, Run], ended: Mapping[str, int], looked: dict[str, int], now: int
    ) -> tuple[set[str], dict[str, str]]:
        """Add the runs that are new, and answer which are over, and which namespaces do not answer, with what is said.

        Raises:
            SourceUnavailable: none does.
        """
        over, silent = set[str](), dict[str, str]()
        for namespace in self._namespaces:
            try:
                met = list(self._server.workflows(namespace, _query(looked.get(namespace))))
            except SourceUnavailable as error:
                silent[namespace] = str(error)
                continue
            for found in met:
                execution = found.execution
                if execution.run_id in ended:
                    continue
                if execution.run_id not in runs:
                    runs[execution.run_id] = Run(
                        namespace=namespace, workflow=execution.workflow_id, run=execution.run_id
                    )
                if found.status not in RUNNING:
                    over.add(execution.run_id)
                    self._due[execution.run_id] = 0
            looked[namespace] = now
        if len(silent) == len(set(self._namespaces)):
            raise SourceUnavailable(" ".join(silent.values()))
        return over, silent

    def _ask(self, run: Run, over: Iterable[str]) -> _Seen:
        where = (run.namespace, run.workflow, run.run)
        if run.run in over:
            return _Seen(run, None, self._server.events(*where, run.read, 0))
        described = self._server.described(*where)
        if described is None:
            return _Seen(run, None, ())
        new = described.workflow_execution_info.history_length - run.read
        return _Seen(run, described, self._server.events(*where, run.read, new) if new > 0 else ())

    def _take(self, seen: _Seen, told: Facts, queues: Queues, now: int, among: int) -> Run | None:
        """The run afterwards; None: the server has forgotten it."""
        if seen.described is None and not seen.events:
            return None
        run = seen.run.model_copy(deep=True)
        teller = Teller(run, told, self._environment)
        course = Course(run, teller, self._undoes)
        for event in seen.events:
            course.follow(event)
        soon = 0
        if seen.described is not None and not run.is_over:
            look = Look(
                run, teller, lambda queue, activities: queues.unpolled(run.namespace, queue, activities=activities), now
            )
            look.take(seen.described)
            soon = look.next
        self._plan(run, now, soon, among, is_news=run != seen.run)
        return run if run != seen.run else seen.run

    def _plan(self, run: Run, now: int, soon: int, among: int, *, is_news: bool) -> None:
        """When to look at it again."""
        longest = max(RARELY, among * SECOND // PER_SECOND)
        wait = 0 if is_news else min(max(2 * self._waits.get(run.run, 0), longest // SOONER), longest)
        self._waits[run.run] = wait
        self._due[run.run] = min(now + wait, soon) if soon > now else now + wait

    def _forget(self, runs: dict[str, Run], ended: dict[str, int], run: str, now: int) -> None:
        runs.pop(run, None)
        self._due.pop(run, None)
        self._waits.pop(run, None)
        ended[run] = now


def _query(looked: int | None) -> str:
    """What has moved since a look; without one, all that has not ended."""
    if looked is None:
        return "ExecutionStatus = 'Running'"
    since = datetime.fromtimestamp((looked - OVERLAP) // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"StartTime >= '{since}' OR CloseTime >= '{since}'"
