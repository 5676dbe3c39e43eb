"""The span of a block that stands for a saga or a step, and the span that other code sees inside it."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar

from opentelemetry.context import Context, attach
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

from sagascope._attributes import error_summary
from sagascope._context import SagaContext, get_saga_context, restore, set_saga_in_context
from sagascope._guard import Guard
from sagascope._runtime import Runtime


class SpanScope:
    """A block with a saga span: starts the span, makes it current, and ends it when the block is left."""

    __slots__ = ("_entered", "_previous", "_runtime", "_span")

    _closing: ClassVar[Guard] = Guard("ending a span")

    _entered: Context
    _previous: Context
    _runtime: Runtime
    _span: Span | None
    """None while the block is not open, or has no span."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            with self._closing:
                self._close(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

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
        self._entered = set_span_in_context(ForwardingSpan(propagated, span, _service_span(context), runtime), context)
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
        restore(self._entered, self._previous, ended=ended)
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
    and to the service's own span around it, which would have received them without Sagascope.
    """

    def __init__(self, context: SpanContext, saga_span: Span, service_span: Span, runtime: Runtime) -> None:
        self._context = context
        self._saga_span = saga_span
        self._service_span = service_span
        self._runtime = runtime

    @property
    def saga_span(self) -> Span:
        """The saga span."""
        return self._saga_span

    @property
    def service_span(self) -> Span:
        """The service's own span around the saga span."""
        return self._service_span

    def get_span_context(self) -> SpanContext:
        """Returns the ids to propagate."""
        return self._context

    def is_recording(self) -> bool:
        """Returns True until the saga span ends."""
        return self._saga_span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets the attribute on both spans."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets the attributes on both spans."""
        if self._saga_span.is_recording():
            self._saga_span.set_attributes(self._runtime.truncate(attributes))
        if self._service_span.is_recording():
            self._service_span.set_attributes(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Adds the event to both spans."""
        if self._saga_span.is_recording():
            self._saga_span.add_event(name, self._runtime.truncate(attributes or {}), timestamp)
        if self._service_span.is_recording():
            self._service_span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Adds the link to both spans."""
        for span in (self._saga_span, self._service_span):
            if span.is_recording():
                span.add_link(context, attributes)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Records the exception on both spans."""
        if self._saga_span.is_recording():
            recorded = {**self._runtime.exception_attributes(exception), **self._runtime.truncate(attributes or {})}
            self._saga_span.add_event("exception", recorded, timestamp)
        if self._service_span.is_recording():
            self._service_span.record_exception(exception, attributes, timestamp, escaped)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status of both spans."""
        for span in (self._saga_span, self._service_span):
            if span.is_recording():
                span.set_status(status, description)

    def update_name(self, name: str) -> None:
        """Renames the service's span; a saga span keeps the name of its saga or step."""
        self._service_span.update_name(name)

    def end(self, end_time: int | None = None) -> None:
        """Ends the service's span; a saga span ends with its block."""
        self._service_span.end(end_time)


def _service_span(context: Context) -> Span:
    """Returns the service's own current span."""
    current = get_current_span(context)
    return current.service_span if isinstance(current, ForwardingSpan) else current


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
