"""The plugin that clients and workers register, and what it does in clients, around activities and workflow tasks."""

import asyncio
import functools
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import temporalio.client
import temporalio.worker
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import NonRecordingSpan, SpanKind, get_current_span, set_span_in_context
from temporalio import activity
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    UnsandboxedWorkflowRunner,
    WorkerConfig,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from sagascope import _runtime, semconv
from sagascope._context import SagaContext, SagaIdentity, SpanScope
from sagascope._errors import Guard
from sagascope._runtime import Runtime
from sagascope.integrations.temporal import _workflow
from sagascope.integrations.temporal._reporting import (
    REPORTER_FUNCTION,
    CompensationRule,
    CompensationRules,
    Describe,
    StepCall,
    WorkflowReporter,
    WorkflowRun,
    headers_with_trace,
    read_header,
    root_span_context,
    span_id,
    starting_links,
)

MAX_BACKOFF_EXPONENT = 64
"""Beyond it the maximum interval is reached whatever the coefficient."""

DEFAULT_MAX_INTERVAL_FACTOR = 100
"""Temporal's default for the maximum interval of a retry policy, in initial intervals."""

_STARTING = Guard("reporting the start of a workflow")
_OPENING = Guard("starting an attempt of an activity")
_CLOSING = Guard("ending an attempt of an activity")


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
        """Registers which of the worker's activities compensate another, and follows its workflow tasks."""
        self._rules.register(config.get("activities") or ())
        config = super().configure_worker(config)
        worker = _worker_name(config)
        sandboxed = config.get("workflow_runner") or SandboxedWorkflowRunner()
        config["workflow_runner"] = with_task_reports(sandboxed, worker)
        unsandboxed = config.get("unsandboxed_workflow_runner") or UnsandboxedWorkflowRunner()
        config["unsandboxed_workflow_runner"] = with_task_reports(unsandboxed, worker)
        return config


def _worker_name(config: WorkerConfig) -> str:
    """Returns the worker's build, else its identity: it tells with which deployment failures began."""
    deployment, client = config.get("deployment_config"), config.get("client")
    build = deployment.version.build_id if deployment is not None else config.get("build_id")
    identity = config.get("identity") or (client.service_client.config.identity if client is not None else "")
    return f"build {build}" if build else f"worker {identity}"


class _Interceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Creates the interceptors of clients, activities and workflows."""

    def __init__(self, reporter: WorkflowReporter) -> None:
        self._reporter = reporter

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - Temporal's name
        return ClientInterceptor(next, self._reporter)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return ActivityInterceptor(next, self._reporter.rules)

    def workflow_interceptor_class(
        self,
        input: temporalio.worker.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[temporalio.worker.WorkflowInboundInterceptor]:
        reporter: Callable[[], Any] = lambda: self._reporter  # noqa: E731 - a name in a mapping
        input.unsafe_extern_functions[REPORTER_FUNCTION] = reporter
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
            timeout = requested.execution_timeout or requested.run_timeout
            seconds = timeout.total_seconds() if timeout else None
            run = WorkflowRun(handle.id, requested.workflow, run_id, requested.task_queue, seconds)
            self._reporter.report_workflow(run, requested.args, at, links=starting_links(requested.headers))


def _with_passthrough(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Returns a runner whose sandbox does not import Sagascope again for each run."""
    runner = runner or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules("sagascope"))


# --- attempts of activities ------------------------------------------------------------------------


class ActivityInterceptor(ActivityInboundInterceptor):
    """Puts an attempt around the execution of an activity."""

    def __init__(self, next: ActivityInboundInterceptor, rules: CompensationRules) -> None:  # noqa: A002 - Temporal's name
        super().__init__(next)
        self._rules = rules

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        runtime, info = _runtime.active, activity.info()
        if runtime is None or info.workflow_id is None or info.workflow_run_id is None:
            return await super().execute_activity(input)
        attempt = ActivityAttempt(info)
        with _OPENING:
            attempt.open(runtime, self._call(info, input))
            input.fn = attempt.with_context(input)
        try:
            result = await super().execute_activity(input)
        except BaseException as error:
            with _CLOSING:
                attempt.close(error)
            raise
        with _CLOSING:
            attempt.close(None)
        return result

    def _call(self, info: activity.Info, requested: ExecuteActivityInput) -> StepCall:
        header = read_header(requested.headers)
        compensates = self._rules.compensated_step(info.workflow_type or "", info.activity_type, requested.fn)
        return StepCall(info.activity_type, header.get("key", ""), compensates or header.get("compensates", ""))


class ActivityAttempt(SpanScope):
    """One attempt of an activity, while it runs here."""

    __slots__ = ("_info",)

    def __init__(self, info: activity.Info) -> None:
        self._span = None
        self._info = info

    def open(self, runtime: Runtime, call: StepCall) -> None:
        info, context = self._info, get_current()
        run = WorkflowRun(info.workflow_id or "", info.workflow_type or "", info.workflow_run_id or "")
        # the identity travels in headers of the service's own calls
        identity = SagaIdentity(
            runtime.redact_identifier(semconv.SAGA_ID, run.workflow_id),
            run.workflow_type,
            runtime.redact_identifier(semconv.SAGA_RUN_ID, run.run_id),
        )
        root = root_span_context(run.run_id)
        below_root = set_span_in_context(NonRecordingSpan(root), context)
        attributes = {**run.attributes, **call.attributes, **_attempt_attributes(info)}
        own_id = span_id(run.run_id, "activity", info.activity_id, info.attempt)
        span = runtime.start_span(call.name, below_root, attributes, (), SpanKind.CONSUMER, own_id)
        saga_context = SagaContext(identity, root, step=call.name, key=call.key, attempt=info.attempt)
        current = get_current_span(context).get_span_context()
        if not current.is_valid:
            current = runtime.propagated_context(call.name, span.get_span_context(), context)
        self._activate(runtime, span, current, saga_context, context)

    def close(self, error: BaseException | None) -> None:
        if self._span is None:
            return
        if isinstance(error, activity._CompleteAsyncError):  # noqa: SLF001 - there is no public name
            error = None
        if error is not None:
            self._span.set_attributes(retry_attributes(self._info, error))
        self._end_span(error)

    def with_context(self, requested: ExecuteActivityInput) -> Callable[..., Any]:
        """Returns the activity's function; in a thread it runs in our context, which Temporal does not pass on."""
        if self._span is None or not isinstance(requested.executor, ThreadPoolExecutor):
            return requested.fn
        return functools.wraps(requested.fn)(functools.partial(_run_in, self._entered, requested.fn))


def _run_in(context: Context, function: Callable[..., Any], *args: Any) -> Any:
    token = attach(context)
    try:
        return function(*args)
    finally:
        detach(token)


def _attempt_attributes(info: activity.Info) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_ATTEMPT: info.attempt,
        semconv.TEMPORAL_TASK_QUEUE: info.task_queue,
        semconv.TEMPORAL_ACTIVITY_ID: info.activity_id,
        semconv.TEMPORAL_SCHEDULED_AT: info.current_attempt_scheduled_time.timestamp(),
    }
    policy, timeout = info.retry_policy, info.start_to_close_timeout or info.schedule_to_close_timeout
    if policy is not None and policy.maximum_attempts:
        attributes[semconv.STEP_MAX_ATTEMPTS] = policy.maximum_attempts
    if timeout:
        attributes[semconv.STEP_TIMEOUT] = timeout.total_seconds()
    return attributes


# --- retries ---------------------------------------------------------------------------------------


def retry_attributes(info: activity.Info, error: BaseException) -> dict[str, Any]:
    """Returns what the server does after a failed attempt, by its retry policy.

    The attributes are the wait until the next attempt, or the number of the last attempt; none if it is unknown.
    """
    policy = info.retry_policy
    if policy is None or isinstance(error, (asyncio.CancelledError, CancelledError)):
        return {}
    wait = _retry_wait(policy, info.attempt, error)
    if _is_last_attempt(policy, info.attempt, error) or _is_past_deadline(info, wait):
        return {semconv.STEP_MAX_ATTEMPTS: info.attempt}
    return {semconv.STEP_RETRY_IN: wait.total_seconds()}


def _retry_wait(policy: RetryPolicy, attempt: int, error: BaseException) -> timedelta:
    if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
        return error.next_retry_delay
    maximum = policy.maximum_interval or policy.initial_interval * DEFAULT_MAX_INTERVAL_FACTOR
    exponent = min(attempt - 1, MAX_BACKOFF_EXPONENT)
    seconds = policy.initial_interval.total_seconds() * policy.backoff_coefficient**exponent
    return min(maximum, timedelta(seconds=min(seconds, maximum.total_seconds())))


def _is_last_attempt(policy: RetryPolicy, attempt: int, error: BaseException) -> bool:
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return True
    if isinstance(error, ApplicationError) and error.non_retryable:
        return True
    kind = error.type if isinstance(error, ApplicationError) else type(error).__name__
    return kind in (policy.non_retryable_error_types or ())


def _is_past_deadline(info: activity.Info, wait: timedelta) -> bool:
    """Returns whether the time for all attempts ends before the next attempt."""
    if not info.schedule_to_close_timeout:
        return False
    return datetime.now(UTC) + wait >= info.scheduled_time + info.schedule_to_close_timeout


# --- workflow tasks --------------------------------------------------------------------------------
# Activations are followed outside of the workflow's sandbox: no interceptor sees a non-determinism, or an error of a
# signal handler.

FIRST_TASK_EVENTS = 3
"""The events of a history until its first workflow task starts."""

MAX_CAUSES = 8

_MESSAGE = re.compile(r'message: "(?P<message>(?:[^"\\]|\\.)+)"')

_FOLLOWING = Guard("following the tasks of a workflow")

_Activate = Callable[[WorkflowActivation], WorkflowActivationCompletion]


def with_task_reports(runner: WorkflowRunner, worker: str) -> WorkflowRunner:
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
        return _instance_with_reports(super().create_instance(det), det, self.worker)


@dataclass(frozen=True)
class _UnsandboxedRunner(UnsandboxedWorkflowRunner):
    worker: str = ""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _instance_with_reports(super().create_instance(det), det, self.worker)


def _instance_with_reports(
    instance: WorkflowInstance, details: WorkflowInstanceDetails, worker: str
) -> WorkflowInstance:
    reporter = details.extern_functions.get(REPORTER_FUNCTION)
    if reporter is not None:
        info = details.info
        run = WorkflowRun(info.workflow_id, info.workflow_type, info.run_id, info.task_queue)
        tasks = _WorkflowTasks(reporter(), run, worker, instance.activate)
        instance.activate = tasks.activate  # type: ignore[assignment, method-assign]
    return instance


class _WorkflowTasks:
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
            # the worker that had this run before may have reported a failing task
            is_taken_over = activation.history_length > FIRST_TASK_EVENTS
            self._reporter.report_task_success(self._run, is_taken_over=is_taken_over)


def inner_message(text: str) -> str:
    """Returns the message in an error that Temporal wrote for programmers: `Failure { message: "...", ... }`."""
    found = _MESSAGE.search(text)
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
