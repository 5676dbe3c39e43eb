"""A span that is told of as a whole, with ids that others make too: what no process holds, and any may go on with."""

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A span as it is told of. Times are nanoseconds since the Unix epoch."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int = 0
    """0: nothing stands above it."""
    start: int
    end: int | None = None
    """None: it has not ended; whoever makes the same ids may tell how it does."""
    kind: SpanKind = SpanKind.INTERNAL
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    error: BaseException | None = None
    """With what it failed."""

    @property
    def context(self) -> SpanContext:
        """Its ids."""
        return SpanContext(self.trace_id, self.span_id, is_remote=False, trace_flags=_SAMPLED)

    @property
    def parent(self) -> SpanContext | None:
        """The ids of what stands above it."""
        if not self.parent_id:
            return None
        return SpanContext(self.trace_id, self.parent_id, is_remote=True, trace_flags=_SAMPLED)
