"""Where a piece of code stands: the saga, the step in it, and the span below which work goes on.

It is kept in OpenTelemetry's context, so it follows the code through threads and tasks wherever that context does.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context, attach, create_key, get_current
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from sagascope import semconv
from sagascope._identity import Identity, Whole
from sagascope._runtime import Runtime

KEY = create_key("sagascope")


class Place:
    """One saga span's place in the context. Everything below it is stamped with `stamp`."""

    __slots__ = ("attempt", "closed", "ended", "identity", "key", "outer", "parent", "remote", "saga", "stamp", "step")

    def __init__(
        self,
        identity: Identity,
        parent: SpanContext,
        *,
        step: str = "",
        key: str = "",
        attempt: int = 0,
        remote: bool = False,
        saga: Whole | None = None,
    ) -> None:
        self.identity: Identity = identity
        self.parent: SpanContext = parent
        self.step: str = step
        self.key: str = key
        self.attempt: int = attempt
        self.remote: bool = remote
        self.saga: Whole | None = saga
        self.stamp: dict[str, Any] = _stamp(identity, step, key, attempt)
        self.outer: Context | None = None
        self.closed: bool = False
        """Whether its block was left."""
        self.ended: bool = False
        """Whether what it stands for has ended: then code that still runs in a copy of its context is not in it."""

    def again(self) -> "Place":
        """The same place, to be entered once more."""
        return Place(self.identity, self.parent, step=self.step, key=self.key, attempt=self.attempt, remote=self.remote)


def _stamp(identity: Identity, step: str, key: str, attempt: int) -> dict[str, Any]:
    """The attributes of everything at one place; what is empty is left out."""
    stamp: dict[str, Any] = {semconv.SAGA_ID: identity.id}
    if identity.name:
        stamp[semconv.SAGA_NAME] = identity.name
    if identity.run:
        stamp[semconv.SAGA_RUN_ID] = identity.run
    if step:
        stamp[semconv.STEP_NAME] = step
        if key:
            stamp[semconv.STEP_KEY] = key
        if attempt:
            stamp[semconv.STEP_ATTEMPT] = attempt
    return stamp


def place_in(context: Context) -> Place | None:
    """The innermost place in this context that has not ended; None outside any saga.

    A task that outlives its block, and the reader of a generator that was left early, keep a context that it entered.
    """
    place: Place | None = context.get(KEY)  # type: ignore[assignment]
    while place is not None and place.ended:
        place = place.outer.get(KEY) if place.outer is not None else None  # type: ignore[assignment]
    return place


def put(place: Place, context: Context) -> Context:
    """A context that stands at this place."""
    return Context({**context, KEY: place})


def leave(entered: Context, previous: Context, *, ended: bool = False) -> None:
    """Go back from `entered` to `previous`, or further where that was closed meanwhile.

    Where the code no longer stands at `entered`, it stays: blocks may overlap, or end in another task.

    Args:
        entered: what the block entered.
        previous: what was current before.
        ended: whether what the block stands for has ended with it, and not only this part of it.
    """
    previous = _open_part(previous)
    place: Place | None = entered.get(KEY)  # type: ignore[assignment]
    if place is not None and place is not previous.get(KEY):
        place.closed = True
        place.outer = previous
        place.ended = ended
    if get_current() is entered:
        attach(previous)


def _open_part(context: Context) -> Context:
    """The nearest context, from this one outward, whose place is still open."""
    place: Place | None = context.get(KEY)  # type: ignore[assignment]
    while place is not None and place.closed and place.outer is not None:
        context = place.outer
        place = context.get(KEY)  # type: ignore[assignment]
    return context


class CarriedSpan(Span):
    """The current span inside a saga span, for everything that is not ours.

    It has the ids of our span and the sampled flag that the service's sampler gave. What it is told goes to our span
    and to the service's own span around it, which would have been told without us.
    """

    def __init__(self, context: SpanContext, own: Span, outer: Span, runtime: Runtime) -> None:
        self._context = context
        self._own = own
        self._outer = outer
        self._runtime = runtime

    @property
    def own(self) -> Span:
        """The saga span."""
        return self._own

    @property
    def outer(self) -> Span:
        """The service's own span around it."""
        return self._outer

    def get_span_context(self) -> SpanContext:
        """The ids to go on with."""
        return self._context

    def is_recording(self) -> bool:
        """True until the saga span ends."""
        return self._own.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        """Told to both."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Told to both."""
        if self._own.is_recording():
            self._own.set_attributes(self._runtime.fit(attributes))
        if self._outer.is_recording():
            self._outer.set_attributes(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Told to both."""
        if self._own.is_recording():
            self._own.add_event(name, self._runtime.fit(attributes or {}), timestamp)
        if self._outer.is_recording():
            self._outer.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Told to both."""
        for span in (self._own, self._outer):
            if span.is_recording():
                span.add_link(context, attributes)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Told to both."""
        if self._own.is_recording():
            told = {**self._runtime.failure(exception), **self._runtime.fit(attributes or {})}
            self._own.add_event("exception", told, timestamp)
        if self._outer.is_recording():
            self._outer.record_exception(exception, attributes, timestamp, escaped)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Told to both."""
        for span in (self._own, self._outer):
            if span.is_recording():
                span.set_status(status, description)

    def update_name(self, name: str) -> None:
        """Told to the service's span: a saga span's name is the saga's or the step's."""
        self._outer.update_name(name)

    def end(self, end_time: int | None = None) -> None:
        """Told to the service's span: a saga span ends with its block."""
        self._outer.end(end_time)
