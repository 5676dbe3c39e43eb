"""Attempts of steps and compensations: context managers and decorators, for synchronous and asynchronous code."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import isasyncgenfunction, iscoroutine, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link

from sagascope import _runtime, semconv
from sagascope._attributes import (
    Amount,
    amount_attributes,
    captured_value,
    converted_option,
    key_attributes,
    text_of,
    texts,
)
from sagascope._context import SagaContext, SagaHandle, SpanScope, get_saga_context
from sagascope._errors import Guard, warn
from sagascope._plan import Plan, next_attempt
from sagascope._propagation import Incoming

if TYPE_CHECKING:
    from sagascope._runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R")


_OPTION_ATTRIBUTES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("max_attempts", semconv.STEP_MAX_ATTEMPTS, int),
    ("timeout", semconv.STEP_TIMEOUT, float),
    ("idempotency_key", semconv.STEP_IDEMPOTENCY_KEY, str),
    ("resources", semconv.STEP_RESOURCES, texts),
    ("pivot", semconv.STEP_PIVOT, bool),
)
"""Option, attribute, and the type of its value."""

_CAPTURING = Guard("capturing arguments")


class StepOptions(TypedDict, total=False):
    """Options of an attempt."""

    key: str
    """Tells intended repetitions of one step apart: a loop, one per item."""
    attempt: int
    """Number of this attempt, from 1. Left out, attempts are counted within this process."""
    max_attempts: int
    """The attempt with this number is the last."""
    retry_in: float
    """Seconds until the next attempt, if this one fails."""
    timeout: float
    """Seconds after which this attempt is overdue; the plan's timeout if left out."""
    idempotency_key: str
    """The key by which the receiver executes the step once, however often it is called."""
    resources: Iterable[str]
    """Keys of what the step holds or waits for."""
    pivot: bool
    """After this step only forward is possible."""
    amount: Amount
    """The amount concerned in this step: ``"50.00"``, a `Decimal` or a number."""
    currency: str
    """ISO 4217 code."""
    keys: Mapping[str, Any]
    """Business keys to search for."""
    capture: Mapping[str, Any] | Iterable[str]
    """The step's own data to record: values by name, or for a decorated function the names of its arguments. Nothing
    else is captured."""
    type: Literal["action", "compensation", "prepare", "commit", "rollback"]
    """The kind of work; the last three are two-phase commit."""


_OPTIONS = frozenset({*StepOptions.__annotations__, "compensates"})


class Attempt(SpanScope):
    """One attempt of a step: a context manager for ``with`` and ``async with``, and a decorator.

    An error that leaves the block ends the attempt as failed, and propagates unchanged. Outside any saga, and while
    nothing is configured, it does nothing.
    """

    __slots__ = ("_options", "_saga", "attempt", "key", "kind", "name", "retry_in")

    _opening = Guard("starting a step")
    _closing = Guard("ending a step")

    def __init__(self, name: str, kind: str, saga: SagaHandle | None, options: Mapping[str, Any]) -> None:
        self._span = None
        self.name: str = name
        self.kind: str = kind
        self.attempt: int = 0
        """Its number, from 1; 0 before it is open."""
        key = options.get("key")
        self.key: str = "" if key is None else text_of(key)
        self.retry_in: float | None = options.get("retry_in")
        """Seconds until the next attempt, if this one fails; can be set until the block is left."""
        self._saga = saga
        self._options = options

    def __enter__(self) -> Self:
        # returns soon outside any saga, where a decorated function must cost next to nothing
        if _runtime.active is None or (self._saga is None and get_saga_context(get_current()) is None):
            return self
        return super().__enter__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Returns the function with an attempt around each call."""
        self.name = self.name or function.__name__
        return _decorated(function, self)

    @property
    def captures(self) -> tuple[str, ...]:
        """Names of the arguments that the attempts of a decorated function capture."""
        captured = self._options.get("capture", ())
        return () if isinstance(captured, Mapping) else tuple(captured)

    @property
    def compensates(self) -> str | None:
        """The step that this compensation compensates, if it was given."""
        return self._options.get("compensates")

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets an attribute of your own on this attempt."""
        if self._span is not None:
            self._span.set_attributes(self._runtime.truncate({key: value}))

    def copy(self, captured: Mapping[str, Any] | None = None) -> "Attempt":
        """Returns a new attempt with the same options."""
        options = self._options if captured is None else {**self._options, "capture": captured}
        return Attempt(self.name, self.kind, self._saga, options)

    def _open(self, runtime: "Runtime", context: Context) -> None:
        saga, outer = self._saga, get_saga_context(context)
        if saga is not None and (outer is None or outer.identity != saga.identity):
            context = saga.context_for_step(context)
            outer = get_saga_context(context)
        if outer is None or self._is_nested_in_itself(outer):
            return
        if not self._options.keys() <= _OPTIONS:
            warn(f"A step has no option {', '.join(sorted(self._options.keys() - _OPTIONS))}; it is ignored.")
        plan = self._saga.plan if self._saga is not None else outer.saga and outer.saga.plan
        if plan and not plan.has(self.name):
            warn(f"{self.name} is not a step of the plan of {outer.identity.name}; a plan has every step of its saga.")
        self._resolve_number(runtime, outer)
        inner = SagaContext(
            outer.identity,
            INVALID_SPAN_CONTEXT,
            step=self.name,
            key=self.key,
            attempt=self.attempt,
            saga=saga or outer.saga,
        )
        attributes = {**inner.attributes, **self._attributes(inner)}
        self._saga = inner.saga
        self._start_span(runtime, self.name, attributes, inner, context)

    def _is_nested_in_itself(self, outer: SagaContext) -> bool:
        """Returns whether the step is opened directly inside its own attempt, of which it is then a part."""
        same = outer.step == self.name and outer.key == self.key and not outer.remote
        return same and self._options.get("attempt") in (None, outer.attempt)

    def _resolve_number(self, runtime: "Runtime", outer: SagaContext) -> None:
        """Takes number and key from the caller if this is the executor's view of its attempt, or counts."""
        if self.key:
            self.key = runtime.redact_identifier(semconv.STEP_KEY, self.key)
        given = converted_option("attempt", int, self._options.get("attempt"))
        if outer.remote and outer.step == self.name and self.key in ("", outer.key):
            self.key = outer.key
            given = given or outer.attempt or None
        self.attempt = next_attempt(outer.identity, self.kind, self.name, self.key, given)

    def _attributes(self, inner: SagaContext) -> dict[str, Any]:
        attributes: dict[str, Any] = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_TYPE: self.kind}
        saga = inner.saga
        if saga is not None and saga.plan is not None:
            attributes |= _plan_attributes(saga.plan, self.name)
        if self.kind == semconv.TYPE_COMPENSATION:
            compensates = self.compensates or (saga and saga.compensated_step(self.name))
            if compensates:
                attributes[semconv.STEP_COMPENSATES] = compensates
        return attributes | _option_attributes(self._options)

    def _close(self, error: BaseException | None) -> None:
        try:
            self._record_end(error)
        finally:
            self._end_span(error)

    def _record_end(self, error: BaseException | None) -> None:
        if self._saga is not None and error is None:
            self._saga.record_success(self.kind, self.name, self.key, self.compensates)
        elif self._saga is not None and isinstance(error, GeneratorExit):
            self._saga.record_interruption()
        if error is not None and self._span is not None:
            retry_in = converted_option("retry_in", float, self.retry_in)
            if retry_in is not None:
                self._span.set_attribute(semconv.STEP_RETRY_IN, retry_in)


def _option_attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {}
    for option, name, convert in _OPTION_ATTRIBUTES:
        value = converted_option(option, convert, options.get(option))
        if value is not None:
            attributes[name] = value
    if "amount" in options or "currency" in options:
        attributes |= amount_attributes(options.get("amount"), options.get("currency"))
    if "keys" in options:
        attributes |= key_attributes(options["keys"])
    if isinstance(options.get("capture"), Mapping):
        captured = options["capture"].items()
        attributes |= {semconv.CAPTURE_PREFIX + text_of(name): captured_value(value) for name, value in captured}
    return attributes


def _plan_attributes(plan: Plan, name: str) -> dict[str, Any]:
    planned = plan.step(name)
    attributes: dict[str, Any] = {}
    if planned is not None and planned.timeout is not None:
        attributes[semconv.STEP_TIMEOUT] = float(planned.timeout)
    if planned is not None and planned.pivot:
        attributes[semconv.STEP_PIVOT] = True
    return attributes


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def step(name: str | None = None, /, **options: Unpack[StepOptions]) -> Attempt: ...


def step(name: Any = None, /, **options: Any) -> Any:
    """Opens a step of the current saga, around a block or around each call of a function.

    ``with step("ledger.record"):``, ``async with``, ``@step("ledger.record")``, ``@step()`` and ``@step``; the last two
    use the function's name. Outside any saga it does nothing. `StepOptions` lists the options.
    """
    return _attempt_or_decorated(name, options.pop("type", semconv.TYPE_ACTION), options)


@overload
def compensation(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def compensation(
    name: str | None = None, /, *, compensates: str | None = None, **options: Unpack[StepOptions]
) -> Attempt: ...


def compensation(name: Any = None, /, **options: Any) -> Any:
    """Opens a compensation, in the same forms as `step`.

    Args:
        name: The name of the compensation, for example ``wallet.refund``.
        compensates: The step that it compensates; the saga's plan tells it if left out.
        **options: As in `StepOptions`.
    """
    return _attempt_or_decorated(name, semconv.TYPE_COMPENSATION, options)


def _attempt_or_decorated(name: Any, kind: str, options: Any) -> Any:
    if callable(name):
        return Attempt(name.__name__, kind, None, options)(name)
    return Attempt(name or "", kind, None, options)


def _decorated(function: Callable[P, R], attempt: Attempt) -> Callable[P, R]:
    """Returns the function with a copy of the attempt around each call; a coroutine function stays one.

    Raises:
        TypeError: It is a generator function, whose body does not run when it is called.
    """
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise TypeError(f"{attempt.name} is a generator; open the step inside it, in a with statement")
    new_attempt = _capturing(function, attempt) if attempt.captures else lambda *args, **kwargs: attempt.copy()
    if iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with new_attempt(*args, **kwargs):
                return await function(*args, **kwargs)

        return awaited  # type: ignore[return-value]

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with new_attempt(*args, **kwargs):
            result = function(*args, **kwargs)
            if iscoroutine(result):
                warn(f"{attempt.name} returned a coroutine, and ends before its work: decorate the async function.")
            return result

    return called


def _capturing(function: Callable[P, R], attempt: Attempt) -> Callable[P, Attempt]:
    """Returns a function that makes an attempt for a call, with the arguments to capture.

    Raises:
        TypeError: The function has no argument of a name to capture.
    """
    parameters = signature(function)
    unknown = [name for name in attempt.captures if name not in parameters.parameters]
    if unknown:
        raise TypeError(f"{attempt.name} has no argument named {', '.join(unknown)}")

    def new_attempt(*args: P.args, **kwargs: P.kwargs) -> Attempt:
        captured: dict[str, Any] = {}
        with _CAPTURING:
            call = parameters.bind_partial(*args, **kwargs)
            call.apply_defaults()
            captured = {name: call.arguments[name] for name in attempt.captures if name in call.arguments}
        return attempt.copy(captured)

    return new_attempt


class Batch(SpanScope):
    """A step of several sagas at once. An error that leaves the block fails the attempt of each saga."""

    __slots__ = ("_incoming", "name")

    _opening = Guard("starting a batch")
    _closing = Guard("ending a batch")

    def __init__(self, name: str, incoming: Iterable[Incoming]) -> None:
        self._span = None
        self.name: str = name
        self._incoming = incoming

    def _open(self, runtime: "Runtime", context: Context) -> None:
        links = [link for each in self._incoming if (link := _link(self.name, each)) is not None]
        if links:
            attributes = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_NAME: self.name}
            self._start_span(runtime, self.name, attributes, None, context, links)


def batch(name: str, incoming: Iterable[Incoming]) -> Batch:
    """Opens one step for all sagas that a batch of messages belongs to.

    ``with sagascope.batch("ledger.settle", [sagascope.extract(m.headers) for m in messages]):`` or ``async with``. Each
    saga gets an attempt of the step, with the caller's number if the caller opened a step of the same name.

    Args:
        name: The name of the step.
        incoming: The results of `extract` for the messages; those without a saga are ignored. The collector keeps 1,000
            of a span: split a larger batch.
    """
    return Batch(name, incoming)


def _link(name: str, incoming: Incoming) -> Link | None:
    caller = incoming.saga_context
    if caller is None:
        return None
    attributes: dict[str, Any] = {
        **caller.attributes,
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: name,
        semconv.STEP_TYPE: semconv.TYPE_ACTION,
    }
    if caller.step != name:
        attributes.pop(semconv.STEP_KEY, None)
        attributes[semconv.STEP_ATTEMPT] = 1
    return Link(caller.span_context, attributes)
