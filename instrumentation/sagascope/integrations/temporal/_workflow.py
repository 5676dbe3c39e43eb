"""In the workflow: it counts the calls and knows what was done, in a replay as well; it tells only of what is new.

This code runs in the workflow's sandbox. It asks for no time, no chance and no file, and changes no command.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ActivityError, CancelledError, TimeoutError, TimeoutType  # noqa: A004
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from sagascope import semconv
from sagascope._guard import Guard
from sagascope._progress import Progress
from sagascope.integrations.temporal._run import Call, Run
from sagascope.integrations.temporal._telling import Telling

HEADER = "sagascope"
"""Names the header in which an activity is told what its workflow knows of it."""

EXTERN = "__sagascope_telling"
"""Names what leads out of the sandbox."""

SECOND = 1_000_000_000

_NOTING = Guard("noting what a workflow does")
_CONVERTER = PayloadConverter.default


class Inbound(WorkflowInboundInterceptor):
    """What comes to a workflow: its beginning and its end, signals."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:  # noqa: A002 - Temporal's name
        super().__init__(next)
        self._course = Course(workflow.extern_functions()[EXTERN]())

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Stand between the workflow and what it calls for."""
        super().init(Outbound(outbound, self._course))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        """Run it."""
        course = self._course
        with _NOTING:
            course.begin(input.args)
        try:
            result = await super().execute_workflow(input)
        except BaseException as error:
            with _NOTING:
                course.leave(error)
            raise
        with _NOTING:
            course.end(None)
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        """Take a signal."""
        with _NOTING:
            self._course.signal(input.signal)
        await super().handle_signal(input)


class Outbound(WorkflowOutboundInterceptor):
    """What a workflow calls for."""

    def __init__(self, next: WorkflowOutboundInterceptor, course: "Course") -> None:  # noqa: A002
        super().__init__(next)
        self._course = course

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        """Call for an activity."""
        call = None
        with _NOTING:
            call = self._course.call(input.activity)
            input.headers = _headed(input.headers, call)
        handle = super().start_activity(input)
        if call is not None:
            with _NOTING:
                self._course.watch(call, input, handle)
        return handle

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        """Call for an activity that runs in the workflow's own worker."""
        call = None
        with _NOTING:
            call = self._course.call(input.activity)
            input.headers = _headed(input.headers, call)
        handle = super().start_local_activity(input)
        if call is not None:
            with _NOTING:
                handle.add_done_callback(lambda done: self._course.over(call, _error_of(done)))
        return handle

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        """Start a child workflow, a step of this one."""
        handle = await super().start_child_workflow(input)
        with _NOTING:
            self._course.child(self._course.call(input.workflow), handle)
        return handle

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        """Go on in another run."""
        with _NOTING:
            self._course.goes_on = True
        super().continue_as_new(input)


class Course:
    """What a run has called for and done. A replay takes it the same way."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._args: Sequence[Any] = ()
        self._calls: dict[str, int] = {}
        self._signals: dict[str, int] = {}
        self._undone: dict[str, str] = {}
        self._progress = Progress()
        self.goes_on = False

    def begin(self, args: Sequence[Any]) -> None:
        """The run begins."""
        self._args = args
        if not _is_replaying():
            self._telling.begun(_run(), args, _started())

    def leave(self, error: BaseException) -> None:
        """An error left the workflow: it ends it, or fails the task at which it stands."""
        # thrown away, anywhere and at any time: what is current here may be another workflow
        if isinstance(error, GeneratorExit) or _is_replaying():
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
        if not _is_replaying():
            end = workflow.time_ns()
            self._telling.ended(_run(), self._args, _started(), end, self._outcome(error), error)

    def _outcome(self, error: BaseException | None) -> str:
        plan = self._telling.rules.whole_plan(workflow.info().workflow_type, self._undone)
        if self._progress.is_undone(plan, at_the_end=error is None):
            return semconv.OUTCOME_COMPENSATED
        return semconv.OUTCOME_COMPLETED if error is None else semconv.OUTCOME_FAILED

    def signal(self, name: str) -> None:
        """A signal came."""
        number = self._signals[name] = self._signals.get(name, 0) + 1
        if not _is_replaying():
            self._telling.signalled(_run(), name, number, workflow.time_ns())

    def call(self, name: str) -> Call:
        """The next call of this name."""
        number = self._calls[name] = self._calls.get(name, 0) + 1
        undoes = self._telling.rules.undone_by(workflow.info().workflow_type, name)
        return Call(name, "" if number == 1 else str(number), undoes)

    def watch(self, call: Call, asked: StartActivityInput, handle: workflow.ActivityHandle[Any]) -> None:
        """An activity was called for."""
        activity = asked.activity_id or str(getattr(handle, "_seq", ""))
        queue, at = asked.task_queue or workflow.info().task_queue, workflow.time_ns()
        if activity and not _is_replaying():
            wait = asked.schedule_to_start_timeout
            self._telling.called(_run(), call, activity, queue, wait.total_seconds() if wait else None, at)

        def done(task: "asyncio.Task[Any]") -> None:
            with _NOTING:
                error = _error_of(task)
                self.over(call, error)
                if activity and error is not None and _may_be_untaken(error) and not _is_replaying():
                    self._telling.dropped(_run(), call, activity, queue, at, workflow.time_ns(), error)

        handle.add_done_callback(done)

    def child(self, call: Call, handle: workflow.ChildWorkflowHandle[Any, Any]) -> None:
        """A child workflow began."""
        at, ids = workflow.time_ns(), (handle.id, handle.first_execution_run_id or "")
        if not _is_replaying():
            self._telling.child(_run(), call, ids, at, None, None)

        def done(task: "asyncio.Task[Any]") -> None:
            with _NOTING:
                error = _error_of(task)
                self.over(call, error)
                if not _is_replaying():
                    self._telling.child(_run(), call, ids, at, workflow.time_ns(), error)

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
    """Whether nothing is new: in a replay, and while Temporal takes the workflow out of its memory."""
    return workflow.unsafe.is_replaying()


def _run() -> Run:
    info = workflow.info()
    return Run(info.workflow_id, info.workflow_type, info.run_id, info.task_queue)


def _started() -> int:
    return round(workflow.info().workflow_start_time.timestamp() * SECOND)


def _headed(headers: Any, call: Call) -> Any:
    told = call.write()
    return {**headers, HEADER: _CONVERTER.to_payload(told)} if told else headers


def read_header(headers: Any) -> dict[str, str]:
    """What a workflow told the activity; nothing where it told nothing, or something that cannot be read."""
    payload: Payload | None = headers.get(HEADER)
    told = _CONVERTER.from_payload(payload) if payload is not None else {}
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _error_of(task: "asyncio.Task[Any]") -> BaseException | None:
    return CancelledError("cancelled") if task.cancelled() else task.exception()


def _may_be_untaken(error: BaseException) -> bool:
    """Whether the call was given up though perhaps no worker had taken it: then no worker says that it is over."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, TimeoutError):
        return cause.type in (TimeoutType.SCHEDULE_TO_START, TimeoutType.SCHEDULE_TO_CLOSE)
    return isinstance(cause, (CancelledError, asyncio.CancelledError))
