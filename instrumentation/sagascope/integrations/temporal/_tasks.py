"""In workflow workers: reports workflow tasks that fail, which the server retries without end, and their recovery.

It follows activations from outside of the workflow's sandbox: no interceptor sees a non-determinism, or an error of a
signal handler.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from sagascope._errors import Guard
from sagascope.integrations.temporal._reporting import REPORTER_FUNCTION, WorkflowReporter, WorkflowRun

FIRST_TASK_EVENTS = 3
"""The events of a history until its first workflow task starts."""

MAX_CAUSES = 8

MESSAGE = re.compile(r'message: "(?P<message>(?:[^"\\]|\\.)+)"')

_FOLLOWING = Guard("following the tasks of a workflow")

_Activate = Callable[[WorkflowActivation], WorkflowActivationCompletion]


def following(runner: WorkflowRunner, worker: str) -> WorkflowRunner:
    """Returns a runner whose workflows report failing tasks; a runner of an unknown type is returned as it is.

    Args:
        runner: the configured runner.
        worker: the build or the identity of the worker, for people.
    """
    if type(runner) is SandboxedWorkflowRunner:
        return _SandboxedRunner(runner.restrictions, runner.runner_class, worker=worker)
    return _UnsandboxedRunner(worker) if type(runner) is UnsandboxedWorkflowRunner else runner


@dataclass(frozen=True)
class _SandboxedRunner(SandboxedWorkflowRunner):
    worker: str = ""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _followed(super().create_instance(det), det, self.worker)


@dataclass(frozen=True)
class _UnsandboxedRunner(UnsandboxedWorkflowRunner):
    worker: str = ""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _followed(super().create_instance(det), det, self.worker)


def _followed(instance: WorkflowInstance, details: WorkflowInstanceDetails, worker: str) -> WorkflowInstance:
    reporter = details.extern_functions.get(REPORTER_FUNCTION)
    if reporter is not None:
        info = details.info
        run = WorkflowRun(info.workflow_id, info.workflow_type, info.run_id, info.task_queue)
        tasks = _Tasks(reporter(), run, worker, instance.activate)
        instance.activate = tasks.activate  # type: ignore[assignment, method-assign]
    return instance


class _Tasks:
    """The workflow tasks of one run, while it is in the cache of this worker."""

    def __init__(self, reporter: WorkflowReporter, run: WorkflowRun, worker: str, activate: _Activate) -> None:
        self._reporter = reporter
        self._run = run
        self._worker = worker
        self._activate = activate

    def activate(self, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = self._activate(activation)
        with _FOLLOWING:
            self._follow(activation, completion)
        return completion

    def _follow(self, activation: WorkflowActivation, completion: WorkflowActivationCompletion) -> None:
        jobs = [job for job in activation.jobs if not job.HasField("query_workflow")]
        evictions = [job.remove_from_cache for job in jobs if job.HasField("remove_from_cache")]
        if completion.HasField("failed"):
            self._reporter.report_failing_task(self._run, self._worker, error_attributes(completion.failed.failure))
        elif evictions:
            if evictions[0].reason == RemoveFromCache.NONDETERMINISM:
                message = inner_message(evictions[0].message)
                attributes = {"exception.type": "NondeterminismError", "exception.message": message}
                self._reporter.report_failing_task(self._run, self._worker, attributes)
        elif jobs and not activation.is_replaying:
            is_taken_over = activation.history_length > FIRST_TASK_EVENTS
            self._reporter.report_task_success(self._run, is_taken_over=is_taken_over)


def inner_message(text: str) -> str:
    """Returns the message in an error that Temporal wrote for programmers: `Failure { message: "...", ... }`."""
    found = MESSAGE.search(text)
    return found["message"].replace('\\"', '"') if found else text


def error_attributes(failure: Failure) -> dict[str, Any]:
    """Returns the attributes of an error with its causes."""
    messages, cause = [failure.message], failure
    while cause.HasField("cause") and len(messages) < MAX_CAUSES:
        cause = cause.cause
        messages.append(cause.message)
    attributes = {
        "exception.type": failure.application_failure_info.type,
        "exception.message": ", caused by ".join(filter(None, messages)),
        "exception.stacktrace": failure.stack_trace,
    }
    return {name: value for name, value in attributes.items() if value}
