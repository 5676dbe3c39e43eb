"""What the spans of a saga mean, those of engines included. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sagascope_collector.foreign import telling
from sagascope_collector.foreign.engine import Engine, Told
from sagascope_collector.foreign.engines import BY_ROLE
from sagascope_collector.foreign.telling import UNDOES
from sagascope_collector.records import Span

SpanKey = tuple[str, str]
"""(trace id, span id)."""


@dataclass(slots=True)
class Reading:
    """The spans of a saga as if all had been made with ``saga.*`` attributes."""

    spans: Mapping[SpanKey, Span]
    again: list[Span] = field(default_factory=list)
    """Further attempts that a span among `spans` tells of."""
    lost: frozenset[str] = frozenset()
    """Ids of spans that are over, although nothing tells how they ended."""
    is_as_told: bool = False
    """Whether no engine made any of them."""


def read(spans: Mapping[SpanKey, Span]) -> Reading:
    """Read the spans of one saga; those of no engine stay as they are."""
    of: dict[str, list[Span]] = {}
    undoing: dict[SpanKey, Span] = {}
    for key, span in spans.items():
        if UNDOES in span.mark.type:
            span = undoing[key] = telling.undoing(span)
        if span.mark.role in BY_ROLE:
            of.setdefault(span.mark.role, []).append(span)
    if not of and not undoing:
        return Reading(spans, is_as_told=True)
    read_spans, again, lost = {**spans, **undoing}, list[Span](), set[str]()
    for role, own in sorted(of.items()):
        told = _told(BY_ROLE[role], own, spans)
        lost |= told.lost
        seen: set[SpanKey] = set()
        for span in told.spans:
            key = span.trace_id, span.span_id
            if key in seen:
                again.append(span)
            else:
                read_spans[key] = span
            seen.add(key)
    return Reading(read_spans, again, frozenset(lost))


def _told(engine: Engine, own: list[Span], spans: Mapping[SpanKey, Span]) -> Told:
    """What an engine's spans mean; where its work is told of by us, they are no attempts beside those."""
    if engine.ours and any(engine.ours in span.attributes for span in spans.values()):
        return Told([telling.part(span) for span in own])
    return engine.tell(own)
