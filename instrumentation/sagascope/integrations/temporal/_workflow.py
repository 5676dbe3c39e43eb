"""In workflow workers: follows what a run does, and reports what is new.

This code runs in the workflow's sandbox. It uses no clock, randomness or files of its own, and changes no command.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from opentelemetry.trace import Link
from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError, TimeoutError, TimeoutType  # noqa: A004
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from sagascope import semconv
from sagascope._context import SagaIdentity
from sagascope._errors import Guard
from sagascope._plan import Progress
from sagascope._runtime import NANOSECONDS_PER_SECOND
from sagascope._saga import RunningSaga, declared_plan, engine_sagas
from sagascope.integrations.temporal._reporting import (
    REPORTER_FUNCTION,
    ChildWorkflow,
    StepCall,
    WorkflowReporter,
    WorkflowRun,
    headers_with_call,
    report_waiting,
    root_span_context,
    starting_links,
)

_FOLLOWING = Guard("following a workflow")


class WorkflowSaga(RunningSaga):
    """The saga of the workflow whose code runs, as `sagascope.current` returns it: waits can be declared.

    A replay declares nothing, and no command of the workflow changes.
    """

    __slots__ = ("_run",)

    def __init__(self, run: WorkflowRun) -> None:
        identity = SagaIdentity(run.workflow_id, run.workflow_type, run.run_id)
        super().__init__(identity, declared_plan(run.workflow_type), {}, stays_open=True, is_new=False)
        self._run = run

    def _declare_wait(self, summary: str, attributes: dict[str, Any], reason: str | None) -> None:
        if not workflow.unsafe.is_replaying():
            reasons = {semconv.WAIT_REASON: reason} if reason is not None else {}
            report_waiting(self._run, f"the workflow {summary}", {**attributes, **reasons})

    def _add_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Adds nothing: the root span belongs to no process."""


def current_saga() -> WorkflowSaga | None:
    """Returns the saga of the workflow whose code runs; None outside of workflows with the plugin."""
    if not workflow.in_workflow() or REPORTER_FUNCTION not in workflow.extern_functions():
        return None
    return WorkflowSaga(_current_run())


engine_sagas.append(current_saga)


class InboundInterceptor(WorkflowInboundInterceptor):
    """Follows the start and the end of a run, signals and updates."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:  # noqa: A002 - Temporal's name
        super().__init__(next)
        self._run = RunState(workflow.extern_functions()[REPORTER_FUNCTION]())

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(OutboundInterceptor(outbound, self._run))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        run = self._run
        with _FOLLOWING:
            run.start(input.args)
        try:
            result = await super().execute_workflow(input)
        except BaseException as error:
            with _FOLLOWING:
                run.fail(error)
            raise
        with _FOLLOWING:
            run.end(None)
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        with _FOLLOWING:
            self._run.receive_signal(input.signal)
        await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        with _FOLLOWING:
            self._run.receive_update(input.update, input.id)
        return await super().handle_update_handler(input)


class OutboundInterceptor(WorkflowOutboundInterceptor):
    """Follows the activities and child workflows that a run starts."""

    def __init__(self, next: WorkflowOutboundInterceptor, run: "RunState") -> None:  # noqa: A002
        super().__init__(next)
        self._run = run

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        call = None
        with _FOLLOWING:
            call = self._run.next_call(input.activity)
            input.headers = headers_with_call(input.headers, call)
        handle = super().start_activity(input)
        if call is not None:
            with _FOLLOWING:
                self._run.follow_activity(call, input, handle)
        return handle

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        call = None
        with _FOLLOWING:
            call = self._run.next_call(input.activity)
            input.headers = headers_with_call(input.headers, call)
        handle = super().start_local_activity(input)
        if call is not None:
            with _FOLLOWING:
                handle.add_done_callback(lambda done: self._run.record_result(call, call_error(done)))
        return handle

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        handle = await super().start_child_workflow(input)
        with _FOLLOWING:
            self._run.follow_child(self._run.next_call(input.workflow), input, handle)
        return handle

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        with _FOLLOWING:
            self._run.continues_as_new = True
        super().continue_as_new(input)


class ActivityNotStarted(Exception):
    """No worker started an activity in time, so it was not executed."""


class RunState:
    """The calls and the progress of a run. A replay rebuilds the same state, and reports nothing."""

    def __init__(self, reporter: WorkflowReporter) -> None:
        self._reporter = reporter
        self._args: Sequence[Any] | None = None
        self._is_reported = False
        self._calls: dict[str, int] = {}
        self._signals: dict[str, int] = {}
        self._compensated: dict[str, str] = {}
        self._progress = Progress()
        self._has_failed = False
        self.continues_as_new = False

    def start(self, args: Sequence[Any]) -> None:
        self._args = args
        self._may_report()

    def _may_report(self) -> bool:
        """Returns whether to report what happens now, which is not the case in a replay.

        A worker that takes over a run reports its start once more. Otherwise a reset, or a start before Sagascope was
        installed, would be known only at the end.
        """
        if workflow.unsafe.is_replaying():  # also while Temporal evicts the workflow from its cache
            return False
        if not self._is_reported and self._args is not None:  # a signal can arrive before the start
            self._is_reported = True
            self._reporter.report_workflow(_current_run(), self._args, _start_time(), links=_origin_links())
        return True

    def fail(self, error: BaseException) -> None:
        """Records an error that left the workflow's code: it ends the run, or fails the current workflow task."""
        # an evicted run can be closed at any time, inside another workflow
        if isinstance(error, GeneratorExit) or not self._may_report():
            return
        if self.continues_as_new:
            self.end(None)
        elif isinstance(error, asyncio.CancelledError) or workflow.is_failure_exception(error):
            self.end(error)
        elif isinstance(error, Exception):
            history_length = workflow.info().get_current_history_length()
            self._reporter.report_failed_task(_current_run(), history_length, workflow.time_ns(), error)

    def end(self, error: BaseException | None) -> None:
        if self._may_report():
            self._reporter.report_workflow(
                _current_run(),
                self._args or (),
                _start_time(),
                workflow.time_ns(),
                outcome=self._outcome(error),
                error=error,
                links=_origin_links(),
            )

    def _outcome(self, error: BaseException | None) -> str:
        plan = self._reporter.rules.full_plan(workflow.info().workflow_type, self._compensated)
        if self._progress.is_compensated(plan, succeeded=error is None):
            return semconv.OUTCOME_COMPENSATED
        return semconv.OUTCOME_COMPLETED if error is None else semconv.OUTCOME_FAILED

    def receive_signal(self, name: str) -> None:
        number = self._signals[name] = self._signals.get(name, 0) + 1
        if self._may_report():
            self._reporter.report_signal(_current_run(), name, number, workflow.time_ns())

    def receive_update(self, name: str, update_id: str) -> None:
        if self._may_report():
            self._reporter.report_update(_current_run(), name, update_id, workflow.time_ns())

    def next_call(self, name: str) -> StepCall:
        """Returns the next call of this name."""
        number = self._calls[name] = self._calls.get(name, 0) + 1
        compensates = self._reporter.rules.compensated_step(workflow.info().workflow_type, name)
        committed = self._progress.committed_steps()
        compensates = compensates or semconv.compensated_by_name(name, committed, has_failed=self._has_failed)
        return StepCall(name, "" if number == 1 else str(number), compensates)

    def follow_activity(
        self, call: StepCall, requested: StartActivityInput, handle: workflow.ActivityHandle[Any]
    ) -> None:
        """Reports a scheduled activity, and follows it to its end."""
        activity_id = requested.activity_id or str(getattr(handle, "_seq", ""))
        queue, at = requested.task_queue or workflow.info().task_queue, workflow.time_ns()
        if activity_id and self._may_report():
            timeout = requested.schedule_to_start_timeout
            seconds = timeout.total_seconds() if timeout else None
            self._reporter.report_activity(_current_run(), call, activity_id, queue, at, timeout=seconds)

        def done(task: "asyncio.Task[Any]") -> None:
            with _FOLLOWING:
                error = call_error(task)
                self.record_result(call, error)
                unreported = _unreported_error(error, queue)
                is_ours = queue in self._reporter.uninstrumented_queues or unreported is not None
                if activity_id and is_ours and self._may_report():
                    run, end, failure = _current_run(), workflow.time_ns(), unreported or error
                    self._reporter.report_activity(run, call, activity_id, queue, at, end, error=failure)

        handle.add_done_callback(done)

    def follow_child(
        self, call: StepCall, requested: StartChildWorkflowInput, handle: workflow.ChildWorkflowHandle[Any, Any]
    ) -> None:
        """Reports a child workflow that started, and follows it to its end."""
        timeout = requested.execution_timeout or requested.run_timeout
        seconds = timeout.total_seconds() if timeout else None
        child = ChildWorkflow(handle.id, handle.first_execution_run_id or "", seconds)
        at = workflow.time_ns()
        if self._may_report():
            self._reporter.report_child(_current_run(), call, child, at)

        def done(task: "asyncio.Task[Any]") -> None:
            with _FOLLOWING:
                error = call_error(task)
                self.record_result(call, error)
                if self._may_report():
                    self._reporter.report_child(_current_run(), call, child, at, workflow.time_ns(), error)

        handle.add_done_callback(done)

    def record_result(self, call: StepCall, error: BaseException | None) -> None:
        """Records the result of a call."""
        if error is not None:
            self._has_failed = True
            return
        if call.compensates:
            self._compensated[call.compensates] = call.name
            self._progress.compensate(call.compensates, call.key)
        else:
            self._progress.commit(call.name, call.key)


def _current_run() -> WorkflowRun:
    info = workflow.info()
    timeout = info.execution_timeout or info.run_timeout
    seconds = timeout.total_seconds() if timeout else None
    return WorkflowRun(info.workflow_id, info.workflow_type, info.run_id, info.task_queue, seconds)


def _start_time() -> int:
    return round(workflow.info().workflow_start_time.timestamp() * NANOSECONDS_PER_SECOND)


def _origin_links() -> tuple[Link, ...]:
    """Returns links to the span that started the run, to its parent, and to the run that it continues."""
    info = workflow.info()
    parents = [info.parent.run_id] if info.parent is not None else []
    runs = [*parents, *([info.continued_run_id] if info.continued_run_id else [])]
    return (*starting_links(info.headers), *(Link(root_span_context(run)) for run in runs))


def call_error(task: "asyncio.Task[Any]") -> BaseException | None:
    """Returns the error of a call; None if it succeeded."""
    return CancelledError("cancelled") if task.cancelled() else task.exception()


def _unreported_error(error: BaseException | None, queue: str) -> BaseException | None:
    """Returns the error of a call that possibly no worker has started, and so none reports; otherwise None."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START:
        return ActivityNotStarted(f"no worker of task queue {queue} started it within its schedule-to-start timeout")
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_CLOSE:
        return error
    return error if isinstance(cause, (CancelledError, asyncio.CancelledError)) else None
