"""The saga and the span that code runs in, kept in OpenTelemetry's context.

They follow the code through threads and tasks wherever OpenTelemetry's context does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from opentelemetry.context import Context, attach, create_key, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from sagascope import _runtime, semconv
from sagascope._attributes import error_summary
from sagascope._errors import Guard
from sagascope._plan import Plan
from sagascope._runtime import Runtime

SAGA_CONTEXT_KEY = create_key("sagascope")


class SagaIdentity(NamedTuple):
    """Identifies one run of one saga."""

    id: str
    name: str = ""
    run: str = ""


class SagaHandle(Protocol):
    """A running saga, as its steps use it."""

    identity: SagaIdentity
    plan: Plan | None

    def compensated_step(self, compensation: str) -> str | None:
        """Returns the step that this compensation compensates."""

    def record_success(self, kind: str, step: str, key: str, compensates: str | None) -> None:
        """Records an attempt that succeeded."""

    def record_interruption(self) -> None:
        """Records an attempt inside which a generator was left."""

    def context_for_step(self, context: Context) -> Context:
        """Returns the context in which to open a step of this saga from `context`, which is outside the saga."""
        ...


@dataclass(slots=True, eq=False, repr=False)
class SagaContext:
    """The saga, and the step in it, that code runs in. Every span and log record below gets `attributes`."""

    identity: SagaIdentity
    span_context: SpanContext
    """The saga span below which work continues."""
    step: str = ""
    key: str = ""
    attempt: int = 0
    remote: bool = False
    """True when the caller sent it from another process."""
    saga: SagaHandle | None = None
    attributes: dict[str, Any] = field(init=False)
    enclosing: Context | None = field(init=False, default=None)
    """The context that was current before, once the block is closed."""
    closed: bool = field(init=False, default=False)
    """True once its block was left."""
    ended: bool = field(init=False, default=False)
    """True once the saga or step ended. Code that still runs in a copy of this context is no longer part of it."""

    def __post_init__(self) -> None:
        attributes: dict[str, Any] = {semconv.SAGA_ID: self.identity.id}
        if self.identity.name:
            attributes[semconv.SAGA_NAME] = self.identity.name
        if self.identity.run:
            attributes[semconv.SAGA_RUN_ID] = self.identity.run
        if self.step:
            attributes[semconv.STEP_NAME] = self.step
            if self.key:
                attributes[semconv.STEP_KEY] = self.key
            if self.attempt:
                attributes[semconv.STEP_ATTEMPT] = self.attempt
        self.attributes = attributes

    def copy(self) -> "SagaContext":
        """Returns an open copy, to be entered again."""
        return replace(self)


def get_saga_context(context: Context) -> SagaContext | None:
    """Returns the innermost saga context that has not ended, or None outside any saga.

    A task that outlives its block, and the consumer of a generator that was not exhausted, keep a context that has
    ended.
    """
    found: SagaContext | None = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    while found is not None and found.ended:
        found = found.enclosing.get(SAGA_CONTEXT_KEY) if found.enclosing is not None else None  # type: ignore[assignment]
    return found


def set_saga_in_context(saga_context: SagaContext, context: Context) -> Context:
    return Context({**context, SAGA_CONTEXT_KEY: saga_context})


def restore(entered: Context, previous: Context, *, ended: bool = False) -> Context:
    """Makes `previous`, or the nearest context around it that is still open, current again, and returns it.

    It becomes current only if `entered` still is: blocks may overlap, or end in another task.

    Args:
        entered: The context that the block entered.
        previous: The context that was current before.
        ended: Whether the saga or step ended with the block.
    """
    previous = _nearest_open(previous)
    saga_context: SagaContext | None = entered.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    if saga_context is not None and saga_context is not previous.get(SAGA_CONTEXT_KEY):
        saga_context.closed = True
        saga_context.enclosing = previous
        saga_context.ended = ended
    if get_current() is entered:
        attach(previous)
    return previous


def _nearest_open(context: Context) -> Context:
    """Returns the nearest context, from this one outward, whose saga context is open."""
    found: SagaContext | None = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    while found is not None and found.closed and found.enclosing is not None:
        context = found.enclosing
        found = context.get(SAGA_CONTEXT_KEY)  # type: ignore[assignment]
    return context


# --- the spans of blocks ----------------------------------------------------------------------------


class SpanScope:
    """A block with a saga span: starts the span, makes it current, and ends it when the block is left."""

    __slots__ = ("_entered", "_previous", "_runtime", "_span")

    _opening: ClassVar[Guard] = Guard("starting a span")
    _closing: ClassVar[Guard] = Guard("ending a span")

    _entered: Context
    _previous: Context
    _runtime: Runtime
    _span: Span | None
    """None while the block is not open, or has no span."""

    def __enter__(self) -> Self:
        runtime = _runtime.active
        if runtime is not None:
            with self._opening:
                self._open(runtime, get_current())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with self._closing:
                self._close(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def leave(self) -> None:
        """Restores the context, as the end of the block does, but leaves the span open until `__exit__`."""
        if self._span is not None:
            with self._closing:
                restore(self._entered, self._previous, ended=True)

    def _open(self, runtime: Runtime, context: Context) -> None:
        """Starts what the block stands for, in `context`."""

    def _close(self, error: BaseException | None) -> None:
        """Ends what the block stands for."""
        self._end_span(error)

    def _start_span(
        self,
        runtime: Runtime,
        name: str,
        attributes: Mapping[str, Any],
        saga_context: SagaContext | None,
        context: Context,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        """Starts the span below `context` and makes it current; without `saga_context`, for no saga in particular."""
        span = runtime.start_span(name, _parent_context(context), attributes, links, kind)
        propagated = runtime.propagated_context(name, span.get_span_context(), context)
        self._activate(runtime, span, propagated, saga_context, context)

    def _activate(
        self, runtime: Runtime, span: Span, propagated: SpanContext, saga_context: SagaContext | None, context: Context
    ) -> None:
        """Makes the span and `saga_context` current; other code sees and propagates the ids of `propagated`."""
        self._previous = context
        current = get_current_span(context)
        service_span = current.service_span if isinstance(current, ForwardingSpan) else current
        self._entered = set_span_in_context(ForwardingSpan(propagated, span, service_span, runtime), context)
        if saga_context is not None:
            saga_context.span_context = span.get_span_context()
            self._entered = set_saga_in_context(saga_context, self._entered)
        attach(self._entered)
        self._runtime = runtime
        self._span = span

    def _end_span(self, error: BaseException | None, *, ended: bool = True) -> None:
        """Ends the span, with the error that left the block if any, and restores the context.

        Args:
            error: The error that left the block.
            ended: Whether the saga or step ended with the block.
        """
        span, self._span = self._span, None
        current, restored = get_current_span(self._entered), restore(self._entered, self._previous, ended=ended)
        if ended and isinstance(current, ForwardingSpan):
            current.enclosing = restored
        if span is None:
            return
        if error is not None:
            self._record_failure(error, span)
        span.end()

    def _record_failure(self, error: BaseException | str, span: Span | None = None) -> None:
        """Sets the status of the span to ERROR, with an exception event for an exception."""
        failed = span or self._span
        if failed is None:
            return
        if isinstance(error, BaseException):
            failed.add_event("exception", self._runtime.exception_attributes(error))
            error = error_summary(error)
        failed.set_status(StatusCode.ERROR, self._runtime.truncate({"": error})[""])


class ForwardingSpan(Span):
    """The current span inside a saga span, as code other than Sagascope sees it.

    It has the ids of the saga span and the sampled flag of the service's sampler. Calls are forwarded to the saga span
    and to the service's own span around it, which would have received them without Sagascope. Once the block ended, it
    has the ids of the span around the block: a task that outlives the block starts nothing below a span that ended.
    """

    def __init__(self, context: SpanContext, saga_span: Span, service_span: Span, runtime: Runtime) -> None:
        self._context = context
        self.saga_span = saga_span
        self.service_span = service_span
        self._runtime = runtime
        self.enclosing: Context | None = None
        """The context around the block, once it ended."""

    def get_span_context(self) -> SpanContext:
        return self._context if self.enclosing is None else get_current_span(self.enclosing).get_span_context()

    def is_recording(self) -> bool:
        if self.enclosing is not None:
            return get_current_span(self.enclosing).is_recording()
        return self.saga_span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.saga_span.is_recording():
            self.saga_span.set_attributes(self._runtime.truncate(attributes))
        if self.service_span.is_recording():
            self.service_span.set_attributes(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        if self.saga_span.is_recording():
            self.saga_span.add_event(name, self._runtime.truncate(attributes or {}), timestamp)
        if self.service_span.is_recording():
            self.service_span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        for span in self._recording():
            span.add_link(context, attributes)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        if self.saga_span.is_recording():
            recorded = {**self._runtime.exception_attributes(exception), **self._runtime.truncate(attributes or {})}
            self.saga_span.add_event("exception", recorded, timestamp)
        if self.service_span.is_recording():
            self.service_span.record_exception(exception, attributes, timestamp, escaped)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        for span in self._recording():
            span.set_status(status, description)

    def update_name(self, name: str) -> None:
        """Renames the service's span; a saga span keeps the name of its saga or step."""
        self.service_span.update_name(name)

    def end(self, end_time: int | None = None) -> None:
        """Ends the service's span; a saga span ends with its block."""
        self.service_span.end(end_time)

    def _recording(self) -> list[Span]:
        return [span for span in (self.saga_span, self.service_span) if span.is_recording()]


def _parent_context(context: Context) -> Context:
    """Returns a context whose current span reaches the collector.

    The service's own span does, unless its sampler dropped it; then the parent is the saga span above.
    """
    current = get_current_span(context)
    saga_context = get_saga_context(context)
    if saga_context is None or current.is_recording():
        return context
    current_ids = current.get_span_context()
    if current_ids.is_valid and (current_ids.is_remote or current_ids.trace_id != saga_context.span_context.trace_id):
        return context
    return set_span_in_context(NonRecordingSpan(saga_context.span_context), context)
