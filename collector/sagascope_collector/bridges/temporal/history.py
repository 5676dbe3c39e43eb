"""Applies the events of a workflow's history to its run, and reports each of them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from sagascope import semconv
from sagascope_collector.bridges.temporal.telemetry import UNSEEN_FAILURE, Error, PendingCall, Run, RunTelemetry
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

CORE_MARKER: Final = "core_local_activity"
GO_AND_JAVA_MARKER: Final = "LocalActivity"
"""Marker names of local activities. The SDKs for Go and Java share a name, with different details."""

NANOSECONDS_PER_MILLISECOND: Final = NANOSECONDS_PER_SECOND // 1_000


class HistoryReader:
    """Follows one run along its history.

    Args:
        run: the state of the run; updated.
        telemetry: receives the records.
        compensates: the step that an activity compensates, by the activity's type.
    """

    def __init__(self, run: Run, telemetry: RunTelemetry, compensates: Mapping[str, str]) -> None:
        self._run = run
        self._telemetry = telemetry
        self._compensates = compensates

    def apply(self, event: HistoryEvent) -> None:
        """Applies the next event; events without a meaning for the saga are skipped."""
        name = event.WhichOneof("attributes") or ""
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, event, getattr(event, name))
        self._run.last_event_id = event.event_id

    def workflow_started(self, event: HistoryEvent, attributes: Any) -> None:
        """The run started."""
        run = self._run
        run.workflow_type, run.task_queue = attributes.workflow_type.name, attributes.task_queue.name
        run.started_at = run.reset_at or _time_ns(event)
        run.parent_workflow_id = attributes.parent_workflow_execution.workflow_id
        self._telemetry.root()

    def workflow_ended(self, event: HistoryEvent, attributes: Any, error: Error | None) -> None:
        """The run ended."""
        run = self._run
        for call in run.calls.values():
            self._abandon(call, _time_ns(event))
        outcome = semconv.OUTCOME_FAILED if error else semconv.OUTCOME_COMPLETED
        if run.compensated and not run.committed:
            outcome = semconv.OUTCOME_COMPENSATED
        self._telemetry.root(_time_ns(event), outcome, error)
        run.calls, run.is_over = {}, True

    def workflow_terminated(self, event: HistoryEvent, attributes: Any) -> None:
        """The run was terminated, which a reset does, too: another run then continues it."""
        self.workflow_ended(event, attributes, None if self._run.continued_run_id else _termination(attributes))

    def workflow_continued_as_new(self, event: HistoryEvent, attributes: Any) -> None:
        """The run ended and continues as a new run."""
        self._run.continued_run_id = attributes.new_execution_run_id
        self.workflow_ended(event, attributes, None)

    def activity_scheduled(self, event: HistoryEvent, attributes: Any) -> None:
        """An activity was scheduled."""
        call = self._new_call(attributes.activity_type.name, _time_ns(event))
        call.id, call.task_queue = attributes.activity_id, attributes.task_queue.name
        call.attempt_started_at = call.scheduled_at
        call.max_attempts = attributes.retry_policy.maximum_attempts
        if attributes.HasField("start_to_close_timeout"):
            call.timeout = attributes.start_to_close_timeout.ToTimedelta().total_seconds()
        self._run.calls[str(event.event_id)] = call
        self._telemetry.scheduled_attempt(call, 1, call.scheduled_at)

    def activity_started(self, event: HistoryEvent, attributes: Any) -> None:
        """A worker started the last attempt of an activity; Temporal records this when the activity has ended."""
        call = self._run.calls.get(str(attributes.scheduled_event_id))
        if call is None:
            return
        if call.ended_attempt < call.attempt < attributes.attempt:
            has_failure = attributes.HasField("last_failure")
            error = Error.from_failure(attributes.last_failure) if has_failure else UNSEEN_FAILURE
            self._telemetry.attempt(call, call.attempt, call.attempt_started_at, _time_ns(event), error=error)
            call.ended_attempt = call.attempt
        call.attempt, call.attempt_started_at, call.is_started = attributes.attempt, _time_ns(event), True

    def activity_ended(self, event: HistoryEvent, attributes: Any, error: Error | None) -> None:
        """An activity ended."""
        call = self._run.calls.pop(str(attributes.scheduled_event_id), None)
        if call is not None:
            self._end_attempt(call, _time_ns(event), error)
            self._end_call(call, error)

    def marker_recorded(self, event: HistoryEvent, attributes: Any) -> None:
        """A local activity ended; other markers are ignored."""
        local = LocalActivity.from_marker(event)
        if local is None:
            return
        call = self._new_call(local.type, local.scheduled_at)
        call.id, call.attempt, call.is_started = local.id, local.attempt, True
        error = _failure(attributes) if attributes.HasField("failure") else None
        self._telemetry.attempt(call, local.attempt, local.scheduled_at, local.ended_at, error=error)
        self._end_call(call, error)

    def child_started(self, event: HistoryEvent, attributes: Any) -> None:
        """A child workflow started."""
        call = self._new_call(attributes.workflow_type.name, _time_ns(event))
        execution = attributes.workflow_execution
        call.id, call.child_workflow_id = execution.run_id, execution.workflow_id
        self._run.calls[str(attributes.initiated_event_id)] = call
        self._telemetry.child(call)

    def child_ended(self, event: HistoryEvent, attributes: Any, error: Error | None) -> None:
        """A child workflow ended."""
        call = self._run.calls.pop(str(attributes.initiated_event_id), None)
        if call is not None:
            self._telemetry.child(call, _time_ns(event), error)
            self._end_call(call, error)

    def signal_received(self, event: HistoryEvent, attributes: Any) -> None:
        """The workflow received a signal."""
        name, counts = attributes.signal_name, self._run.signal_counts
        counts[name] = counts.get(name, 0) + 1
        self._telemetry.signal(name, counts[name], _time_ns(event))

    def update_accepted(self, event: HistoryEvent, attributes: Any) -> None:
        """The workflow accepted an update."""
        request = attributes.accepted_request
        update_id = request.meta.update_id or attributes.protocol_instance_id
        self._telemetry.update(request.input.name, update_id, _time_ns(event))

    def workflow_task_failed(self, event: HistoryEvent, attributes: Any) -> None:
        """A workflow task failed; Temporal records the first of several failures in a row."""
        if reset_time(event):
            return
        run, error = self._run, _failure(attributes)
        run.task_failure, run.task_failure_type, run.task_failed_at = error.message, error.type, _time_ns(event)
        run.task_worker = _worker(attributes)
        self._telemetry.failed_workflow_task(attributes.started_event_id, _time_ns(event), error)

    def workflow_task_completed(self, event: HistoryEvent, attributes: Any) -> None:
        """A workflow task completed."""
        self._run.task_failure = ""

    def timer_started(self, event: HistoryEvent, attributes: Any) -> None:
        """The workflow started a timer."""
        fires_at = _time_ns(event) + attributes.start_to_fire_timeout.ToNanoseconds()
        self._run.timers[attributes.timer_id] = fires_at

    def timer_ended(self, event: HistoryEvent, attributes: Any) -> None:
        """A timer fired or was canceled."""
        self._run.timers.pop(attributes.timer_id, None)

    def _new_call(self, type_: str, at: int) -> PendingCall:
        counts = self._run.call_counts
        counts[type_] = counts.get(type_, 0) + 1
        key = "" if counts[type_] == 1 else str(counts[type_])
        run = self._run
        compensates = self._compensates.get(type_, "")
        compensates = compensates or semconv.compensated_by_name(type_, run.committed, has_failed=run.has_failed)
        return PendingCall(id="", type=type_, scheduled_at=at, key=key, compensates=compensates)

    def _end_attempt(self, call: PendingCall, at: int, error: Error | None) -> None:
        start = call.attempt_started_at
        if call.is_started:
            self._telemetry.attempt(call, call.attempt, start, at, error=error)
        else:
            self._telemetry.scheduled_attempt(call, call.attempt, start, at, error)

    def _end_call(self, call: PendingCall, error: Error | None) -> None:
        run = self._run
        if error is not None:
            run.has_failed = True
            return
        if not call.compensates:
            run.committed.append(call.type)
        elif call.compensates in run.committed:
            run.committed.remove(call.compensates)
            run.compensated.append(call.compensates)

    def _abandon(self, call: PendingCall, at: int) -> None:
        """Ends a call that had not ended when its run did. A child workflow may outlive its parent."""
        if not call.child_workflow_id and (call.is_started or call.ended_attempt < call.attempt):
            self._end_attempt(call, at, Error("the workflow ended before the activity"))


def reset_time(event: HistoryEvent) -> int:
    """Returns when a reset started the run, if this is the event that records it, else 0."""
    cause = event.workflow_task_failed_event_attributes.cause
    is_reset = cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    return _time_ns(event) if is_reset else 0


def is_termination(event: HistoryEvent) -> bool:
    """Returns whether the event terminated its run."""
    return event.HasField("workflow_execution_terminated_event_attributes")


class _Timestamp(BaseModel):
    seconds: int
    nanos: int = 0

    def nanoseconds(self) -> int:
        return self.seconds * NANOSECONDS_PER_SECOND + self.nanos


class _CoreData(BaseModel):
    """What Temporal's core writes, on which the SDKs for Python, TypeScript, .NET and Ruby are built."""

    activity_id: str
    activity_type: str
    attempt: int = 1
    original_schedule_time: _Timestamp
    complete_time: _Timestamp


class _GoData(BaseModel):
    id: str = Field(alias="ActivityID")
    type: str = Field(alias="ActivityType")
    attempt: int = Field(1, alias="Attempt")


class _JavaData(BaseModel):
    """What the SDK for Java writes beside the names: the attempt, and when the first one was scheduled."""

    attempt: int = Field(1, alias="atpt")
    scheduled_at_ms: int = Field(0, alias="firstSkd")


class LocalActivity(NamedTuple):
    """A local activity that has ended. Times are in nanoseconds since 1970.

    A history contains only a marker for it, which the SDK writes when the activity has ended. A marker that a payload
    codec has encrypted cannot be read.
    """

    id: str
    type: str
    attempt: int
    scheduled_at: int
    ended_at: int

    @classmethod
    def from_marker(cls, event: HistoryEvent) -> Self | None:
        """Returns the local activity of a marker; None for other markers and for unreadable ones."""
        attributes = event.marker_recorded_event_attributes
        details = {name: each.payloads[0].data for name, each in attributes.details.items() if each.payloads}
        try:
            if attributes.marker_name == CORE_MARKER:
                return cls._from_core(_CoreData.model_validate_json(details["data"]))
            if attributes.marker_name == GO_AND_JAVA_MARKER:
                return cls._from_java(details, event) if "activityId" in details else cls._from_go(details, event)
        except (KeyError, ValidationError):
            pass
        return None

    @classmethod
    def _from_core(cls, data: _CoreData) -> Self:
        scheduled_at = data.original_schedule_time.nanoseconds()
        ended_at = max(scheduled_at, data.complete_time.nanoseconds())  # the two times come from two clocks
        return cls(data.activity_id, data.activity_type, data.attempt, scheduled_at, ended_at)

    @classmethod
    def _from_go(cls, details: Mapping[str, bytes], event: HistoryEvent) -> Self:
        data = _GoData.model_validate_json(details["data"])
        return cls(data.id, data.type, data.attempt, _time_ns(event), _time_ns(event))

    @classmethod
    def _from_java(cls, details: Mapping[str, bytes], event: HistoryEvent) -> Self:
        names = (_TEXT.validate_json(details["activityId"]), _TEXT.validate_json(details["type"]))
        meta = _JavaData.model_validate_json(details.get("meta", b"{}"))
        ended_at = _time_ns(event)
        scheduled_at = min(meta.scheduled_at_ms * NANOSECONDS_PER_MILLISECOND or ended_at, ended_at)
        return cls(*names, meta.attempt, scheduled_at, ended_at)


_TEXT: Final = TypeAdapter(str)


def _time_ns(event: HistoryEvent) -> int:
    return event.event_time.ToNanoseconds()


_Handler = Callable[[HistoryReader, HistoryEvent, Any], None]
_ErrorOf = Callable[[Any], Error]


def _ends(
    end: Callable[[HistoryReader, HistoryEvent, Any, Error | None], None], error: _ErrorOf | str | None = None
) -> _Handler:
    """Returns the handler of an event that ends a run or a call, with its error."""

    def handle(reader: HistoryReader, event: HistoryEvent, attributes: Any) -> None:
        end(reader, event, attributes, error(attributes) if callable(error) else Error(error) if error else None)

    return handle


def _worker(attributes: Any) -> str:
    """Returns the worker's build, else its identity: it identifies the deployment with which the failures began."""
    build = attributes.worker_version.build_id or attributes.binary_checksum
    return f"build {build}" if build else f"worker {attributes.identity}" if attributes.identity else ""


def _failure(attributes: Any) -> Error:
    return Error.from_failure(attributes.failure)


def _termination(attributes: Any) -> Error:
    by = f" by {attributes.identity}" if attributes.identity else ""
    return Error(f"terminated{by}: {attributes.reason}" if attributes.reason else f"terminated{by}")


_HANDLERS: Final[Mapping[str, _Handler]] = {
    "workflow_execution_started_event_attributes": HistoryReader.workflow_started,
    "workflow_execution_completed_event_attributes": _ends(HistoryReader.workflow_ended),
    "workflow_execution_continued_as_new_event_attributes": HistoryReader.workflow_continued_as_new,
    "workflow_execution_failed_event_attributes": _ends(HistoryReader.workflow_ended, _failure),
    "workflow_execution_timed_out_event_attributes": _ends(HistoryReader.workflow_ended, "the workflow timed out"),
    "workflow_execution_canceled_event_attributes": _ends(HistoryReader.workflow_ended, "cancelled"),
    "workflow_execution_terminated_event_attributes": HistoryReader.workflow_terminated,
    "workflow_execution_signaled_event_attributes": HistoryReader.signal_received,
    "workflow_execution_update_accepted_event_attributes": HistoryReader.update_accepted,
    "workflow_task_failed_event_attributes": HistoryReader.workflow_task_failed,
    "workflow_task_completed_event_attributes": HistoryReader.workflow_task_completed,
    "activity_task_scheduled_event_attributes": HistoryReader.activity_scheduled,
    "activity_task_started_event_attributes": HistoryReader.activity_started,
    "activity_task_completed_event_attributes": _ends(HistoryReader.activity_ended),
    "activity_task_failed_event_attributes": _ends(HistoryReader.activity_ended, _failure),
    "activity_task_timed_out_event_attributes": _ends(HistoryReader.activity_ended, _failure),
    "activity_task_canceled_event_attributes": _ends(HistoryReader.activity_ended, "cancelled"),
    "marker_recorded_event_attributes": HistoryReader.marker_recorded,
    "child_workflow_execution_started_event_attributes": HistoryReader.child_started,
    "child_workflow_execution_completed_event_attributes": _ends(HistoryReader.child_ended),
    "child_workflow_execution_failed_event_attributes": _ends(HistoryReader.child_ended, _failure),
    "child_workflow_execution_canceled_event_attributes": _ends(HistoryReader.child_ended, "cancelled"),
    "child_workflow_execution_timed_out_event_attributes": _ends(
        HistoryReader.child_ended, "the child workflow timed out"
    ),
    "child_workflow_execution_terminated_event_attributes": _ends(
        HistoryReader.child_ended, "the child workflow was terminated"
    ),
    "timer_started_event_attributes": HistoryReader.timer_started,
    "timer_fired_event_attributes": HistoryReader.timer_ended,
    "timer_canceled_event_attributes": HistoryReader.timer_ended,
}
