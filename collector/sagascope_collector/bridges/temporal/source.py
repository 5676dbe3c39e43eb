"""Polls a Temporal server: lists runs by the visibility API, and reads those in which something may have changed."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope_collector.bridges.bridge import PollResult
from sagascope_collector.bridges.otlp import Telemetry
from sagascope_collector.bridges.temporal.client import Polls, TemporalClient, Workers
from sagascope_collector.bridges.temporal.description import DescriptionReader
from sagascope_collector.bridges.temporal.history import HistoryReader, is_termination, reset_time
from sagascope_collector.bridges.temporal.telemetry import Checkpoint, Run, RunTelemetry
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_datetime
from sagascope_collector.errors import SourceUnavailable

MAX_RUNS_PER_POLL: Final = 500

MAX_CONCURRENT_CALLS: Final = 8

MAX_IDLE_READS_PER_SECOND: Final = 200
"""The long-term rate of reads of runs in which nothing happens."""

MIN_IDLE_INTERVAL_NS: Final = 5 * NANOSECONDS_PER_SECOND
"""The interval to which the reads of an idle run slow down while there are few runs."""

BACKOFF_STEPS: Final = 16
"""The first interval after a change is the idle interval divided by this number; it doubles with each read."""

VISIBILITY_OVERLAP_NS: Final = 10 * NANOSECONDS_PER_SECOND
"""The visibility API may lag by this much."""

OPEN_STATUSES: Final = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)


@dataclass(frozen=True, slots=True)
class _ReadRun:
    """A run, and what the server returned about it."""

    run: Run
    description: DescribeWorkflowExecutionResponse | None
    """None: the run has ended, or the server no longer knows it."""
    events: Sequence[HistoryEvent]
    reset_run_id: str = ""
    """The run that replaces this one after a reset."""


class TemporalSource:
    """Polls the workflows of namespaces. A context manager; implements `bridges.Source`.

    Reading a run takes one call, and another one if its history has grown. Runs in which nothing happens are read less
    often the more there are. A run whose next attempt or timer is known is read right after it.

    Args:
        client: the connection to the server.
        namespaces: the namespaces to follow.
        environment: the environment of the reported sagas.
        compensates: the step that an activity compensates, by the activity's type, in addition to its name.
    """

    def __init__(
        self,
        client: TemporalClient,
        namespaces: Sequence[str],
        *,
        environment: str = "",
        compensates: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._environment = environment
        self._compensates = compensates or {}
        self._executor = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, thread_name_prefix="temporal")
        self._next_read_at: dict[str, int] = {}
        self._intervals_ns: dict[str, int] = {}
        self._polls: dict[str, Polls] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def poll(self, checkpoint: Checkpoint, now: int) -> PollResult[Checkpoint]:
        """Lists new and ended runs, and reads up to `MAX_RUNS_PER_POLL` runs that are due.

        Raises:
            SourceUnavailable: no namespace could be listed, or no run could be read.
        """
        ended = {run: at for run, at in checkpoint.ended.items() if at > now - 2 * VISIBILITY_OVERLAP_NS}
        runs, listed_at = dict(checkpoint.runs), dict(checkpoint.listed_at)
        over, errors = self._list_runs(runs, ended, listed_at, now)
        due = [id_ for id_, run in runs.items() if run.namespace not in errors and self._due(id_) <= now]
        due.sort(key=self._due)
        telemetry = Telemetry()
        workers = Workers(self._client, dict(checkpoint.unpolled_since), self._polls, now)
        batch, remaining = due[:MAX_RUNS_PER_POLL], due[MAX_RUNS_PER_POLL:]
        unread = list[str]()
        reads = [self._executor.submit(self._read, runs[id_], over) for id_ in batch]
        for number, (id_, reading) in enumerate(zip(batch, reads, strict=True), 1):
            try:
                run = self._apply(reading.result(), telemetry, workers, now, len(runs))
            except SourceUnavailable as reason:
                unread.append(f"The run {id_} of {runs[id_].workflow_id} cannot be read: {reason}")
                self._next_read_at[id_] = now + MIN_IDLE_INTERVAL_NS
                if len(unread) == number >= MAX_CONCURRENT_CALLS:  # the server does not respond, not one run
                    for each in reads:
                        each.cancel()
                    raise
                continue
            if run is None or run.is_over:
                self._forget(runs, ended, id_, now)
            else:
                runs[id_] = run
        is_behind = bool(remaining) and self._due(remaining[0]) < now - MIN_IDLE_INTERVAL_NS
        after = Checkpoint(listed_at=listed_at, runs=runs, ended=ended, unpolled_since=workers.unpolled_since)
        error = " ".join([*errors.values(), *unread[:1]])
        return PollResult(telemetry, after, len(runs), error, is_behind=is_behind, poll_again=bool(remaining))

    def _due(self, run_id: str) -> int:
        return self._next_read_at.get(run_id, 0)

    def _list_runs(
        self, runs: dict[str, Run], ended: Mapping[str, int], listed_at: dict[str, int], now: int
    ) -> tuple[set[str], dict[str, str]]:
        """Adds new runs; returns the runs that have ended, and an error for each namespace that does not respond.

        Raises:
            SourceUnavailable: no namespace responds.
        """
        over, errors = set[str](), dict[str, str]()
        for namespace in self._namespaces:
            try:
                listed = list(self._client.list_workflows(namespace, _list_query(listed_at.get(namespace))))
            except SourceUnavailable as error:
                errors[namespace] = str(error)
                continue
            for info in listed:
                run_id = info.execution.run_id
                if run_id in ended:
                    continue
                if run_id not in runs:
                    runs[run_id] = Run(namespace=namespace, workflow_id=info.execution.workflow_id, run_id=run_id)
                if info.status not in OPEN_STATUSES:
                    over.add(run_id)
                    self._next_read_at[run_id] = 0  # the runs that have ended are read first
            listed_at[namespace] = now
        if len(errors) == len(set(self._namespaces)):
            raise SourceUnavailable(" ".join(errors.values()))
        return over, errors

    def _read(self, run: Run, over: Collection[str]) -> _ReadRun:
        execution = (run.namespace, run.workflow_id, run.run_id)
        if run.run_id in over:
            events: Sequence[HistoryEvent] = self._client.events_after(*execution, run.last_event_id, 0)
            was_terminated = any(map(is_termination, events))
            described = self._client.describe(*execution) if was_terminated else None
            return _ReadRun(run, None, events, _reset_run_id(described) if described is not None else "")
        description = self._client.describe(*execution)
        if description is None:
            return _ReadRun(run, None, ())
        new = description.workflow_execution_info.history_length - run.last_event_id
        events = self._client.events_after(*execution, run.last_event_id, new) if new > 0 else ()
        return _ReadRun(run, description, events, _reset_run_id(description))

    def _apply(self, read: _ReadRun, telemetry: Telemetry, workers: Workers, now: int, run_count: int) -> Run | None:
        """Returns the updated run; None if the server no longer knows it."""
        if read.description is None and not read.events:
            return None
        run = read.run.model_copy(deep=True)
        run.continued_run_id = read.reset_run_id or run.continued_run_id
        run.reset_at = next(filter(None, map(reset_time, read.events)), run.reset_at)
        run_telemetry = RunTelemetry(run, telemetry, self._environment)
        history = HistoryReader(run, run_telemetry, self._compensates)
        for event in read.events:
            history.apply(event)
        next_change_at = 0
        if read.description is not None and not run.is_over:
            description = DescriptionReader(run, run_telemetry, workers, now)
            description.apply(read.description)
            next_change_at = description.next_change_at
        has_changed = run != read.run
        self._schedule(run, now, next_change_at, run_count, has_changed=has_changed)
        return run if has_changed else read.run

    def _schedule(self, run: Run, now: int, next_change_at: int, run_count: int, *, has_changed: bool) -> None:
        """Schedules the next read of a run."""
        idle = max(MIN_IDLE_INTERVAL_NS, run_count * NANOSECONDS_PER_SECOND // MAX_IDLE_READS_PER_SECOND)
        interval = min(max(2 * self._intervals_ns.get(run.run_id, 0), idle // BACKOFF_STEPS), idle)
        interval = 0 if has_changed else interval
        self._intervals_ns[run.run_id] = interval
        at = now + interval
        self._next_read_at[run.run_id] = min(at, next_change_at) if next_change_at > now else at

    def _forget(self, runs: dict[str, Run], ended: dict[str, int], run_id: str, now: int) -> None:
        runs.pop(run_id, None)
        self._next_read_at.pop(run_id, None)
        self._intervals_ns.pop(run_id, None)
        ended[run_id] = now


def _reset_run_id(description: DescribeWorkflowExecutionResponse) -> str:
    return description.workflow_extended_info.reset_run_id


def _list_query(listed_at: int | None) -> str:
    """Returns the query for runs that started or ended since a time; without one, for all open runs."""
    if listed_at is None:
        return "ExecutionStatus = 'Running'"
    since = to_datetime(listed_at - VISIBILITY_OVERLAP_NS).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"StartTime >= '{since}' OR CloseTime >= '{since}'"
