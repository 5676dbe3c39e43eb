"""The plugin that clients and workers register, and the interceptor of clients."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from sagascope import _runtime
from sagascope._guard import Guard
from sagascope.integrations.temporal import _activity, _workflow
from sagascope.integrations.temporal._compensations import CompensationRule, CompensationRules
from sagascope.integrations.temporal._reporting import (
    Describe,
    WorkflowReporter,
    WorkflowRun,
    headers_with_trace,
    starting_links,
)

_STARTING = Guard("reporting the start of a workflow")


class SagascopePlugin(SimplePlugin):
    """Reports workflows and activities to Sagascope: ``Client.connect(..., plugins=[SagascopePlugin()])``.

    Workers use the plugin of their client; pass it to the worker if the client is not yours. It reports nothing before
    `sagascope.configure` or `install` is called.

    Args:
        compensations: The activity that each compensation compensates: ``{"refund": "charge"}``, or a function from the
            name of an activity to that of the compensated activity or None. The plugin also knows the declarations of
            `compensates`, the plan of a `sagascope.Saga` with the name of the workflow's type, and names such as
            ``undo_charge``.
        describe: Called with a workflow's type and its arguments; returns amount, currency and keys. It runs outside
            the workflow's sandbox, and its result does not affect the workflow.
        uninstrumented_queues: Task queues whose workers do not have this plugin, for example because they are written
            in another language. The workflow reports the end of their activities, as one attempt each.
    """

    def __init__(
        self,
        *,
        compensations: CompensationRule | None = None,
        describe: Describe | None = None,
        uninstrumented_queues: Iterable[str] = (),
    ) -> None:
        self._rules = CompensationRules(compensations)
        interceptor = _Interceptor(WorkflowReporter(self._rules, describe, uninstrumented_queues))
        super().__init__("sagascope", interceptors=[interceptor], workflow_runner=_with_passthrough)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Registers which of the worker's activities compensate another."""
        self._rules.register(config.get("activities") or ())
        return super().configure_worker(config)


class _Interceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Creates the interceptors of clients, activities and workflows."""

    def __init__(self, reporter: WorkflowReporter) -> None:
        self._reporter = reporter

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - Temporal's name
        return ClientInterceptor(next, self._reporter)

    def intercept_activity(
        self,
        next: temporalio.worker.ActivityInboundInterceptor,  # noqa: A002
    ) -> temporalio.worker.ActivityInboundInterceptor:
        return _activity.ActivityInterceptor(next, self._reporter.rules)

    def workflow_interceptor_class(
        self,
        input: temporalio.worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        reporter: Callable[[], Any] = lambda: self._reporter  # noqa: E731 - a name in a mapping
        input.unsafe_extern_functions[_workflow.REPORTER_FUNCTION] = reporter
        return _workflow.InboundInterceptor


class ClientInterceptor(OutboundInterceptor):
    """Reports a workflow as soon as the server accepts it, whether or not a worker ever starts it."""

    def __init__(self, next: OutboundInterceptor, reporter: WorkflowReporter) -> None:  # noqa: A002
        super().__init__(next)
        self._reporter = reporter

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        at = time.time_ns()
        if _runtime.active is not None:
            with _STARTING:
                input.headers = headers_with_trace(input.headers)
        handle = await super().start_workflow(input)
        if _runtime.active is not None:
            with _STARTING:
                self._report(input, handle, at)
        return handle

    def _report(self, requested: StartWorkflowInput, handle: WorkflowHandle[Any, Any], at: int) -> None:
        run_id = handle.first_execution_run_id
        if run_id and not requested.start_signal:  # with a start signal the workflow may have been running before
            run = WorkflowRun(handle.id, requested.workflow, run_id, requested.task_queue)
            self._reporter.report_workflow(run, requested.args, at, links=starting_links(requested.headers))


def _with_passthrough(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Returns a runner whose sandbox does not import Sagascope again for each run."""
    runner = runner or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules("sagascope"))
