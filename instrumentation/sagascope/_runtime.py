"""The interface between the public API and the part that exports spans.

The public API needs opentelemetry-api only. `configure` and `install` set `active`; while it is None, sagas and steps
do nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags

Attributes = Mapping[str, Any]

SAMPLED = TraceFlags(TraceFlags.SAMPLED)

NANOSECONDS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class DetachedSpan:
    """A span with chosen ids that belongs to a service, but to no process of it.

    Every process that follows the same work chooses the same ids, so that any of them can report how it ends. Times are
    nanoseconds since the Unix epoch.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int = 0
    """0: it has no parent."""
    start: int
    end: int | None = None
    """None: it has not ended; another process may report its end under the same ids."""
    kind: SpanKind = SpanKind.INTERNAL
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    error: BaseException | None = None
    """The error that it failed with."""

    @property
    def context(self) -> SpanContext:
        """Its ids."""
        return SpanContext(self.trace_id, self.span_id, is_remote=False, trace_flags=SAMPLED)

    @property
    def parent(self) -> SpanContext | None:
        """The ids of its parent."""
        if not self.parent_id:
            return None
        return SpanContext(self.trace_id, self.parent_id, is_remote=True, trace_flags=SAMPLED)


class Stats(NamedTuple):
    """What became of the saga telemetry of this process so far."""

    sent: int = 0
    """Ended spans and log records that the collector accepted."""
    waiting: int = 0
    """Ended spans and log records that are queued in memory."""
    spooled: int = 0
    """Records that this process wrote to disk and that are still there."""
    dropped: int = 0
    """Records that could not be sent and never will be; every heartbeat reports the number too."""
    open_spans: int = 0
    """Saga spans that are open now."""
    last_error: str = ""
    """Why records were not sent, the last time; ``""`` if that never happened."""


class Runtime(ABC):
    """Creates and exports saga spans, apart from the service's own spans.

    By default it sends values as they are, to any host, and continues every incoming saga.
    """

    @abstractmethod
    def start_span(
        self,
        name: str,
        context: Context,
        attributes: Attributes,
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> Span:
        """Starts a span below the one in `context`, whatever the service's sampler decides.

        `span_id` is the id of the new span; 0 chooses a random one.
        """

    @abstractmethod
    def emit_span(self, span: DetachedSpan) -> None:
        """Exports a detached span."""

    @abstractmethod
    def emit_log(self, body: str, context: Context, attributes: Attributes, *, event_name: str = "") -> None:
        """Exports a log record, or an event if it has a name."""

    def propagated_context(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """Returns the ids of `own` with the flags that the service's sampler gives."""
        return own

    def redact_identifier(self, attribute: str, text: str) -> str:
        """Returns an identifier that travels in headers, redacted and truncated."""
        return text

    def truncate(self, attributes: Attributes) -> Attributes:
        """Returns the attributes with values of at most the configured length."""
        return attributes

    @abstractmethod
    def exception_attributes(self, error: BaseException) -> Attributes:
        """Returns the attributes of an exception event."""

    def may_propagate_to(self, address: str) -> bool:
        """Returns whether baggage of sagas may be sent to the host of this URL."""
        return True

    def trusts(self, headers: Any) -> bool:
        """Returns whether to continue the saga that these incoming headers name."""
        return True


active: Runtime | None = None
"""The configured runtime; None before `configure` or `install`, and after `shutdown`."""
