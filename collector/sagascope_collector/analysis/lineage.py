"""Who stands above whom among the spans of one saga."""

from collections.abc import Iterator, Mapping

from sagascope import semconv
from sagascope_collector.analysis.spans import SpanKey, process_key
from sagascope_collector.records import Span

DEEPEST = 256
"""Spans that are followed upward; a longer chain, or a ring, is cut off."""

RECEIVING = ("server", "consumer")
"""Kinds of spans with which a service takes work from another."""


class Lineage:
    """Walks from spans to those above them.

    Where a client and a server share an id, the server's span lies below the client's, and what names that id as its
    parent lies below the one of its own process.
    """

    def __init__(self, spans: Mapping[SpanKey, Span]) -> None:
        self._spans = spans
        self._sharing: dict[SpanKey, list[Span]] = {}
        for key, span in spans.items():
            if key[1] != span.span_id:
                self._sharing.setdefault((span.trace_id, span.span_id), []).append(span)

    def parent(self, span: Span) -> Span | None:
        """The span right above, if it came."""
        if self._sharing:
            return self._parent_among_sharing(span)
        return self._spans.get((span.trace_id, span.parent_id)) if span.parent_id else None

    def _parent_among_sharing(self, span: Span) -> Span | None:
        own = span.trace_id, span.span_id
        if own in self._sharing and span.kind == "server":
            first = self._spans.get(own)
            if first is not None and first.kind == "client" and first is not span:
                return first
        key = span.trace_id, span.parent_id
        first = self._spans.get(key) if span.parent_id else None
        others = self._sharing.get(key, ()) if first is not None else ()
        here = process_key(span.process)
        return next((each for each in (*others, first) if each and process_key(each.process) == here), first)

    def above(self, span: Span) -> Iterator[Span]:
        """Every span above, nearest first, as far as they came."""
        at = self.parent(span)
        for _ in range(DEEPEST):
            if at is None:
                return
            yield at
            at = self.parent(at)

    def is_below(self, span: Span, other: Span) -> bool:
        """Whether ``other`` stands above ``span``."""
        if span.parent_id == other.span_id and not self._sharing:
            return span.trace_id == other.trace_id
        return span.trace_id == other.trace_id and any(each is other for each in self.above(span))

    def received_here(self, span: Span) -> bool:
        """Whether the span is, or runs inside, a span with which its own process took the work from another."""
        if span.kind in RECEIVING:
            return True
        here = process_key(span.process)
        for each in self.above(span):
            if process_key(each.process) != here or each.mark.role == semconv.ROLE_SAGA:
                return False
            if each.kind in RECEIVING:
                return True
        return False
