"""Attempts of steps and compensations: context managers and decorators, the same names in sync and async code."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from sagascope import _attempts, _runtime, semconv
from sagascope._context import Place, place_in
from sagascope._guard import Guard
from sagascope._identity import Whole
from sagascope._scope import Scope
from sagascope._values import Amount, business_keys, money, plain

if TYPE_CHECKING:
    from sagascope._plan import Plan
    from sagascope._runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("max_attempts", semconv.STEP_MAX_ATTEMPTS, int),
    ("timeout", semconv.STEP_TIMEOUT, float),
    ("idempotency_key", semconv.STEP_IDEMPOTENCY_KEY, str),
    ("resources", semconv.STEP_RESOURCES, tuple),
    ("pivot", semconv.STEP_PIVOT, bool),
)

_OPENING = Guard("opening a step")
_CLOSING = Guard("closing a step")
_CAPTURING = Guard("capturing arguments")


class StepOptions(TypedDict, total=False):
    """What may be told of an attempt, beside its name."""

    key: str
    """Tells intended repetitions of one step apart: a loop, one per item."""
    attempt: int
    """Number of this try, from 1. Left out, it is counted within this process."""
    max_attempts: int
    """The attempt with this number is the last."""
    retry_in: float
    """Seconds until the next try, if this one fails."""
    timeout: float
    """Seconds after which this attempt is overdue; the plan's where it is left out."""
    idempotency_key: str
    """What makes the receiver do it once, however often it is asked."""
    resources: Iterable[str]
    """Keys of what the step holds or waits for."""
    pivot: bool
    """After this step only forward is possible."""
    amount: Amount
    """The value at stake in this step: ``"50.00"``, a `Decimal` or a number."""
    currency: str
    """ISO 4217."""
    keys: Mapping[str, Any]
    """Business keys to search for."""
    capture: Mapping[str, Any] | Iterable[str]
    """What to record of the step's own data, by name: values, or for a decorated function the names of its arguments.
    Nothing is captured otherwise."""
    type: Literal["action", "compensation", "prepare", "commit", "rollback"]
    """What kind of work it is; the last three are two-phase commit."""


class Attempt(Scope):
    """One try of a step: use it with ``with`` or ``async with``, or to decorate a function.

    It is open while its block runs. An error that leaves the block ends it as failed, and goes on unchanged. Outside
    any saga, and while nothing is configured, it does nothing.
    """

    __slots__ = ("_options", "_saga", "attempt", "key", "kind", "name", "retry_in")

    def __init__(self, name: str, kind: str, saga: Whole | None, options: Mapping[str, Any]) -> None:
        self._span = None
        self.name: str = name
        self.kind: str = kind
        self.attempt: int = 0
        """Its number, from 1; 0 before it is open."""
        self.key: str = options.get("key") or ""
        self.retry_in: float | None = options.get("retry_in")
        """Seconds until the next try, if this one fails; may be set until the block is left."""
        self._saga = saga
        self._options = options

    def __enter__(self) -> Self:
        runtime = _runtime.active
        if runtime is not None:
            context = get_current()
            place = place_in(context)
            if place is not None or self._saga is not None:
                with _OPENING:
                    self._open(runtime, context, place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with _CLOSING:
                self._close(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Open an attempt around each call of the function."""
        self.name = self.name or function.__name__
        return _around(function, self)

    def set_attribute(self, key: str, value: Any) -> None:
        """Add an attribute of your own to this attempt."""
        if self._span is not None:
            self._span.set_attributes(self._runtime.fit({key: value}))

    def again(self, captured: Mapping[str, Any] | None = None) -> "Attempt":
        """Another attempt that was told the same."""
        options = self._options if captured is None else {**self._options, "capture": captured}
        return Attempt(self.name, self.kind, self._saga, options)

    @property
    def captures(self) -> tuple[str, ...]:
        """Names of the arguments that a decorated function's attempts capture."""
        wanted = self._options.get("capture", ())
        return () if isinstance(wanted, Mapping) else tuple(wanted)

    def _open(self, runtime: "Runtime", context: Context, place: Place | None) -> None:
        saga = self._saga
        if saga is not None and (place is None or place.identity != saga.identity):
            context = saga.context_for(context)
            place = place_in(context)
        if place is None or self._is_inside_itself(place):
            return
        self._count(runtime, place)
        here = Place(
            place.identity,
            INVALID_SPAN_CONTEXT,
            step=self.name,
            key=self.key,
            attempt=self.attempt,
            saga=saga or place.saga,
        )
        attributes = {**here.stamp, **self._attributes(here)}
        self._saga = here.saga
        self._enter_scope(runtime, self.name, attributes, here, context)

    def _is_inside_itself(self, place: Place) -> bool:
        """A step that is opened again directly inside its own attempt is that attempt."""
        same = place.step == self.name and place.key == self.key and not place.remote
        return same and self._options.get("attempt") in (None, place.attempt)

    def _count(self, runtime: "Runtime", place: Place) -> None:
        """Take number and key from the caller's view where this is the executor's, else count."""
        if self.key:
            self.key = runtime.conceal(semconv.STEP_KEY, self.key)
        given = self._options.get("attempt")
        if place.remote and place.step == self.name and self.key in ("", place.key):
            self.key = place.key
            given = given or place.attempt or None
        self.attempt = _attempts.number(place.identity, self.kind, self.name, self.key, given)

    def _attributes(self, here: Place) -> dict[str, Any]:
        options = self._options
        attributes: dict[str, Any] = {
            semconv.SAGA_ROLE: semconv.ROLE_STEP,
            semconv.STEP_TYPE: self.kind,
        }
        plan = here.saga.plan if here.saga is not None else None
        if plan is not None:
            attributes |= _planned(plan, self.name)
        if self.kind == semconv.TYPE_COMPENSATION:
            undoes = options.get("compensates") or (here.saga and here.saga.undoes(self.name))
            if undoes:
                attributes[semconv.STEP_COMPENSATES] = undoes
        return attributes | _said(options)

    def _close(self, error: BaseException | None) -> None:
        if error is not None and self.retry_in is not None and self._span is not None:
            self._span.set_attribute(semconv.STEP_RETRY_IN, float(self.retry_in))
        if self._saga is not None and error is None:
            self._saga.note(self.kind, self.name, self.key, self.compensates)
        self._leave_scope(error)

    @property
    def compensates(self) -> str | None:
        """The step that this compensation undoes, if it was given."""
        return self._options.get("compensates")


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes for what was told of an attempt."""
    attributes = {attribute: form(options[option]) for option, attribute, form in _OPTIONS if option in options}
    if "amount" in options or "currency" in options:
        attributes |= money(options.get("amount"), options.get("currency"))
    if "keys" in options:
        attributes |= business_keys(options["keys"])
    if isinstance(options.get("capture"), Mapping):
        attributes |= {semconv.CAPTURE_PREFIX + name: plain(value) for name, value in options["capture"].items()}
    return attributes


def _planned(plan: "Plan", name: str) -> dict[str, Any]:
    step = plan.step(name)
    attributes: dict[str, Any] = {}
    if step is not None and step.timeout is not None:
        attributes[semconv.STEP_TIMEOUT] = float(step.timeout)
    if step is not None and step.pivot:
        attributes[semconv.STEP_PIVOT] = True
    return attributes


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def step(name: str | None = None, /, **options: Unpack[StepOptions]) -> Attempt: ...


def step(name: Any = None, /, **options: Any) -> Any:
    """Open a step of the current saga, around a block or around each call of a function.

    ``with step("ledger.record"):``, ``async with``, ``@step("ledger.record")``, ``@step()`` and ``@step``; the last two
    take the function's name. Outside any saga it does nothing. `StepOptions` says what else may be told.
    """
    return _made(name, options.pop("type", semconv.TYPE_ACTION), options)


@overload
def compensation(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def compensation(
    name: str | None = None, /, *, compensates: str | None = None, **options: Unpack[StepOptions]
) -> Attempt: ...


def compensation(name: Any = None, /, **options: Any) -> Any:
    """Open a step that undoes another, in the same forms as `step`.

    Args:
        name: What the undoing step is called, for example ``wallet.refund``.
        compensates: The step that it undoes; found in the saga's plan when it is left out.
        **options: As in `StepOptions`.
    """
    return _made(name, semconv.TYPE_COMPENSATION, options)


def _made(name: Any, kind: str, options: Any) -> Any:
    if callable(name):
        return Attempt(name.__name__, kind, None, options)(name)
    return Attempt(name or "", kind, None, options)


def _around(function: Callable[P, R], attempt: Attempt) -> Callable[P, R]:
    """The function with an attempt like this around each call; coroutine functions stay coroutine functions.

    Raises:
        TypeError: It is a generator function, whose body does not run when it is called.
    """
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise TypeError(f"{attempt.name} is a generator; open the step inside it, with a with statement")
    another = _capturing(function, attempt) if attempt.captures else lambda *args, **kwargs: attempt.again()
    if iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with another(*args, **kwargs):
                return await function(*args, **kwargs)

        return awaited  # type: ignore[return-value]

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with another(*args, **kwargs):
            return function(*args, **kwargs)

    return called


def _capturing(function: Callable[P, R], attempt: Attempt) -> Callable[P, Attempt]:
    """Makes an attempt for a call, with the arguments that it is to capture."""
    shape = signature(function)
    unknown = [name for name in attempt.captures if name not in shape.parameters]
    if unknown:
        raise TypeError(f"{attempt.name} has no argument called {', '.join(unknown)}")

    def another(*args: P.args, **kwargs: P.kwargs) -> Attempt:
        captured: dict[str, Any] = {}
        with _CAPTURING:
            call = shape.bind_partial(*args, **kwargs)
            call.apply_defaults()
            captured = {name: call.arguments[name] for name in attempt.captures if name in call.arguments}
        return attempt.again(captured)

    return another
