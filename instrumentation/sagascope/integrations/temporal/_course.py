"""What a run of a workflow has called for and done: known in a replay as well, and told of only where it is new."""

import asyncio
from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import Link
from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError, TimeoutError, TimeoutType  # noqa: A004
from temporalio.worker import StartActivityInput, StartChildWorkflowInput

from sagascope import semconv
from sagascope._guard import Guard
from sagascope._progress import Progress
from sagascope.integrations.temporal import _header, _spans
from sagascope.integrations.temporal._run import Call, Child, Run
from sagascope.integrations.temporal._telling import Telling

SECOND = 1_000_000_000

_NOTING = Guard("noting what became of a call")


class NotTaken(Exception):
    """No worker took an activity in time: it was not done."""


class Course:
    """What a run has called for and done. A replay takes it the same way."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._args: Sequence[Any] | None = None
        self._is_told = False
        self._calls: dict[str, int] = {}
        self._signals: dict[str, int] = {}
        self._undone: dict[str, str] = {}
        self._progress = Progress()
        self.goes_on = False

    def begin(self, args: Sequence[Any]) -> None:
        """The run begins."""
        self._args = args
        self._is_new()

    def _is_new(self) -> bool:
        """Whether what happens now is to be told.

        A worker that takes a run up again tells of its beginning once more: a reset, or a start before Sagascope was
        there, would otherwise be known at the end only.
        """
        if _is_replaying():
            return False
        if not self._is_told and self._args is not None:  # a signal may come before the beginning
            self._is_told = True
            self._telling.begun(_run(), self._args, _started(), _links())
        return True

    def leave(self, error: BaseException) -> None:
        """An error left the workflow: it ends it, or fails the task at which it stands."""
        # thrown away, anywhere and at any time: what is current here may be another workflow
        if isinstance(error, GeneratorExit) or not self._is_new():
            return
        if self.goes_on:
            self.end(None)
        elif isinstance(error, asyncio.CancelledError) or workflow.is_failure_exception(error):
            self.end(error)
        elif isinstance(error, Exception):
            length = workflow.info().get_current_history_length()
            self._telling.task_failed(_run(), length, workflow.time_ns(), error)

    def end(self, error: BaseException | None) -> None:
        """The run ends."""
        if self._is_new():
            end = workflow.time_ns()
            self._telling.ended(_run(), self._args or (), (_started(), end), self._outcome(error), error, _links())

    def _outcome(self, error: BaseException | None) -> str:
        plan = self._telling.rules.whole_plan(workflow.info().workflow_type, self._undone)
        if self._progress.is_undone(plan, at_the_end=error is None):
            return semconv.OUTCOME_COMPENSATED
        return semconv.OUTCOME_COMPLETED if error is None else semconv.OUTCOME_FAILED

    def signal(self, name: str) -> None:
        """A signal came."""
        number = self._signals[name] = self._signals.get(name, 0) + 1
        if self._is_new():
            self._telling.signalled(_run(), name, number, workflow.time_ns())

    def update(self, name: str, update: str) -> None:
        """An update came."""
        if self._is_new():
            self._telling.updated(_run(), name, update, workflow.time_ns())

    def call(self, name: str) -> Call:
        """The next call of this name."""
        number = self._calls[name] = self._calls.get(name, 0) + 1
        undoes = self._telling.rules.undone_by(workflow.info().workflow_type, name)
        return Call(name, "" if number == 1 else str(number), undoes)

    def watch(self, call: Call, asked: StartActivityInput, handle: workflow.ActivityHandle[Any]) -> None:
        """An activity was called for."""
        activity = asked.activity_id or str(getattr(handle, "_seq", ""))
        queue, at = asked.task_queue or workflow.info().task_queue, workflow.time_ns()
        if activity and self._is_new():
            wait = asked.schedule_to_start_timeout
            self._telling.called(_run(), call, activity, queue, wait.total_seconds() if wait else None, at)

        def done(task: "asyncio.Task[Any]") -> None:
            with _NOTING:
                error = error_of(task)
                self.over(call, error)
                alone, why = queue in self._telling.elsewhere, _given_up(error, queue)
                if activity and (alone or why is not None) and self._is_new():
                    self._telling.settled(_run(), call, activity, queue, (at, workflow.time_ns()), why or error)

        handle.add_done_callback(done)

    def child(self, call: Call, asked: StartChildWorkflowInput, handle: workflow.ChildWorkflowHandle[Any, Any]) -> None:
        """A child workflow began."""
        timeout = asked.execution_timeout or asked.run_timeout
        child = Child(handle.id, handle.first_execution_run_id or "", timeout.total_seconds() if timeout else None)
        at = workflow.time_ns()
        if self._is_new():
            self._telling.child(_run(), call, child, at, None, None)

        def done(task: "asyncio.Task[Any]") -> None:
            with _NOTING:
                error = error_of(task)
                self.over(call, error)
                if self._is_new():
                    self._telling.child(_run(), call, child, at, workflow.time_ns(), error)

        handle.add_done_callback(done)

    def over(self, call: Call, error: BaseException | None) -> None:
        """What was called for is over."""
        if error is not None:
            return
        if call.undoes:
            self._undone[call.undoes] = call.name
            self._progress.undo(call.undoes, "")
        else:
            self._progress.commit(call.name, call.key)


def _is_replaying() -> bool:
    """Whether nothing is new: also while Temporal takes the workflow out of its memory."""
    return workflow.unsafe.is_replaying()


def _run() -> Run:
    info = workflow.info()
    return Run(info.workflow_id, info.workflow_type, info.run_id, info.task_queue)


def _started() -> int:
    return round(workflow.info().workflow_start_time.timestamp() * SECOND)


def _links() -> tuple[Link, ...]:
    """Where the run comes from: who started it, its parent, the run that it continues."""
    info = workflow.info()
    parents = [info.parent.run_id] if info.parent is not None else []
    runs = [*parents, *([info.continued_run_id] if info.continued_run_id else [])]
    return (*_header.links(info.headers), *(Link(_spans.root(run)) for run in runs))


def error_of(task: "asyncio.Task[Any]") -> BaseException | None:
    """With what a call failed; None: it ended well."""
    return CancelledError("cancelled") if task.cancelled() else task.exception()


def _given_up(error: BaseException | None, queue: str) -> BaseException | None:
    """With what a call failed that no worker need have taken, so that perhaps none says that it is over; else None."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START:
        return NotTaken(f"no worker took it from {queue} in the time that it was given for that")
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_CLOSE:
        return error
    return error if isinstance(cause, (CancelledError, asyncio.CancelledError)) else None
