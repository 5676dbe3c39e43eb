"""A span of a saga: much cheaper than the SDK's, and exported by the pipeline."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from sagascope._runtime import Attributes

_CLEAN_TYPES = frozenset({str, bool, int, float})
"""Types of values that need no check."""

MAX_EVENTS = MAX_LINKS = MAX_ATTRIBUTES = 128
"""Events, links and attributes of one span, as by OpenTelemetry's SDK. Beyond it the oldest event is dropped, a new
link, and a new attribute that is not the saga's; all are counted."""


def _clean(attributes: Attributes | None, limit: int | None = None) -> BoundedAttributes:
    """Returns a copy with values that OpenTelemetry knows; a key that is not a string is left out."""
    named = {key: value for key, value in (attributes or {}).items() if isinstance(key, str)}
    return BoundedAttributes(limit, named)


class SagaSpan(Span):
    """An open or ended span of a saga, from which an exported one is made in the background.

    It costs a fraction of the SDK's: attributes at the start are ours, and need no check.
    """

    __slots__ = (
        "attributes", "context", "dropped_attributes", "dropped_events", "dropped_links", "end_time", "events", "kind",
        "links", "name", "on_end", "parent", "start_time", "status",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link],
        on_end: "Callable[[SagaSpan], None]",
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.attributes = dict(attributes)
        self.links = list(links)
        self.on_end = on_end
        self.events: deque[tuple[str, Attributes, int]] | None = None
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0
        self.status: Status | None = None
        self.end_time: int | None = None
        self.start_time = time_ns()

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.end_time is not None:
            return
        for key, value in attributes.items():
            if type(key) is not str or not key or type(value) not in _CLEAN_TYPES:
                attributes = _clean(attributes)
                break
        if len(self.attributes) + len(attributes) <= MAX_ATTRIBUTES:
            self.attributes.update(attributes)
            return
        for key, value in attributes.items():
            if len(self.attributes) < MAX_ATTRIBUTES or key in self.attributes or key.startswith("saga."):
                self.attributes[key] = value
            else:
                self.dropped_attributes += 1

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        if self.end_time is not None:
            return
        if self.events is None:
            self.events = deque(maxlen=MAX_EVENTS)
        self.dropped_events += len(self.events) == MAX_EVENTS
        self.events.append((name, _clean(attributes, MAX_ATTRIBUTES), timestamp or time_ns()))

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if self.end_time is not None:
            return
        if len(self.links) < MAX_LINKS:
            self.links.append(Link(context, _clean(attributes, MAX_ATTRIBUTES)))
        else:
            self.dropped_links += 1

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Adds an exception event without a stack trace; `_context` writes one with its attributes of its own."""
        self.add_event("exception", {"exception.type": type(exception).__qualname__, **(attributes or {})}, timestamp)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status; one that was set to OK stays, and UNSET has no effect, as OpenTelemetry specifies."""
        new = status if isinstance(status, Status) else Status(status, description)
        was_ok = self.status is not None and self.status.status_code is StatusCode.OK
        if self.end_time is None and not was_ok and new.status_code is not StatusCode.UNSET:
            self.status = new

    def update_name(self, name: str) -> None:
        self.name = name

    def end(self, end_time: int | None = None) -> None:
        """Ends it; a second call has no effect."""
        if self.end_time is None:
            self.end_time = end_time or time_ns()
            self.on_end(self)
