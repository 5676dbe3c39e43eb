"""Reports workflows as spans, with ids derived from Temporal's, so that every process derives the same ids.

Client, workers and activities pass a step's name and the starting trace in one header of Temporal's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypedDict

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from sagascope import _runtime, semconv
from sagascope._attributes import Amount, amount_attributes, key_attributes
from sagascope._guard import Guard
from sagascope._runtime import SAMPLED, DetachedSpan
from sagascope._saga import declared_plan
from sagascope.integrations.temporal._compensations import CompensationRules

_DESCRIBING = Guard("describing a workflow")
_REPORTING = Guard("reporting a workflow")


class WorkflowRun(NamedTuple):
    """One run of a workflow."""

    workflow_id: str
    workflow_type: str
    run_id: str
    task_queue: str = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of every span of the run."""
        return {
            semconv.SAGA_ID: self.workflow_id,
            semconv.SAGA_NAME: self.workflow_type,
            semconv.SAGA_RUN_ID: self.run_id,
        }


class ChildWorkflow(NamedTuple):
    """A child workflow, as its parent sees it."""

    workflow_id: str
    first_run_id: str
    timeout_seconds: float | None = None


class StepCall(NamedTuple):
    """A call of an activity or a child workflow, which is a step of the run."""

    name: str
    key: str = ""
    """Tells repeated calls of one name apart; ``""`` for the first."""
    compensates: str = ""
    """The step that it compensates; ``""`` if it is no compensation."""

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that identify the step."""
        attributes: dict[str, Any] = {
            semconv.STEP_NAME: self.name,
            semconv.STEP_TYPE: semconv.TYPE_COMPENSATION if self.compensates else semconv.TYPE_ACTION,
        }
        if self.key:
            attributes[semconv.STEP_KEY] = self.key
        if self.compensates:
            attributes[semconv.STEP_COMPENSATES] = self.compensates
        return attributes


class WorkflowDescription(TypedDict, total=False):
    """What people search a workflow by."""

    amount: Amount
    """The amount concerned: ``"50.00"``, a `Decimal` or a number."""
    currency: str
    """ISO 4217 code."""
    keys: Mapping[str, Any]
    """Business keys to search for."""


Describe = Callable[[str, Sequence[Any]], WorkflowDescription | None]
"""Describes a workflow of this type with these arguments."""


class WorkflowReporter:
    """Reports what happens in workflows as detached spans. It is never called during a replay.

    Times are nanoseconds since the Unix epoch.
    """

    def __init__(
        self, rules: CompensationRules, describe: Describe | None = None, uninstrumented_queues: Iterable[str] = ()
    ) -> None:
        self.rules = rules
        self.uninstrumented_queues = frozenset(uninstrumented_queues)
        """Task queues whose workers report nothing."""
        self._describe = describe

    def workflow_started(self, run: WorkflowRun, args: Sequence[Any], at: int, links: tuple[Link, ...] = ()) -> None:
        """Reports that the server accepted a workflow."""
        self._report_root(run, args, at, None, {}, None, links)

    def workflow_ended(
        self,
        run: WorkflowRun,
        args: Sequence[Any],
        times: tuple[int, int],
        outcome: str,
        error: BaseException | None,
        links: tuple[Link, ...] = (),
    ) -> None:
        """Reports that a workflow ended; `times` are its start and its end."""
        self._report_root(run, args, *times, {semconv.SAGA_OUTCOME: outcome}, error, links)

    def activity_scheduled(
        self, run: WorkflowRun, call: StepCall, activity_id: str, queue: str, timeout: float | None, at: int
    ) -> None:
        """Reports that the server scheduled an activity, which no worker has started yet."""
        self._report_attempt(run, call, activity_id, queue, at, timeout=timeout)

    def activity_closed(
        self,
        run: WorkflowRun,
        call: StepCall,
        activity_id: str,
        queue: str,
        times: tuple[int, int],
        error: BaseException | None,
    ) -> None:
        """Reports the end of an activity that possibly no worker reports; `times` are scheduling and end."""
        at, end = times
        self._report_attempt(run, call, activity_id, queue, at, end=end, error=error)

    def child_workflow(
        self,
        run: WorkflowRun,
        call: StepCall,
        child: ChildWorkflow,
        at: int,
        end: int | None,
        error: BaseException | None,
    ) -> None:
        """Reports that a child workflow started, or ended."""
        attributes = {**_step_attributes(call), semconv.TEMPORAL_CHILD_ID: child.workflow_id}
        if child.timeout_seconds:
            attributes[semconv.STEP_TIMEOUT] = child.timeout_seconds
        span_id = child_span_id(run.run_id, child.first_run_id)
        self._report(run, call.name, span_id, attributes, at, end, error, SpanKind.CLIENT)

    def signal_received(self, run: WorkflowRun, name: str, number: int, at: int) -> None:
        """Reports a signal; `number` counts the signals of its name, from 1."""
        self._report(run, f"signal {name}", signal_span_id(run.run_id, name, number), {}, at, at)

    def update_received(self, run: WorkflowRun, name: str, update_id: str, at: int) -> None:
        """Reports an update."""
        self._report(run, f"update {name}", update_span_id(run.run_id, update_id), {}, at, at)

    def workflow_task_failed(self, run: WorkflowRun, history_length: int, at: int, error: BaseException) -> None:
        """Reports that the workflow's own code failed; the server retries that task without end."""
        span_id = failed_task_span_id(run.run_id, history_length)
        attributes = {semconv.TEMPORAL_TASK_QUEUE: run.task_queue}
        self._report(run, f"workflow task of {run.workflow_type}", span_id, attributes, at, at, error)

    def _report_attempt(
        self,
        run: WorkflowRun,
        call: StepCall,
        activity_id: str,
        queue: str,
        at: int,
        *,
        end: int | None = None,
        timeout: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        attributes = {
            **_step_attributes(call),
            semconv.MESSAGING_DESTINATION: queue,
            semconv.TEMPORAL_ACTIVITY_ID: activity_id,
        }
        if timeout:
            attributes[semconv.STEP_TIMEOUT] = timeout
        span_id = attempt_span_id(run.run_id, activity_id, 1)
        self._report(run, call.name, span_id, attributes, at, end, error, SpanKind.PRODUCER)

    def _report_root(
        self,
        run: WorkflowRun,
        args: Sequence[Any],
        at: int,
        end: int | None,
        outcome: Mapping[str, Any],
        error: BaseException | None,
        links: tuple[Link, ...] = (),
    ) -> None:
        runtime = _runtime.active
        if runtime is None:
            return
        description: WorkflowDescription = {}
        if self._describe is not None:
            with _DESCRIBING:
                description = self._describe(run.workflow_type, args) or {}
        with _REPORTING:
            plan = declared_plan(run.workflow_type)
            attributes = {
                **run.attributes,
                semconv.SAGA_ROLE: semconv.ROLE_SAGA,
                semconv.TEMPORAL_TASK_QUEUE: run.task_queue,
                **(plan.attributes if plan is not None else {}),
                **amount_attributes(description.get("amount"), description.get("currency")),
                **key_attributes(description.get("keys")),
                **outcome,
            }
            runtime.emit_span(
                DetachedSpan(
                    name=run.workflow_type,
                    trace_id=trace_id(run.run_id),
                    span_id=root_span_id(run.run_id),
                    start=at,
                    end=end,
                    attributes=attributes,
                    links=links,
                    error=error,
                )
            )

    def _report(
        self,
        run: WorkflowRun,
        name: str,
        span_id: int,
        attributes: Mapping[str, Any],
        at: int,
        end: int | None,
        error: BaseException | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        runtime = _runtime.active
        if runtime is not None:
            with _REPORTING:
                runtime.emit_span(
                    DetachedSpan(
                        name=name,
                        trace_id=trace_id(run.run_id),
                        span_id=span_id,
                        parent_id=root_span_id(run.run_id),
                        start=at,
                        end=end,
                        kind=kind,
                        attributes={**run.attributes, **attributes},
                        error=error,
                    )
                )


def _step_attributes(call: StepCall) -> dict[str, Any]:
    return {**call.attributes, semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}


# --- ids -------------------------------------------------------------------------------------------


def trace_id(run_id: str) -> int:
    """Returns the trace id of a run."""
    return _hashed(16, f"temporal/{run_id}")


def root_span_id(run_id: str) -> int:
    """Returns the id of a run's root span."""
    return _hashed(8, f"temporal/{run_id}/saga")


def root_span_context(run_id: str) -> SpanContext:
    """Returns the ids of a run's root span."""
    return SpanContext(trace_id(run_id), root_span_id(run_id), is_remote=True, trace_flags=SAMPLED)


def attempt_span_id(run_id: str, activity_id: str, attempt: int) -> int:
    """Returns the span id of one attempt of an activity."""
    return _hashed(8, f"temporal/{run_id}/activity/{activity_id}/{attempt}")


def child_span_id(run_id: str, child_run_id: str) -> int:
    """Returns the span id of a child workflow, as a step of its parent."""
    return _hashed(8, f"temporal/{run_id}/child/{child_run_id}")


def signal_span_id(run_id: str, name: str, number: int) -> int:
    """Returns the span id of a signal; `number` counts the signals of its name, from 1."""
    return _hashed(8, f"temporal/{run_id}/signal/{name}/{number}")


def update_span_id(run_id: str, update_id: str) -> int:
    """Returns the span id of an update."""
    return _hashed(8, f"temporal/{run_id}/update/{update_id}")


def failed_task_span_id(run_id: str, history_length: int) -> int:
    """Returns the span id of a workflow task that failed at this length of the history."""
    return _hashed(8, f"temporal/{run_id}/task/{history_length}")


def _hashed(length: int, text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:length], "big")


# --- the header ------------------------------------------------------------------------------------

HEADER_NAME: Final = "sagascope"

Headers = Mapping[str, Payload]

_CONVERTER: Final = PayloadConverter.default
_W3C: Final = TraceContextTextMapPropagator()


def headers_with_trace(headers: Headers) -> Headers:
    """Returns the headers of a workflow's start with the current span, if there is one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return _with_values(headers, carrier)


def headers_with_call(headers: Headers, call: StepCall) -> Headers:
    """Returns the headers of an activity with what only its workflow knows of it."""
    values = (("key", call.key), ("compensates", call.compensates))
    return _with_values(headers, {name: value for name, value in values if value})


def starting_links(headers: Headers) -> tuple[Link, ...]:
    """Returns a link to the span in which a workflow was started, if the headers name it."""
    span_context = get_current_span(_W3C.extract(read_header(headers), Context())).get_span_context()
    return (Link(span_context),) if span_context.is_valid else ()


def read_header(headers: Headers) -> dict[str, str]:
    """Returns the values of the header; none if it is missing or cannot be read."""
    payload = headers.get(HEADER_NAME)
    values = _CONVERTER.from_payload(payload) if payload is not None else {}
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}


def _with_values(headers: Headers, values: dict[str, str]) -> Headers:
    return {**headers, HEADER_NAME: _CONVERTER.to_payload(values)} if values else headers
