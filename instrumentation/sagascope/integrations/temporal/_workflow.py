"""In the workflow: stands between it and Temporal.

This code runs in the workflow's sandbox. It asks for no time, no chance and no file, and changes no command.
"""

from typing import Any, NoReturn

from temporalio import workflow
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

from sagascope._guard import Guard
from sagascope.integrations.temporal import _header
from sagascope.integrations.temporal._course import Course, error_of

EXTERN = "__sagascope_telling"
"""Names what leads out of the sandbox."""

_NOTING = Guard("noting what a workflow does")


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

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        """Take an update."""
        with _NOTING:
            self._course.update(input.update, input.id)
        return await super().handle_update_handler(input)


class Outbound(WorkflowOutboundInterceptor):
    """What a workflow calls for."""

    def __init__(self, next: WorkflowOutboundInterceptor, course: Course) -> None:  # noqa: A002
        super().__init__(next)
        self._course = course

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        """Call for an activity."""
        call = None
        with _NOTING:
            call = self._course.call(input.activity)
            input.headers = _header.with_call(input.headers, call)
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
            input.headers = _header.with_call(input.headers, call)
        handle = super().start_local_activity(input)
        if call is not None:
            with _NOTING:
                handle.add_done_callback(lambda done: self._course.over(call, error_of(done)))
        return handle

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        """Start a child workflow, a step of this one."""
        handle = await super().start_child_workflow(input)
        with _NOTING:
            self._course.child(self._course.call(input.workflow), input, handle)
        return handle

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        """Go on in another run."""
        with _NOTING:
            self._course.goes_on = True
        super().continue_as_new(input)
