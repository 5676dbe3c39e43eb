"""At the client: a workflow is told of as soon as the server has it, whether or not a worker ever takes it."""

import time
from typing import Any

from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle

from sagascope import _runtime
from sagascope._guard import Guard
from sagascope.integrations.temporal import _header
from sagascope.integrations.temporal._run import Run
from sagascope.integrations.temporal._telling import Telling

_STARTING = Guard("noting that a workflow is started")


class Outbound(OutboundInterceptor):
    """Notes which workflows are started."""

    def __init__(self, next: OutboundInterceptor, telling: Telling) -> None:  # noqa: A002 - Temporal's name
        super().__init__(next)
        self._telling = telling

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        """Start it, and say that it is."""
        at = time.time_ns()
        if _runtime.active is not None:
            with _STARTING:
                input.headers = _header.with_trace(input.headers)
        handle = await super().start_workflow(input)
        if _runtime.active is not None:
            with _STARTING:
                self._note(input, handle, at)
        return handle

    def _note(self, asked: StartWorkflowInput, handle: WorkflowHandle[Any, Any], at: int) -> None:
        run = handle.first_execution_run_id
        if run and not asked.start_signal:  # a signal may have met a workflow that runs since long
            links = _header.links(asked.headers)
            self._telling.begun(Run(handle.id, asked.workflow, run, asked.task_queue), asked.args, at, links)
