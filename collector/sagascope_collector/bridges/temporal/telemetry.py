"""The records of a run: its root span, attempts, child workflows and obstacles. Pure.

The ids are the same as those of `sagascope.integrations.temporal`, so that plugin and bridge report one timeline. The
plugin's form of a span takes precedence, since it also identifies the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure

from sagascope import semconv
from sagascope_collector.bridges.otlp import (
    Attributes,
    LogRecord,
    Resource,
    Span,
    SpanKind,
    Telemetry,
    Value,
    span_id,
    trace_id,
)
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_datetime


class PendingCall(BaseModel):
    """A scheduled activity or child workflow that has not ended. Times are in nanoseconds since 1970."""

    id: str
    """The activity's id; the run id of a child workflow."""
    type: str
    scheduled_at: int
    key: str = ""
    """The step key: distinguishes the second and later calls of a type from the first."""
    compensates: str = ""
    task_queue: str = ""
    child_workflow_id: str = ""
    """``""``: the call is an activity."""
    timeout: float = 0.0
    """The timeout of an attempt in seconds; 0: none."""
    max_attempts: int = 0
    """0: unlimited."""
    attempt: int = 1
    """The number of the latest attempt that was reported."""
    attempt_started_at: int = 0
    """When that attempt started, or started to wait for a worker."""
    is_started: bool = False
    """Whether a worker has started that attempt."""
    ended_attempt: int = 0
    """The number of the latest attempt whose end was reported."""
    next_attempt_at: int = 0
    """When the next attempt was due, after the latest failure."""
    obstacle: str = ""
    """The reported reason why it cannot proceed."""


class Run(BaseModel):
    """A run of a workflow that has not ended. Times are in nanoseconds since 1970."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str = ""
    task_queue: str = ""
    started_at: int = 0
    last_event_id: int = 0
    """The last event of the history that was read."""
    calls: dict[str, PendingCall] = {}
    """By the id of the event that scheduled the call."""
    timers: dict[str, int] = {}
    """When each timer fires, by its id."""
    call_counts: dict[str, int] = {}
    """The number of calls so far, by type."""
    signal_counts: dict[str, int] = {}
    """The number of signals so far, by name."""
    committed: list[str] = []
    """Steps that are committed and not compensated; a step that was called twice is listed twice."""
    compensated: list[str] = []
    has_failed: bool = False
    """Whether a call has failed."""
    task_failure: str = ""
    """The error of the workflow task that failed; ``""`` since a workflow task completed."""
    task_failure_type: str = ""
    task_worker: str = ""
    """The build of the worker in which the workflow task first failed, else its identity."""
    task_failed_at: int = 0
    obstacle: str = ""
    """The reported reason why the workflow cannot proceed."""
    parent_workflow_id: str = ""
    continued_run_id: str = ""
    """The run as which this one continues."""
    is_waiting: bool = False
    """Whether a wait for a signal or an update was reported last."""
    reset_at: int = 0
    """When a reset started the run, with the history that it took over from another run; 0: none did."""
    reported_timer_at: int = 0
    """When the timer fires that was reported last."""
    is_over: bool = False


class Checkpoint(BaseModel):
    """How far the runs of all namespaces were followed.

    Unknown fields are refused: a checkpoint of another version must not count as a new one.
    """

    model_config = ConfigDict(extra="forbid")

    listed_at: dict[str, int] = {}
    """By namespace: runs that started or ended before this time were listed."""
    runs: dict[str, Run] = {}
    """Runs that have not ended, by run id."""
    ended: dict[str, int] = {}
    """End times of runs that the next list may contain again."""
    unpolled_since: dict[str, int] = {}
    """Task queues that no worker polls, and since when."""


WORKER_IDENTITY: Final = "temporal.worker.identity"
"""string: the identity of the worker that started an activity."""

MAX_CAUSES: Final = 8
"""The number of chained failures in one error message."""


@dataclass(frozen=True, slots=True)
class Error:
    """The error of an attempt or a run."""

    message: str
    type: str = ""

    @classmethod
    def from_failure(cls, failure: Failure) -> "Error":
        """Returns a failure with its causes as one line, without stack traces and details."""
        messages, cause = list[str](), failure
        while len(messages) < MAX_CAUSES:
            messages.append(_message(cause))
            if not cause.HasField("cause"):
                break
            cause = cause.cause
        return cls(", caused by ".join(filter(None, messages)), _type(failure))


UNSEEN_FAILURE: Final = Error("failed between two polls; Temporal keeps only the latest failure")


def _message(failure: Failure) -> str:
    if failure.HasField("timeout_failure_info"):
        return f"{failure.message} ({_timeout_name(failure)})"
    return failure.message or failure.application_failure_info.type


def _type(failure: Failure) -> str:
    """Returns the type of the error in the code, or Temporal's name for it; ``""`` if unknown."""
    if failure.HasField("activity_failure_info") and failure.HasField("cause"):
        return _type(failure.cause)
    if failure.HasField("timeout_failure_info"):
        return _timeout_name(failure)
    return failure.application_failure_info.type


def _timeout_name(failure: Failure) -> str:
    name = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
    return name.removeprefix("TIMEOUT_TYPE_").lower() + " timeout"


@dataclass(slots=True)
class RunTelemetry:
    """Builds the records of one run and adds them to `telemetry`."""

    run: Run
    telemetry: Telemetry
    environment: str = ""

    def root(self, end: int | None = None, outcome: str = "", error: Error | None = None) -> None:
        """Adds the root span, open or ended."""
        run = self.run
        attributes: dict[str, Value] = {semconv.SAGA_ROLE: semconv.ROLE_SAGA}
        if outcome:
            attributes[semconv.SAGA_OUTCOME] = outcome
        if run.parent_workflow_id:
            attributes[semconv.TEMPORAL_PARENT_ID] = run.parent_workflow_id
        if run.continued_run_id:
            attributes[semconv.TEMPORAL_NEW_RUN] = run.continued_run_id
        self._span(
            run.workflow_type,
            self._span_id("saga"),
            attributes,
            run.started_at,
            end,
            error=error,
            task_queue=run.task_queue,
            is_root=True,
        )

    def attempt(
        self,
        call: PendingCall,
        number: int,
        start: int,
        end: int | None = None,
        *,
        worker: str = "",
        error: Error | None = None,
        retry_in_seconds: float | None = None,
    ) -> None:
        """Adds an attempt of an activity that a worker started."""
        attributes: dict[str, Value] = {
            **_activity_attributes(call, number),
            semconv.TEMPORAL_TASK_QUEUE: call.task_queue,
        }
        if worker:
            attributes[WORKER_IDENTITY] = worker
        if call.timeout:
            attributes[semconv.STEP_TIMEOUT] = call.timeout
        if retry_in_seconds is not None:
            attributes[semconv.STEP_RETRY_IN] = retry_in_seconds
        span_id, task_queue = self._attempt_id(call, number), call.task_queue
        self._span(call.type, span_id, attributes, start, end, error=error, kind="consumer", task_queue=task_queue)

    def scheduled_attempt(
        self, call: PendingCall, number: int, start: int, end: int | None = None, error: Error | None = None
    ) -> None:
        """Adds an attempt of an activity that no worker has started; with an end, none will."""
        attributes = {**_activity_attributes(call, number), semconv.MESSAGING_DESTINATION: call.task_queue}
        span_id, task_queue = self._attempt_id(call, number), call.task_queue
        self._span(call.type, span_id, attributes, start, end, error=error, kind="producer", task_queue=task_queue)

    def child(self, call: PendingCall, end: int | None = None, error: Error | None = None) -> None:
        """Adds a child workflow as a step."""
        attributes = {**_step_attributes(call, 1), semconv.TEMPORAL_CHILD_ID: call.child_workflow_id}
        if call.timeout:
            attributes[semconv.STEP_TIMEOUT] = call.timeout
        span_id = self._span_id("child", call.id)
        self._span(call.type, span_id, attributes, call.scheduled_at, end, error=error, kind="client")

    def signal(self, name: str, number: int, at: int) -> None:
        """Adds a signal that was received; `number` counts the signals of this name, from 1."""
        self._span(f"signal {name}", self._span_id("signal", name, number), {}, at, at)

    def update(self, name: str, update_id: str, at: int) -> None:
        """Adds an update that was received."""
        self._span(f"update {name}", self._span_id("update", update_id), {}, at, at)

    def failed_workflow_task(self, started_event_id: int, at: int, error: Error) -> None:
        """Adds a workflow task that failed."""
        span_id = self._span_id("task", started_event_id)
        self._span(f"workflow task of {self.run.workflow_type}", span_id, {}, at, at, error=error)

    def obstacle(
        self, text: str, at: int, call: PendingCall | None = None, *, cause: str = "", error: Error | None = None
    ) -> None:
        """Adds the reason why the run, or a call, waits; an empty text withdraws the previous one.

        With a `cause`, one of `semconv.BLOCKED_CAUSES`, it cannot proceed, for this error.
        """
        span_id = self._attempt_id(call, call.attempt) if call is not None else self._span_id("saga")
        attributes: dict[str, Value] = {semconv.BLOCKED_CAUSE: cause} if cause else {}
        if error is not None:
            type_: dict[str, Value] = {"exception.type": error.type} if error.type else {}
            attributes |= {**type_, "exception.message": error.message}
        self._log(span_id, text, at, attributes)

    def wait(self, at: int) -> None:
        """Adds that the run waits for a signal or an update."""
        attributes: Attributes = {semconv.WAIT_FOR: "a signal or an update"}
        self._log(self._span_id("saga"), "the workflow waits for a signal or an update", at, attributes)

    def timer(self, until: int, at: int) -> None:
        """Adds that the run waits for nothing but a timer."""
        attributes: Attributes = {
            semconv.WAIT_UNTIL: until / NANOSECONDS_PER_SECOND,
            semconv.WAIT_REASON: "a timer of the workflow",
        }
        text = f"the workflow waits for a timer until {format_time(until)}"
        self._log(self._span_id("saga"), text, at, attributes)

    def _span_id(self, *parts: object) -> bytes:
        return span_id("/".join(map(str, ("temporal", self.run.run_id, *parts))))

    def _attempt_id(self, call: PendingCall, number: int) -> bytes:
        return self._span_id("activity", call.id, number)

    def _trace_id(self) -> bytes:
        return trace_id(f"temporal/{self.run.run_id}")

    def _saga_attributes(self) -> dict[str, Value]:
        run = self.run
        return {semconv.SAGA_ID: run.workflow_id, semconv.SAGA_NAME: run.workflow_type, semconv.SAGA_RUN_ID: run.run_id}

    def _span(
        self,
        name: str,
        span_id: bytes,
        attributes: Mapping[str, Value],
        start: int,
        end: int | None,
        *,
        error: Error | None = None,
        kind: SpanKind = "internal",
        task_queue: str = "",
        is_root: bool = False,
    ) -> None:
        error_type = {"error.type": error.type} if error is not None and error.type and not is_root else {}
        span = Span(
            resource=self._resource(task_queue),
            trace_id=self._trace_id(),
            span_id=span_id,
            parent_id=b"" if is_root else self._span_id("saga"),
            name=name,
            start=start,
            end=max(start, end) if end is not None else None,
            kind=kind,
            attributes={**self._saga_attributes(), **attributes, **error_type},
            error=error.message if error is not None else None,
        )
        if kind == "consumer" and end is None:  # one open form of a span is kept, and the scheduled one was sent
            self.telemetry.logs.append(span.start_record())
        else:
            self.telemetry.spans.append(span)

    def _log(self, span_id: bytes, text: str, at: int, attributes: Attributes) -> None:
        record = LogRecord(
            resource=self._resource(self.run.task_queue),
            trace_id=self._trace_id(),
            span_id=span_id,
            at=at,
            event_name=semconv.EVENT_WAITING,
            body=text,
            attributes={**self._saga_attributes(), **attributes},
            is_warning=bool(text),
        )
        self.telemetry.logs.append(record)

    def _resource(self, task_queue: str) -> Resource:
        """Returns the resource: Temporal identifies workers by their task queue, and no process of an open span."""
        service = task_queue or self.run.task_queue
        attributes = (
            ("service.name", service),
            (semconv.PROCESS_ID, ""),
            (semconv.TEMPORAL_NAMESPACE, self.run.namespace),
        )
        return (*attributes, ("deployment.environment.name", self.environment)) if self.environment else attributes


def format_time(at: int) -> str:
    """Formats a time for people."""
    return to_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def _activity_attributes(call: PendingCall, number: int) -> dict[str, Value]:
    attributes: dict[str, Value] = {**_step_attributes(call, number), semconv.TEMPORAL_ACTIVITY_ID: call.id}
    if call.max_attempts:
        attributes[semconv.STEP_MAX_ATTEMPTS] = call.max_attempts
    return attributes


def _step_attributes(call: PendingCall, number: int) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: call.type,
        semconv.STEP_TYPE: semconv.TYPE_COMPENSATION if call.compensates else semconv.TYPE_ACTION,
        semconv.STEP_ATTEMPT: number,
    }
    if call.key:
        attributes[semconv.STEP_KEY] = call.key
    if call.compensates:
        attributes[semconv.STEP_COMPENSATES] = call.compensates
    return attributes
