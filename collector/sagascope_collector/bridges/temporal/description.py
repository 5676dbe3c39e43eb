"""Applies the server's description of a run: failed attempts, the next attempt, and obstacles.

An attempt that is followed by another one leaves no event in the history: only the description shows it.
"""

from typing import Any, Final, NamedTuple

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope_collector.bridges.temporal.client import POLLER_LOST_NS, Workers
from sagascope_collector.bridges.temporal.telemetry import (
    UNSEEN_FAILURE,
    Error,
    PendingCall,
    Run,
    RunTelemetry,
    format_time,
)
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

POLLER_CHECK_DELAY_NS: Final = 2 * NANOSECONDS_PER_SECOND
"""How long a task waits for a worker before the bridge checks whether a worker polls its task queue."""

STARTED_STATES: Final = (
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)
"""States of an activity whose attempt runs in a worker."""

PAUSED_STATES: Final = (
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)


class Obstacle(NamedTuple):
    """The reason why a run, or a call, cannot proceed."""

    cause: str = ""
    """One of `semconv.BLOCKED_CAUSES`; ``""``: it can proceed."""
    text: str = ""
    error: Error | None = None


NO_OBSTACLE: Final = Obstacle()


class DescriptionReader:
    """Applies one description to a run whose history was read.

    Args:
        run: the state of the run; updated.
        telemetry: receives the records.
        workers: looks up the workers of a task queue.
        now: in nanoseconds since 1970.
    """

    def __init__(self, run: Run, telemetry: RunTelemetry, workers: Workers, now: int) -> None:
        self._run = run
        self._telemetry = telemetry
        self._workers = workers
        self._now = now
        self.next_change_at = 0
        """When the next attempt starts, or the next timer fires; 0: unknown."""

    def apply(self, description: DescribeWorkflowExecutionResponse) -> None:
        """Applies the description and reports what is new."""
        calls = {call.id: call for call in self._run.calls.values() if not call.child_workflow_id}
        for pending in description.pending_activities:
            call = calls.get(pending.activity_id)
            if call is not None:
                self._apply_activity(call, pending)
        task = description.pending_workflow_task if description.HasField("pending_workflow_task") else None
        is_idle = task is None and not self._run.calls
        self._report_timer(is_idle=is_idle)
        self._report_wait(is_idle=is_idle and not self._run.timers and not description.pending_nexus_operations)
        self._report_run_obstacle(task)

    def _apply_activity(self, call: PendingCall, pending: PendingActivityInfo) -> None:
        is_started = pending.state in STARTED_STATES
        if pending.attempt - 1 > call.ended_attempt:
            self._report_failed_attempt(call, pending, is_started=is_started)
        due = _time_ns(pending, "next_attempt_schedule_time") or _time_ns(pending, "scheduled_time")
        if is_started:
            self._report_started_attempt(call, pending)
        elif due > self._now:
            self._expect_change_at(due)
        elif pending.attempt > call.attempt and pending.state not in PAUSED_STATES:
            self._move_to_attempt(call, pending.attempt, due, is_started=False)
            self._telemetry.scheduled_attempt(call, call.attempt, due)
        self._report_obstacle(call, self._activity_obstacle(call, pending, due, is_started=is_started))

    def _report_failed_attempt(self, call: PendingCall, pending: PendingActivityInfo, *, is_started: bool) -> None:
        """Reports the failure of the previous attempt. Earlier failures are unknown, except for a reported attempt."""
        number, end = pending.attempt - 1, _time_ns(pending, "last_attempt_complete_time")
        known_start = call.attempt_started_at if call.attempt == number else call.next_attempt_at
        start = min(known_start or end, end) or self._now
        end = end or start
        if call.ended_attempt < call.attempt < number:
            self._telemetry.attempt(call, call.attempt, call.attempt_started_at, start, error=UNSEEN_FAILURE)
        due = _time_ns(pending, "next_attempt_schedule_time")
        retry_in_seconds = (due - end) / NANOSECONDS_PER_SECOND if due > end and not is_started else None
        error = Error.from_failure(pending.last_failure)
        worker = "" if is_started else pending.last_worker_identity
        self._telemetry.attempt(call, number, start, end, worker=worker, error=error, retry_in_seconds=retry_in_seconds)
        self._move_to_attempt(call, number, start, is_started=False)
        call.ended_attempt, call.next_attempt_at = number, due

    def _report_started_attempt(self, call: PendingCall, pending: PendingActivityInfo) -> None:
        if call.is_started and call.attempt == pending.attempt:
            return
        start = _time_ns(pending, "last_started_time") or self._now
        self._move_to_attempt(call, pending.attempt, start, is_started=True)
        self._telemetry.attempt(call, call.attempt, start, worker=pending.last_worker_identity)

    def _move_to_attempt(self, call: PendingCall, number: int, start: int, *, is_started: bool) -> None:
        if call.attempt != number:
            self._report_obstacle(call, NO_OBSTACLE)
        call.attempt, call.attempt_started_at, call.is_started = number, start, is_started

    def _activity_obstacle(
        self, call: PendingCall, pending: PendingActivityInfo, due: int, *, is_started: bool
    ) -> Obstacle:
        if pending.paused or pending.state in PAUSED_STATES:
            return Obstacle("paused", _pause_text(pending))
        if is_started:
            return self._lost_worker(call, pending)
        if not due or self._now < due + POLLER_CHECK_DELAY_NS:
            return NO_OBSTACLE
        since = self._workers.unpolled(self._run.namespace, call.task_queue, activities=True)
        text = f"no worker polls the task queue {call.task_queue} (since {format_time(since)})"
        return Obstacle("no_worker", text) if since else NO_OBSTACLE

    def _lost_worker(self, call: PendingCall, pending: PendingActivityInfo) -> Obstacle:
        """A worker that executes an activity and no longer polls has ended, unless all its slots are taken."""
        worker = pending.last_worker_identity
        alive_at = max(_time_ns(pending, "last_started_time"), _time_ns(pending, "last_heartbeat_time"))
        if not worker or self._now < alive_at + POLLER_LOST_NS:
            return NO_OBSTACLE
        run = self._run
        since = self._workers.lost_since(run.namespace, worker, call.task_queue, run.task_queue, alive_at)
        text = f"its worker {worker} has not polled since {format_time(since)}"
        return Obstacle("worker_lost", text) if since else NO_OBSTACLE

    def _report_run_obstacle(self, task: PendingWorkflowTaskInfo | None) -> None:
        """Reports what blocks the workflow task, after the timer: a blocked task does not wait for a timer."""
        obstacle = self._workflow_task_obstacle(task) if task is not None else NO_OBSTACLE
        if obstacle.text != self._run.obstacle:
            self._telemetry.obstacle(obstacle.text, self._now, cause=obstacle.cause, error=obstacle.error)
            self._run.obstacle = obstacle.text

    def _workflow_task_obstacle(self, task: PendingWorkflowTaskInfo) -> Obstacle:
        run = self._run
        if task.attempt > 1 and run.task_failure:
            since = format_time(run.task_failed_at)
            first = f", first in {run.task_worker}" if run.task_worker else ""
            text = f"the workflow task fails (since {since}{first}): {run.task_failure}"
            return Obstacle("task_failing", text, Error(run.task_failure, run.task_failure_type))
        scheduled_at = task.scheduled_time.ToNanoseconds()
        if task.HasField("started_time") or not scheduled_at or self._now < scheduled_at + POLLER_CHECK_DELAY_NS:
            return NO_OBSTACLE
        unpolled = self._workers.unpolled(run.namespace, run.task_queue, activities=False)
        text = f"no worker polls the task queue {run.task_queue} for workflow tasks (since {format_time(unpolled)})"
        return Obstacle("no_worker", text) if unpolled else NO_OBSTACLE

    def _report_obstacle(self, call: PendingCall, obstacle: Obstacle) -> None:
        if obstacle.text != call.obstacle:
            self._telemetry.obstacle(obstacle.text, self._now, call, cause=obstacle.cause)
            call.obstacle = obstacle.text

    def _report_timer(self, *, is_idle: bool) -> None:
        """Reports the next timer while the run waits for nothing else."""
        run, fires_at = self._run, min(self._run.timers.values(), default=0)
        if fires_at > self._now:
            self._expect_change_at(fires_at)
        timer_at = fires_at if is_idle else 0
        if timer_at == run.reported_timer_at:
            return
        if timer_at:
            self._telemetry.timer(timer_at, self._now)
        else:
            self._telemetry.obstacle("", self._now)
        run.reported_timer_at, run.obstacle = timer_at, ""

    def _report_wait(self, *, is_idle: bool) -> None:
        """Reports that the run waits for a signal or an update: nothing else is pending."""
        if is_idle and not self._run.is_waiting:
            self._telemetry.wait(self._now)
        elif not is_idle and self._run.is_waiting and not self._run.reported_timer_at:
            self._telemetry.obstacle("", self._now)
        self._run.is_waiting = is_idle

    def _expect_change_at(self, at: int) -> None:
        self.next_change_at = min(self.next_change_at or at, at)


def _pause_text(pending: PendingActivityInfo) -> str:
    info = pending.pause_info
    since = f" since {format_time(info.pause_time.ToNanoseconds())}" if info.HasField("pause_time") else ""
    manual = info.manual if info.HasField("manual") else None
    by = f" by {manual.identity}" if manual is not None and manual.identity else ""
    reason = f" ({manual.reason})" if manual is not None and manual.reason else ""
    return f"the activity is paused{by}{since}{reason}"


def _time_ns(message: Any, field: str) -> int:
    """Returns a time in nanoseconds since 1970; 0 if it is not set."""
    return int(getattr(message, field).ToNanoseconds()) if message.HasField(field) else 0
