"""What the server says of a run beside its history: tries that failed, the next, and what stands in the way.

A try that is followed by another leaves no event, so that only a look at it tells of it.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from temporalio.api.enums.v1 import PendingActivityState as State
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope_collector.bridges.temporal import failures
from sagascope_collector.bridges.temporal.facts import SECOND, UNSEEN, Error, Teller, clock
from sagascope_collector.bridges.temporal.place import Call, Run

PATIENCE: Final = 2 * SECOND
"""What a task may wait for a worker before it is asked whether there is one."""

TAKEN: Final = (State.PENDING_ACTIVITY_STATE_STARTED, State.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED)
PAUSED: Final = (State.PENDING_ACTIVITY_STATE_PAUSED, State.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED)

Unpolled = Callable[[str, bool], int]
"""Since when no worker polls a task queue, for activities or for workflows; 0: one does."""


class Obstacle(NamedTuple):
    """Why a run, or a call of it, cannot proceed."""

    cause: str = ""
    """One of `semconv.BLOCKED_CAUSES`; ``""``: nothing is in the way."""
    text: str = ""


NONE: Final = Obstacle()


class Look:
    """One look at a run whose history was read.

    Args:
        run: where it stands; moved on.
        teller: takes what is to be told.
        unpolled: asks for the workers of a task queue.
        now: in nanoseconds since 1970.
    """

    def __init__(self, run: Run, teller: Teller, unpolled: Unpolled, now: int) -> None:
        self._run = run
        self._teller = teller
        self._unpolled = unpolled
        self._now = now
        self.next = 0
        """When something is to happen that is worth another look; 0: nobody knows."""

    def take(self, described: DescribeWorkflowExecutionResponse) -> None:
        """Tell what is new."""
        calls = {call.activity: call for call in self._run.calls.values() if not call.child}
        for pending in described.pending_activities:
            call = calls.get(pending.activity_id)
            if call is not None:
                self._activity(call, pending)
        task = described.pending_workflow_task if described.HasField("pending_workflow_task") else None
        self._timer(is_resting=task is None and not self._run.calls)
        self._note_of_run(task)

    def _activity(self, call: Call, pending: PendingActivityInfo) -> None:
        is_taken = pending.state in TAKEN or _is_pausing(pending)
        if pending.attempt - 1 > call.over:
            self._failed(call, pending, is_taken=is_taken)
        due = _nanoseconds(pending, "next_attempt_schedule_time") or _nanoseconds(pending, "scheduled_time")
        if is_taken:
            self._taken(call, pending)
        elif due > self._now:
            self.next = min(self.next or due, due)
        elif pending.attempt > call.attempt and pending.state not in PAUSED:
            self._step_on(call, pending.attempt, due, is_taken=False)
            self._teller.waiting(call, call.attempt, due)
        self._note(call, self._why(call, pending, due, is_taken=is_taken))

    def _failed(self, call: Call, pending: PendingActivityInfo, *, is_taken: bool) -> None:
        """The try before this one failed; of those before it, nothing is known but one that was told of."""
        number, over = pending.attempt - 1, _nanoseconds(pending, "last_attempt_complete_time")
        known = call.since if call.attempt == number else call.due
        begun = min(known or over, over) or self._now
        over = over or begun
        if call.over < call.attempt < number:
            self._teller.attempt(call, call.attempt, call.since, begun, error=UNSEEN)
        due = _nanoseconds(pending, "next_attempt_schedule_time")
        retry_in = (due - over) / SECOND if due > over and not is_taken else None
        error = Error(failures.said(pending.last_failure), failures.kind(pending.last_failure))
        worker = "" if is_taken else pending.last_worker_identity
        self._teller.attempt(call, number, begun, over, worker=worker, error=error, retry_in=retry_in)
        self._step_on(call, number, begun, is_taken=True)
        call.over, call.is_taken, call.due = number, False, due

    def _taken(self, call: Call, pending: PendingActivityInfo) -> None:
        if call.is_taken and call.attempt == pending.attempt:
            return
        since = _nanoseconds(pending, "last_started_time") or self._now
        self._step_on(call, pending.attempt, since, is_taken=True)
        self._teller.attempt(call, call.attempt, since, worker=pending.last_worker_identity)

    def _step_on(self, call: Call, number: int, since: int, *, is_taken: bool) -> None:
        if call.attempt != number:
            self._note(call, NONE)
        call.attempt, call.since, call.is_taken = number, since, is_taken

    def _why(self, call: Call, pending: PendingActivityInfo, due: int, *, is_taken: bool) -> Obstacle:
        if pending.paused or pending.state in PAUSED:
            return Obstacle("paused", _paused(pending))
        if is_taken or not due or self._now < due + PATIENCE:
            return NONE
        since = self._unpolled(call.queue, True)
        text = f"no worker polls the task queue {call.queue} since {clock(since)}"
        return Obstacle("no_worker", text) if since else NONE

    def _note_of_run(self, task: PendingWorkflowTaskInfo | None) -> None:
        """After the timer's: a task that waits, or fails, is not waiting for one."""
        obstacle = self._of_task(task) if task is not None else NONE
        if obstacle.text != self._run.note:
            self._teller.note(obstacle.text, self._now, cause=obstacle.cause)
            self._run.note = obstacle.text

    def _of_task(self, task: PendingWorkflowTaskInfo) -> Obstacle:
        run = self._run
        if task.attempt > 1 and run.task_failed:
            since = clock(run.task_failed_at)
            return Obstacle("task_failing", f"the workflow's own task fails since {since}: {run.task_failed}")
        waits = task.scheduled_time.ToNanoseconds()
        if task.HasField("started_time") or not waits or self._now < waits + PATIENCE:
            return NONE
        unpolled = self._unpolled(run.queue, False)
        text = f"no worker polls the task queue {run.queue} for workflows since {clock(unpolled)}"
        return Obstacle("no_worker", text) if unpolled else NONE

    def _note(self, call: Call, obstacle: Obstacle) -> None:
        if obstacle.text != call.note:
            self._teller.note(obstacle.text, self._now, call, cause=obstacle.cause)
            call.note = obstacle.text

    def _timer(self, *, is_resting: bool) -> None:
        """A timer is what the run waits for where it waits for nothing else."""
        run, until = self._run, min(self._run.timers.values(), default=0)
        if until > self._now:
            self.next = min(self.next or until, until)
        waits_until = until if is_resting else 0
        if waits_until and waits_until != run.waits_until:
            self._teller.timer(until, self._now)
        elif run.waits_until and not waits_until:
            self._teller.note("", self._now)
        if waits_until != run.waits_until:
            run.waits_until, run.note = waits_until, ""


def _is_pausing(pending: PendingActivityInfo) -> bool:
    return pending.state == State.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED


def _paused(pending: PendingActivityInfo) -> str:
    info = pending.pause_info
    since = f" since {clock(info.pause_time.ToNanoseconds())}" if info.HasField("pause_time") else ""
    manual = info.manual if info.HasField("manual") else None
    by = f" by {manual.identity}" if manual is not None and manual.identity else ""
    why = f" ({manual.reason})" if manual is not None and manual.reason else ""
    return f"the activity is paused{by}{since}{why}"


def _nanoseconds(message: Any, field: str) -> int:
    """A time, in nanoseconds since 1970; 0: it was not said."""
    return int(getattr(message, field).ToNanoseconds()) if message.HasField(field) else 0
