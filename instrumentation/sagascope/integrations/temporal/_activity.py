"""In the worker: one span around each try of an activity, with what Temporal knows of it."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanKind,
    get_current_span,
    set_span_in_context,
)
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from sagascope import _runtime, semconv
from sagascope._context import Place
from sagascope._guard import Guard
from sagascope._identity import Identity
from sagascope._runtime import Runtime
from sagascope._scope import Scope
from sagascope.integrations.temporal import _header, _spans
from sagascope.integrations.temporal._retries import after
from sagascope.integrations.temporal._rules import Rules
from sagascope.integrations.temporal._run import Call, Run

_OPENING = Guard("opening an attempt of an activity")
_CLOSING = Guard("closing an attempt of an activity")


class Inbound(ActivityInboundInterceptor):
    """What a worker is to do."""

    def __init__(self, next: ActivityInboundInterceptor, rules: Rules) -> None:  # noqa: A002 - Temporal's name
        super().__init__(next)
        self._rules = rules

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """Do it, inside its attempt."""
        runtime, info = _runtime.active, activity.info()
        if runtime is None or info.workflow_id is None or info.workflow_run_id is None:
            return await super().execute_activity(input)
        attempt = Try(info)
        with _OPENING:
            attempt.open(runtime, self._call(info, input))
            input.fn = attempt.carried_into(input)
        try:
            result = await super().execute_activity(input)
        except BaseException as error:
            with _CLOSING:
                attempt.close(error)
            raise
        with _CLOSING:
            attempt.close(None)
        return result

    def _call(self, info: activity.Info, asked: ExecuteActivityInput) -> Call:
        told = _header.read(asked.headers)
        undoes = self._rules.undone_by(info.workflow_type or "", info.activity_type, asked.fn)
        return Call(info.activity_type, told.get("key", ""), undoes or told.get("undoes", ""))


class Try(Scope):
    """One try of an activity, while it runs here."""

    __slots__ = ("_info",)

    def __init__(self, info: activity.Info) -> None:
        self._span = None
        self._info = info

    def open(self, runtime: Runtime, call: Call) -> None:
        """Begin it."""
        info, context = self._info, get_current()
        run = Run(info.workflow_id or "", info.workflow_type or "", info.workflow_run_id or "")
        # this travels in headers of the service's own calls
        saga = runtime.conceal(semconv.SAGA_ID, run.workflow)
        identity = Identity(saga, run.type, runtime.conceal(semconv.SAGA_RUN_ID, run.run))
        root = _spans.root(run.run)
        below = set_span_in_context(NonRecordingSpan(root), context)
        attributes = {**run.stamp, **call.stamp, **_said(info)}
        span_id = _spans.attempt_id(run.run, info.activity_id, info.attempt)
        span = runtime.start(call.name, below, attributes, (), SpanKind.CONSUMER, span_id)
        place = Place(identity, root, step=call.name, key=call.key, attempt=info.attempt)
        here = get_current_span(context).get_span_context()
        carried = here if here.is_valid else runtime.carried(call.name, span.get_span_context(), context)
        self._go_on(runtime, span, carried, place, context)

    def close(self, error: BaseException | None) -> None:
        """End it."""
        if self._span is None:
            return
        if isinstance(error, activity._CompleteAsyncError):  # noqa: SLF001 - there is no public name
            error = None
        if error is not None:
            self._span.set_attributes(after(self._info, error))
        self._leave_scope(error)

    def carried_into(self, asked: ExecuteActivityInput) -> Callable[..., Any]:
        """The function, in its thread at the same place: Temporal does not carry the context there."""
        if self._span is None or not isinstance(asked.executor, ThreadPoolExecutor):
            return asked.fn
        return functools.wraps(asked.fn)(functools.partial(_at, self._entered, asked.fn))


def _at(context: Context, function: Callable[..., Any], *args: Any) -> Any:
    token = attach(context)
    try:
        return function(*args)
    finally:
        detach(token)


def _said(info: activity.Info) -> dict[str, Any]:
    said: dict[str, Any] = {
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_ATTEMPT: info.attempt,
        semconv.TEMPORAL_TASK_QUEUE: info.task_queue,
        semconv.TEMPORAL_ACTIVITY_ID: info.activity_id,
        semconv.TEMPORAL_SCHEDULED_AT: info.current_attempt_scheduled_time.timestamp(),
    }
    policy, timeout = info.retry_policy, info.start_to_close_timeout or info.schedule_to_close_timeout
    if policy is not None and policy.maximum_attempts:
        said[semconv.STEP_MAX_ATTEMPTS] = policy.maximum_attempts
    if timeout:
        said[semconv.STEP_TIMEOUT] = timeout.total_seconds()
    return said
