"""Reports workflows as spans, with ids derived from Temporal's, so that every process derives the same ids.

Which step an activity compensates is declared at the activity, by a rule, in the saga's plan, or by its name. Client,
workers and activities pass a step's name and the starting trace in one header of Temporal's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypedDict, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from sagascope import _runtime, semconv
from sagascope._attributes import Amount, amount_attributes, key_attributes
from sagascope._errors import Guard
from sagascope._plan import Plan, Step
from sagascope._runtime import SAMPLED, DetachedSpan
from sagascope._saga import declared_plan

REPORTER_FUNCTION: Final = "__sagascope_reporter"
"""Name of the extern function that returns the reporter, which is outside the workflow's sandbox."""

MAX_KNOWN_RUNS: Final = 10_000
"""Runs of which a reporter remembers whether their latest workflow task failed."""

_DESCRIBING = Guard("describing a workflow")
_REPORTING = Guard("reporting a workflow")


class WorkflowRun(NamedTuple):
    """One run of a workflow."""

    workflow_id: str
    workflow_type: str
    run_id: str
    task_queue: str = ""
    timeout_seconds: float | None = None
    """The time after which the server ends it; None if it is unknown or unlimited."""

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
    """The step that it compensates; ``""`` if it is not a compensation."""

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


# --- compensations ---------------------------------------------------------------------------------

CompensationRule = Mapping[str, str] | Callable[[str], str | None]
"""Maps the name of an activity to the step that it compensates; a missing name or None means no step."""

F = TypeVar("F", bound=Callable[..., object])

_APPLYING_RULE = Guard("asking a rule which step an activity compensates")
_COMPENSATES = "__sagascope_compensates__"
_DEFINITION = "__temporal_activity_definition"
_declared_compensations: dict[str, str] = {}
"""The compensated step by the name of the activity, as `compensates` declares it."""


def compensates(step: str) -> Callable[[F], F]:
    """Declares that an activity compensates another: ``@compensates("charge")`` above or below ``@activity.defn``.

    Where workflows and activities run in different processes, both must import the activity, or the plan must name it.

    Args:
        step: The name of the activity that is compensated.
    """

    def declare(function: F) -> F:
        setattr(function, _COMPENSATES, step)
        _declared_compensations[getattr(function, "__name__", "")] = step
        return function

    return declare


class CompensationRules:
    """Determines which step an activity compensates."""

    def __init__(self, rule: CompensationRule | None = None) -> None:
        self._rule = rule

    def register(self, activities: Iterable[object]) -> None:
        """Registers what these activities declare, under the names by which Temporal knows them."""
        for each in activities:
            step, definition = getattr(each, _COMPENSATES, None), getattr(each, _DEFINITION, None)
            if step and getattr(definition, "name", None):
                _declared_compensations[definition.name] = step  # type: ignore[union-attr]

    def compensated_step(self, workflow: str, activity: str, function: object = None) -> str:
        """Returns the step that an activity of a workflow compensates; ``""`` if it is not a compensation.

        A declaration at the activity comes first, then the rule, then the plan, then the activity's name.
        """
        step: str | None = getattr(function, _COMPENSATES, None) or _declared_compensations.get(activity)
        if not step and self._rule is not None:
            with _APPLYING_RULE:
                rule = self._rule
                step = rule(activity) if callable(rule) else rule.get(activity)
        return step or _planned(workflow, activity) or semconv.compensated_by_name(activity, (), has_failed=False)

    def full_plan(self, workflow: str, compensated: Mapping[str, str]) -> Plan:
        """Returns the declared plan with all other known compensations.

        Args:
            workflow: The workflow's type.
            compensated: The compensations that ran, by the step that they compensated.
        """
        plan = declared_plan(workflow)
        planned = {step.name: step for step in plan.steps} if plan is not None else {}
        rule = {step: name for name, step in self._rule.items()} if isinstance(self._rule, Mapping) else {}
        known = {**rule, **{step: name for name, step in _declared_compensations.items()}, **compensated}
        added = [Step(step, compensation=name) for step, name in known.items() if step not in planned]
        return Plan([*planned.values(), *added])


def _planned(workflow: str, activity: str) -> str:
    plan = declared_plan(workflow)
    return next(iter(plan.steps_compensated_by(activity)), "") if plan is not None else ""


# --- reports -----------------------------------------------------------------------------------------


class WorkflowReporter:
    """Reports what happens in workflows as detached spans. It is never called during a replay.

    Times are nanoseconds since the Unix epoch; a span without an end has not ended.
    """

    def __init__(
        self, rules: CompensationRules, describe: Describe | None = None, uninstrumented_queues: Iterable[str] = ()
    ) -> None:
        self.rules = rules
        self.uninstrumented_queues = frozenset(uninstrumented_queues)
        """Task queues whose workers report nothing."""
        self._describe = describe
        self._are_failing: dict[str, bool] = {}
        """By run id, the latest last: whether the latest workflow task failed."""

    def report_workflow(
        self,
        run: WorkflowRun,
        args: Sequence[Any],
        start: int,
        end: int | None = None,
        *,
        outcome: str | None = None,
        error: BaseException | None = None,
        links: tuple[Link, ...] = (),
    ) -> None:
        """Reports a workflow that the server accepted, or its end."""
        if _runtime.active is None:
            return
        description: WorkflowDescription = {}
        if self._describe is not None:
            with _DESCRIBING:
                description = self._describe(run.workflow_type, args) or {}
        plan = declared_plan(run.workflow_type)
        attributes = {
            semconv.SAGA_ROLE: semconv.ROLE_SAGA,
            semconv.TEMPORAL_TASK_QUEUE: run.task_queue,
            **(plan.attributes if plan is not None else {}),
        }
        if run.timeout_seconds:
            attributes[semconv.SAGA_TIMEOUT] = run.timeout_seconds
        with _REPORTING:
            attributes |= amount_attributes(description.get("amount"), description.get("currency"))
            attributes |= key_attributes(description.get("keys"))
            if outcome is not None:
                attributes[semconv.SAGA_OUTCOME] = outcome
            _emit(run, run.workflow_type, ROOT, start, end, attributes, error=error, links=links)

    def report_activity(
        self,
        run: WorkflowRun,
        call: StepCall,
        activity_id: str,
        queue: str,
        start: int,
        end: int | None = None,
        *,
        timeout: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Reports a scheduled activity that no worker has started, or its end where possibly no worker reports it."""
        attributes = {
            **_step_attributes(call),
            semconv.MESSAGING_DESTINATION: queue,
            semconv.TEMPORAL_ACTIVITY_ID: activity_id,
        }
        if timeout:
            attributes[semconv.STEP_TIMEOUT] = timeout
        identity = ("activity", activity_id, 1)
        with _REPORTING:
            _emit(run, call.name, identity, start, end, attributes, error=error, kind=SpanKind.PRODUCER)

    def report_child(
        self,
        run: WorkflowRun,
        call: StepCall,
        child: ChildWorkflow,
        start: int,
        end: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Reports that a child workflow started, or ended."""
        attributes = {**_step_attributes(call), semconv.TEMPORAL_CHILD_ID: child.workflow_id}
        if child.timeout_seconds:
            attributes[semconv.STEP_TIMEOUT] = child.timeout_seconds
        identity = ("child", child.first_run_id)
        with _REPORTING:
            _emit(run, call.name, identity, start, end, attributes, error=error, kind=SpanKind.CLIENT)

    def report_signal(self, run: WorkflowRun, name: str, number: int, at: int) -> None:
        """Reports a signal; `number` counts the signals of its name, from 1."""
        with _REPORTING:
            _emit(run, f"signal {name}", ("signal", name, number), at, at, {})

    def report_update(self, run: WorkflowRun, name: str, update_id: str, at: int) -> None:
        """Reports an update."""
        with _REPORTING:
            _emit(run, f"update {name}", ("update", update_id), at, at, {})

    def report_failed_task(self, run: WorkflowRun, history_length: int, at: int, error: BaseException) -> None:
        """Reports that the workflow's own code failed; the server retries that task without end."""
        name, attributes = f"workflow task of {run.workflow_type}", {semconv.TEMPORAL_TASK_QUEUE: run.task_queue}
        with _REPORTING:
            _emit(run, name, ("task", history_length), at, at, attributes, error=error)

    def report_failing_task(self, run: WorkflowRun, worker: str, error: Mapping[str, Any]) -> None:
        """Reports that a run cannot proceed, because its workflow task fails in this worker.

        Args:
            run: the run.
            worker: the worker, for people.
            error: the attributes of the error, as of an exception event.
        """
        self._remember(run, is_failing=True)
        name = ": ".join(str(error[key]) for key in ("exception.type", "exception.message") if key in error)
        attributes = {semconv.BLOCKED_CAUSE: "task_failing", **error}
        report_waiting(run, f"the workflow task fails (in {worker}): {name}", attributes)

    def report_task_success(self, run: WorkflowRun, *, is_taken_over: bool) -> None:
        """Withdraws the report of a failing task, also that of another worker from which this one took the run over."""
        was_failing = self._are_failing.get(run.run_id, is_taken_over)
        self._remember(run, is_failing=False)
        if was_failing:
            report_waiting(run, "", {})

    def _remember(self, run: WorkflowRun, *, is_failing: bool) -> None:
        self._are_failing.pop(run.run_id, None)  # moves it to the end: the run that was seen first is forgotten first
        self._are_failing[run.run_id] = is_failing
        if len(self._are_failing) > MAX_KNOWN_RUNS:
            self._are_failing.pop(next(iter(self._are_failing)), None)


def report_waiting(run: WorkflowRun, text: str, attributes: Mapping[str, Any]) -> None:
    """Reports what a run waits for; an empty text withdraws the previous report."""
    if _runtime.active is not None:
        context = set_span_in_context(NonRecordingSpan(root_span_context(run.run_id)), Context())
        waiting = {**run.attributes, **attributes}
        _runtime.active.emit_log(text, context, waiting, event_name=semconv.EVENT_WAITING)


def _step_attributes(call: StepCall) -> dict[str, Any]:
    return {**call.attributes, semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}


def _emit(
    run: WorkflowRun,
    name: str,
    identity: tuple[str | int, ...],
    start: int,
    end: int | None,
    attributes: Mapping[str, Any],
    *,
    error: BaseException | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: tuple[Link, ...] = (),
) -> None:
    if _runtime.active is None:
        return
    span = DetachedSpan(
        name=name,
        trace_id=trace_id(run.run_id),
        span_id=span_id(run.run_id, *identity),
        parent_id=0 if identity == ROOT else span_id(run.run_id, *ROOT),
        start=start,
        end=end,
        kind=kind,
        attributes={**run.attributes, **attributes},
        links=links,
        error=error,
    )
    _runtime.active.emit_span(span)


# --- ids -------------------------------------------------------------------------------------------

ROOT: Final = ("saga",)
"""The identity of a run's root span, for `span_id`."""


def trace_id(run_id: str) -> int:
    return _hashed(16, f"temporal/{run_id}")


def span_id(run_id: str, *identity: str | int) -> int:
    """Returns the id of one span of a run, for example of ``"activity", activity_id, attempt``."""
    return _hashed(8, "/".join(("temporal", run_id, *map(str, identity))))


def root_span_context(run_id: str) -> SpanContext:
    return SpanContext(trace_id(run_id), span_id(run_id, *ROOT), is_remote=True, trace_flags=SAMPLED)


def _hashed(length: int, text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:length], "big")


# --- the header ------------------------------------------------------------------------------------

HEADER_NAME: Final = "sagascope"

Headers = Mapping[str, Payload]

_CONVERTER: Final = PayloadConverter.default
_W3C: Final = TraceContextTextMapPropagator()


def headers_with_trace(headers: Headers) -> Headers:
    """Returns the headers of a workflow's start with the current span."""
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
