"""Saga types, declared once, and the sagas that run."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, get_current_span, set_span_in_context

from sagascope import _runtime, semconv
from sagascope._attributes import NO_TEXT, Amount, amount_attributes, key_attributes, text_of, unix_seconds
from sagascope._context import (
    SAGA_CONTEXT_KEY,
    ForwardingSpan,
    SagaContext,
    SagaIdentity,
    SpanScope,
    get_saga_context,
    set_saga_in_context,
)
from sagascope._errors import Guard, warn
from sagascope._plan import Plan, Progress, Step, begin_attempts
from sagascope._step import Attempt, StepOptions

if TYPE_CHECKING:
    from datetime import datetime

    from sagascope._runtime import Runtime

_UPDATING = Guard("adding attributes to a saga")

_declared: dict[str, Plan] = {}

engine_sagas: "list[Callable[[], RunningSaga | None]]" = []
"""For each engine, returns the saga whose code runs where no context is passed on; None outside of the engine."""


class Saga:
    """A type of saga: its name and its plan.

    Args:
        name: For example ``payment``.
        steps: The planned steps in order; a string stands for a step without a compensation.
        timeout: Seconds that a whole saga may take.

    Raises:
        PlanInvalid: Two steps have the same name, or a step waits for one that is not in the plan.
    """

    def __init__(self, name: str, steps: Iterable[Step | str] = (), *, timeout: float | None = None) -> None:
        self.name: str = name
        self.plan: Plan = Plan(steps, timeout)
        _declared[name] = self.plan

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, {list(self.plan.steps)!r})"

    def begin(
        self,
        id: str,  # noqa: A002 - the name that people use for it
        *,
        amount: Amount | None = None,
        currency: str | None = None,
        keys: Mapping[str, Any] | None = None,
        run: str | None = None,
        open: bool = False,  # noqa: A002 - as in "leave open"
    ) -> "RunningSaga":
        """Starts a saga: ``with payment.begin("8492") as saga`` or ``async with``.

        A block that ends without an error completes the saga, or marks it as compensated when every committed step that
        has a compensation was compensated. A block that an error leaves marks it as failed, or likewise as compensated.

        Args:
            id: The id that people quote.
            amount: The saga's amount: ``"50.00"``, a `Decimal` or a number. Pass what a step moves to the step instead.
            currency: ISO 4217 code.
            keys: Business keys to search for, for example ``{"order_id": "A-17"}``.
            run: Tells two runs of one id apart.
            open: Leaves the saga open at the end of the block, for another block or process to `resume`.
        """
        attributes = {**self.plan.attributes, **amount_attributes(amount, currency), **key_attributes(keys)}
        return RunningSaga(self._identity(id, run), self.plan, attributes, stays_open=open, is_new=True)

    def resume(
        self,
        id: str,  # noqa: A002 - the name that people use for it
        *,
        run: str | None = None,
        open: bool = False,  # noqa: A002 - as in "leave open"
    ) -> "RunningSaga":
        """Continues a saga that was left open, in this process or another; the block ends as in `begin`."""
        return RunningSaga(self._identity(id, run), self.plan, {}, stays_open=open, is_new=False)

    def _identity(self, saga_id: str, run: str | None) -> SagaIdentity:
        text = "" if saga_id is None else text_of(saga_id)
        if text in ("", NO_TEXT):
            warn(f"A saga {self.name} has no id: it cannot be found, and its steps belong to no saga.")
        return SagaIdentity("" if text == NO_TEXT else text, self.name, text_of(run or ""))


class RunningSaga(SpanScope):
    """One saga that runs here. Every span and log record inside its block carries its id."""

    __slots__ = (
        *("_attributes", "_context", "_is_entered", "_is_new", "_outcome", "_progress", "_stays_open"),
        *("identity", "plan"),
    )

    _opening = Guard("starting a saga")
    _closing = Guard("ending a saga")

    def __init__(
        self,
        identity: SagaIdentity,
        plan: Plan | None,
        attributes: Mapping[str, Any],
        *,
        stays_open: bool,
        is_new: bool,
    ) -> None:
        self._span = None
        self.identity: SagaIdentity = identity
        self.plan: Plan | None = plan
        self._attributes = attributes
        self._stays_open = stays_open
        self._is_new = is_new
        self._outcome: str | None = None
        self._progress = Progress()
        self._context: Context | None = None
        self._is_entered = False

    @property
    def id(self) -> str:
        """The id that people quote."""
        return self.identity.id

    @property
    def name(self) -> str:
        """The saga's type; ``""`` when it is not known here."""
        return self.identity.name

    @property
    def run_id(self) -> str:
        """Tells two runs of one id apart; ``""`` when there is only one."""
        return self.identity.run

    def step(self, name: str, /, **options: Unpack[StepOptions]) -> Attempt:
        """Opens a step of this saga, as `sagascope.step` does of the current one."""
        kind = options.pop("type", semconv.TYPE_ACTION)
        return Attempt(name, kind, self, options)

    def compensation(self, name: str, /, *, compensates: str | None = None, **options: Unpack[StepOptions]) -> Attempt:
        """Opens a compensation of this saga; without `compensates` the plan tells which step it compensates."""
        return Attempt(name, semconv.TYPE_COMPENSATION, self, {"compensates": compensates, **options})

    def complete(self) -> None:
        """Ends the saga as completed: every required step succeeded."""
        self._set_outcome(semconv.OUTCOME_COMPLETED)

    def compensated(self) -> None:
        """Ends the saga as compensated: it was given up, and its committed steps were compensated."""
        self._set_outcome(semconv.OUTCOME_COMPENSATED)

    def fail(self, error: BaseException | str | None = None) -> None:
        """Ends the saga as failed: it was given up with steps that are still committed, or whose outcome is unknown.

        Args:
            error: The error that was caught, or a description.
        """
        self._set_outcome(semconv.OUTCOME_FAILED)
        if error is not None and self._span is not None:
            with _UPDATING:
                self._record_failure(error)

    def wait_until(self, when: "datetime | float", reason: str | None = None) -> None:
        """Declares a planned wait, for example for a review: nothing is late before it ends.

        Args:
            when: The end of the wait, as a `datetime` or in Unix seconds.
            reason: A short reason.
        """
        with _UPDATING:
            summary = f"waits for {reason}" if reason else "waits as planned"
            self._declare_wait(summary, {semconv.WAIT_UNTIL: unix_seconds(when)}, reason)

    def wait_for(self, event: str, reason: str | None = None) -> None:
        """Declares a wait for an event without a deadline: nothing is late until a step starts after it.

        Args:
            event: The event, for example ``"approval"``.
            reason: A short reason.
        """
        with _UPDATING:
            self._declare_wait(f"waits for {event}", {semconv.WAIT_FOR: text_of(event)}, reason)

    def add_keys(self, **keys: Any) -> None:
        """Adds business keys that became known after the start."""
        with _UPDATING:
            self._add_attributes(key_attributes(keys))

    # --- for the package ---------------------------------------------------------------------------

    def compensated_step(self, compensation: str) -> str | None:
        """Returns the step that this compensation compensates: the latest committed one that the plan gives it."""
        candidates = self.plan.steps_compensated_by(compensation) if self.plan is not None else []
        return self._progress.latest_committed(candidates) or next(iter(candidates), None)

    def record_success(self, kind: str, step: str, key: str, compensates: str | None) -> None:
        """Records an attempt that succeeded."""
        if kind == semconv.TYPE_COMPENSATION:
            self._progress.compensate(compensates or self.compensated_step(step), key)
        elif kind == semconv.TYPE_ACTION:
            self._progress.commit(step, key)

    def record_interruption(self) -> None:
        """Records an attempt inside which a generator was left."""
        self._progress.was_interrupted = True

    def context_for_step(self, context: Context) -> Context:
        """Returns the context in which to open a step of this saga from `context`, which is outside the saga."""
        if self._context is None:
            if not self._is_entered:  # else its start failed, which was logged
                warn(f"A saga {self.name} is not entered, so nothing is reported: use it in a with statement.")
            return context
        root: SagaContext = self._context[SAGA_CONTEXT_KEY]  # type: ignore[assignment]
        saga_context = SagaContext(self.identity, root.span_context, saga=self)
        # closed, so that the end of the step restores `context`
        saga_context.closed, saga_context.enclosing = True, context
        return set_saga_in_context(saga_context, set_span_in_context(get_current_span(self._context), context))

    def _open(self, runtime: "Runtime", context: Context) -> None:
        self._is_entered = True
        self.identity = SagaIdentity(
            runtime.redact_identifier(semconv.SAGA_ID, self.identity.id),
            self.identity.name,
            runtime.redact_identifier(semconv.SAGA_RUN_ID, self.identity.run),
        )
        saga_context = SagaContext(self.identity, INVALID_SPAN_CONTEXT, saga=self)
        attributes = {**saga_context.attributes, **self._attributes}
        if self._is_new:
            if begin_attempts(self.identity) and not self.identity.run:
                warn(
                    f"{self.name}.begin() was called again with the id of an earlier saga: both are shown as one. "
                    "Pass run=... to tell them apart, or continue the first with resume()."
                )
            if not self._stays_open:
                attributes[semconv.SAGA_ROLE] = semconv.ROLE_SAGA
        self._start_span(runtime, self.name or "saga", attributes, saga_context, context)
        self._context = self._entered

    def _close(self, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit) and self._progress.has_nothing_left(self.plan):
            error = None  # the consumer of a generator left it when the work was done
        outcome = self._outcome or (None if self._stays_open else self._derived_outcome(error))
        if outcome is not None and self._span is not None:
            self._span.set_attribute(semconv.SAGA_OUTCOME, outcome)
        self._end_span(error, ended=outcome is not None)

    def _derived_outcome(self, error: BaseException | None) -> str:
        if self._progress.is_compensated(self.plan, succeeded=error is None):
            return semconv.OUTCOME_COMPENSATED
        return semconv.OUTCOME_COMPLETED if error is None else semconv.OUTCOME_FAILED

    def _set_outcome(self, outcome: str) -> None:
        """Keeps the outcome for the end of the saga's block, or without a block puts it on the current span."""
        self._outcome = outcome
        if self._span is None:
            with _UPDATING:
                self._add_attributes({semconv.SAGA_OUTCOME: outcome})

    def _declare_wait(self, summary: str, attributes: dict[str, Any], reason: str | None) -> None:
        if reason is not None:
            attributes[semconv.WAIT_REASON] = text_of(reason)
        self._add_attributes(attributes)
        if _runtime.active is not None:
            _runtime.active.emit_log(summary, self._current_context(), attributes)

    def _add_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets attributes on the innermost open span of this saga, or on a new short one."""
        runtime = _runtime.active
        if runtime is None:
            return
        context = self._current_context()
        span = get_current_span(context)
        if isinstance(span, ForwardingSpan) and span.saga_span.is_recording():
            span.saga_span.set_attributes(runtime.truncate(attributes))
        elif (saga_context := get_saga_context(context)) is not None:
            runtime.start_span(self.name or "saga", context, {**saga_context.attributes, **attributes}, ()).end()

    def _current_context(self) -> Context:
        context = get_current()
        saga_context = get_saga_context(context)
        if saga_context is not None and saga_context.identity == self.identity:
            return context
        return self.context_for_step(context)


def declared_plan(name: str) -> Plan | None:
    """Returns the plan of the sagas of this name, if this process declared one."""
    return _declared.get(name)


def current() -> RunningSaga | None:
    """Returns the saga that this code runs in, also one that a caller started; None outside any saga."""
    context = get_current()
    saga_context = get_saga_context(context)
    if saga_context is None:
        return next((saga for find in engine_sagas if (saga := find()) is not None), None)
    if isinstance(saga_context.saga, RunningSaga):
        return saga_context.saga
    identity = saga_context.identity
    saga = saga_context.saga = RunningSaga(identity, declared_plan(identity.name), {}, stays_open=True, is_new=False)
    saga._context = context  # noqa: SLF001 - for its steps in other threads, which OpenTelemetry's context does not follow
    return saga
