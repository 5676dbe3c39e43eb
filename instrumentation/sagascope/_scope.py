"""A saga span and the context below it, from entering a block to leaving it."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from sagascope._context import CarriedSpan, Place, leave, place_in, put
from sagascope._runtime import Runtime


class Scope:
    """What a block that stands for a saga or a step keeps while it is open."""

    __slots__ = ("_entered", "_previous", "_runtime", "_span")

    _entered: Context
    _previous: Context
    _runtime: Runtime
    _span: Span | None
    """None while the block is not open, or stands for nothing."""

    def _enter_scope(
        self,
        runtime: Runtime,
        name: str,
        attributes: Mapping[str, Any],
        place: Place | None,
        context: Context,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        """Start the span below where `context` stands, and go on at `place`; None: at no saga's in particular."""
        span = runtime.start(name, _nearest_parent(context), attributes, links, kind)
        self._go_on(runtime, span, runtime.carried(name, span.get_span_context(), context), place, context)

    def _go_on(
        self, runtime: Runtime, span: Span, with_ids: SpanContext, place: Place | None, context: Context
    ) -> None:
        """Let what follows stand below this span, at `place`; the service goes on with these ids."""
        carried = CarriedSpan(with_ids, span, _outer(context), runtime)
        self._previous = context
        self._entered = set_span_in_context(carried, context)
        if place is not None:
            place.parent = span.get_span_context()
            self._entered = put(place, self._entered)
        attach(self._entered)
        self._runtime = runtime
        self._span = span

    def _leave_scope(self, error: BaseException | None, *, ended: bool = True) -> None:
        """End the span, with the error that left the block if one did, and go back; `ended` as for `leave`."""
        span, self._span = self._span, None
        leave(self._entered, self._previous, ended=ended)
        if span is None:
            return
        if error is not None:
            self._mark_failed(error, span)
        span.end()

    def _mark_failed(self, error: BaseException | str, span: Span | None = None) -> None:
        """Say of the span that it failed, and with what."""
        marked = span or self._span
        if marked is None:
            return
        if isinstance(error, BaseException):
            marked.add_event("exception", self._runtime.failure(error))
            error = say(error)
        marked.set_status(StatusCode.ERROR, self._runtime.fit({"": error})[""])


def say(error: BaseException) -> str:
    """An error in one line, also one that cannot be put into words."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's exception class
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _outer(context: Context) -> Span:
    """The service's own span that is current here."""
    current = get_current_span(context)
    return current.outer if isinstance(current, CarriedSpan) else current


def _nearest_parent(context: Context) -> Context:
    """A context whose current span is one that reaches the collector.

    The service's own span does, unless its sampler left it out; then it is the saga span above.
    """
    current = get_current_span(context)
    place = place_in(context)
    if place is None or current.is_recording():
        return context
    here = current.get_span_context()
    if here.is_valid and (here.is_remote or here.trace_id != place.parent.trace_id):
        return context
    return set_span_in_context(NonRecordingSpan(place.parent), context)
