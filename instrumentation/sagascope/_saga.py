"""Sagas: what is declared once, and one that runs."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, get_current_span, set_span_in_context

from sagascope import _attempts, _runtime, semconv
from sagascope._context import KEY, CarriedSpan, Place, place_in, put
from sagascope._guard import Guard
from sagascope._identity import Identity
from sagascope._plan import Plan, Step
from sagascope._progress import Progress
from sagascope._scope import Scope
from sagascope._step import Attempt, StepOptions
from sagascope._values import Amount, business_keys, moment, money

if TYPE_CHECKING:
    from datetime import datetime

    from sagascope._runtime import Runtime

_OPENING = Guard("opening a saga")
_CLOSING = Guard("closing a saga")
_TELLING = Guard("adding to a saga")

_declared: dict[str, Plan] = {}


class Saga:
    """A type of saga, declared once: its name and its plan.

    Args:
        name: For example ``payment``.
        steps: The planned steps in order; a plain string is a step that nothing undoes.
        timeout: Seconds that a whole saga may take.

    Raises:
        PlanInvalid: Two steps have one name, or one waits for a step that is not in the plan.
    """

    def __init__(self, name: str, steps: Iterable[Step | str] = (), *, timeout: float | None = None) -> None:
        self.name: str = name
        self.plan: Plan = Plan(steps, timeout)
        _declared[name] = self.plan

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, {list(self.plan.steps)!r})"

    def begin(
        self,
        id: str,  # noqa: A002 - what people call it
        *,
        amount: Amount | None = None,
        currency: str | None = None,
        keys: Mapping[str, Any] | None = None,
        run: str | None = None,
        open: bool = False,  # noqa: A002 - reads as what it says
    ) -> "RunningSaga":
        """Begin a saga: ``with payment.begin("8492") as saga`` or ``async with``.

        Leaving the block without an error completes it, or says that it was compensated when every committed step that
        has a compensation was undone; an error makes it failed, or compensated likewise.

        Args:
            id: The id that people quote.
            amount: The value at stake: ``"50.00"``, a `Decimal` or a number.
            currency: ISO 4217.
            keys: Business keys to search for, for example ``{"order_id": "A-17"}``.
            run: Tells two runs of one id apart.
            open: Leave it open at the end of the block, for another block or process to go on with `resume`.
        """
        attributes = {**self.plan.attributes, **money(amount, currency), **business_keys(keys)}
        return RunningSaga(
            Identity(str(id), self.name, str(run or "")), self.plan, attributes, left_open=open, begun=True
        )

    def resume(
        self,
        id: str,  # noqa: A002 - what people call it
        *,
        run: str | None = None,
        open: bool = False,  # noqa: A002 - reads as what it says
    ) -> "RunningSaga":
        """Go on with a saga that was left open, in this process or another; the end of the block is as in `begin`."""
        return RunningSaga(Identity(str(id), self.name, str(run or "")), self.plan, {}, left_open=open, begun=False)


class RunningSaga(Scope):
    """One saga while it runs here. Inside its block every span and log record carries its id."""

    __slots__ = ("_attributes", "_begun", "_context", "_left_open", "_outcome", "_progress", "identity", "plan")

    def __init__(
        self, identity: Identity, plan: Plan | None, attributes: Mapping[str, Any], *, left_open: bool, begun: bool
    ) -> None:
        self._span = None
        self.identity: Identity = identity
        self.plan: Plan | None = plan
        self._attributes = attributes
        self._left_open = left_open
        self._begun = begun
        self._outcome: str | None = None
        self._progress = Progress()
        self._context: Context | None = None

    @property
    def id(self) -> str:
        """The id that people quote."""
        return self.identity.id

    @property
    def name(self) -> str:
        """The saga's type; ``""`` when it is not known here."""
        return self.identity.name

    @property
    def run(self) -> str:
        """Tells two runs of one id apart; ``""`` when there is one."""
        return self.identity.run

    @property
    def run_id(self) -> str:
        """The value of ``saga.run.id``, as `run`."""
        return self.identity.run

    def __enter__(self) -> Self:
        runtime = _runtime.active
        if runtime is not None:
            with _OPENING:
                self._begin(runtime, get_current())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with _CLOSING:
                self._end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def step(self, name: str, /, **options: Unpack[StepOptions]) -> Attempt:
        """Open a step of this saga, as `sagascope.step` does of the current one."""
        kind = options.pop("type", semconv.TYPE_ACTION)
        return Attempt(name, kind, self, options)

    def compensation(self, name: str, /, *, compensates: str | None = None, **options: Unpack[StepOptions]) -> Attempt:
        """Open a step of this saga that undoes another; which, is found in the plan when it is left out."""
        return Attempt(name, semconv.TYPE_COMPENSATION, self, {"compensates": compensates, **options})

    def complete(self) -> None:
        """Say that the saga is done: every step that was needed is."""
        self._close_with(semconv.OUTCOME_COMPLETED)

    def compensated(self) -> None:
        """Say that the saga was given up, and what had been done is undone."""
        self._close_with(semconv.OUTCOME_COMPENSATED)

    def fail(self, error: BaseException | str | None = None) -> None:
        """Say that the saga was given up, with work still in force or unknown.

        Args:
            error: Why: the error that was caught, or a few words.
        """
        self._close_with(semconv.OUTCOME_FAILED)
        if error is not None and self._span is not None:
            with _TELLING:
                self._mark_failed(error)

    def wait_until(self, when: "datetime | float", reason: str | None = None) -> None:
        """Say that a wait is meant, for example for a review: nothing is late before then.

        Args:
            when: Its end, as a `datetime` or in Unix seconds.
            reason: Why, in a few words.
        """
        with _TELLING:
            attributes: dict[str, Any] = {semconv.WAIT_UNTIL: moment(when)}
            if reason is not None:
                attributes[semconv.WAIT_REASON] = str(reason)
            self._tell(attributes)
            if _runtime.active is not None:
                _runtime.active.emit(f"waits for {reason}" if reason else "waits, as meant", self._here(), attributes)

    def wait_for(self, event: str, reason: str | None = None) -> None:
        """Say that the saga waits for an event without a deadline: nothing is late until a step starts after it.

        Args:
            event: What it waits for, for example ``"approval"``.
            reason: Why, in a few words.
        """
        with _TELLING:
            attributes: dict[str, Any] = {semconv.WAIT_FOR: str(event)}
            if reason is not None:
                attributes[semconv.WAIT_REASON] = str(reason)
            self._tell(attributes)
            if _runtime.active is not None:
                _runtime.active.emit(f"waits for {event}", self._here(), attributes)

    def add_keys(self, **keys: Any) -> None:
        """Add business keys that became known after the beginning."""
        with _TELLING:
            self._tell(business_keys(keys))

    # --- for the package ---------------------------------------------------------------------------

    def undoes(self, compensation: str) -> str | None:
        """The step that a compensation of this name undoes: the latest committed one of the plan."""
        candidates = self.plan.undone_by(compensation) if self.plan is not None else []
        return self._progress.latest_committed(candidates) or next(iter(candidates), None)

    def note(self, kind: str, step: str, key: str, compensates: str | None) -> None:
        """Take note of an attempt that ended well."""
        if kind == semconv.TYPE_COMPENSATION:
            self._progress.undo(compensates or self.undoes(step), key)
        elif kind == semconv.TYPE_ACTION:
            self._progress.commit(step, key)

    def context_for(self, context: Context) -> Context:
        """Where a step of this saga stands that is opened in a context outside it."""
        if self._context is None:
            return context
        parent: Place = self._context[KEY]  # type: ignore[assignment]
        place = Place(self.identity, parent.parent, saga=self)
        place.closed, place.outer = True, context  # the step that is opened here goes back to where this code stood
        return put(place, set_span_in_context(get_current_span(self._context), context))

    def _begin(self, runtime: "Runtime", context: Context) -> None:
        self.identity = Identity(
            runtime.conceal(semconv.SAGA_ID, self.identity.id),
            self.identity.name,
            runtime.conceal(semconv.SAGA_RUN_ID, self.identity.run),
        )
        here = Place(self.identity, INVALID_SPAN_CONTEXT, saga=self)
        attributes = {**here.stamp, **self._attributes}
        if self._begun:
            _attempts.restart(self.identity)
            if not self._left_open:
                attributes[semconv.SAGA_ROLE] = semconv.ROLE_SAGA
        self._enter_scope(runtime, self.name or "saga", attributes, here, context)
        self._context = self._entered

    def _end(self, error: BaseException | None) -> None:
        outcome = self._outcome or (None if self._left_open else self._judge(error))
        if outcome is not None and self._span is not None:
            self._span.set_attribute(semconv.SAGA_OUTCOME, outcome)
        self._leave_scope(error, ended=outcome is not None)

    def _judge(self, error: BaseException | None) -> str:
        if self._progress.is_undone(self.plan, at_the_end=error is None):
            return semconv.OUTCOME_COMPENSATED
        return semconv.OUTCOME_COMPLETED if error is None else semconv.OUTCOME_FAILED

    def _close_with(self, outcome: str) -> None:
        """The outcome goes on the saga's own span when its block ends, else on the span that closes the saga."""
        self._outcome = outcome
        if self._span is None:
            with _TELLING:
                self._tell({semconv.SAGA_OUTCOME: outcome})

    def _tell(self, attributes: Mapping[str, Any]) -> None:
        """Put attributes on the innermost span of this saga that is open here, else on a short one of their own."""
        runtime = _runtime.active
        if runtime is None:
            return
        context = self._here()
        span = get_current_span(context)
        if isinstance(span, CarriedSpan) and span.own.is_recording():
            span.own.set_attributes(runtime.fit(attributes))
        elif (place := place_in(context)) is not None:
            runtime.start(self.name or "saga", context, {**place.stamp, **attributes}, ()).end()

    def _here(self) -> Context:
        context = get_current()
        place = place_in(context)
        return context if place is not None and place.identity == self.identity else self.context_for(context)


def declared(name: str) -> Plan | None:
    """The plan of the sagas of this name, if one was declared in this process."""
    return _declared.get(name)


def current() -> RunningSaga | None:
    """The saga in which this code runs, its caller's included; None outside any."""
    place = place_in(get_current())
    if place is None:
        return None
    if not isinstance(place.saga, RunningSaga):
        plan = _declared.get(place.identity.name)
        place.saga = here = RunningSaga(place.identity, plan, {}, left_open=True, begun=False)
        return here
    return place.saga
