"""What the spans of a saga mean, those of engines included. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sagascope import semconv
from sagascope_collector.engines import failed, telling
from sagascope_collector.engines.engine import Engine, Told
from sagascope_collector.engines.engines import BY_ROLE
from sagascope_collector.engines.telling import UNDOES
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
    unknown: frozenset[str] = frozenset()
    """Ids of spans of which the engine did not accept the outcome, so that it proves nothing."""
    continued: frozenset[str] = frozenset()
    """Ids of spans that ended so that their run continues as a new one."""
    is_as_told: bool = False
    """Whether no engine made any of them."""

    def take(self, told: Told, given: Mapping[SpanKey, Span]) -> None:
        """Read the spans of one engine as it tells them; clocks are compared by the times that were given."""
        read_spans, seen = dict(self.spans), set[SpanKey]()
        for span in told.spans:
            key = span.trace_id, span.span_id
            if key in seen:
                self.again.append(span)
            elif _has_other_times(span, given.get(key)):
                self.again.append(span)
                read_spans[key] = telling.part(read_spans[key])
            else:
                read_spans[key] = span
            seen.add(key)
        self.spans = read_spans
        self.lost |= told.lost
        self.unknown |= told.unknown
        self.continued |= told.continued


def read(spans: Mapping[SpanKey, Span]) -> Reading:
    """Read the spans of one saga; those of no engine stay as they are."""
    of: dict[str, list[Span]] = {}
    changed: dict[SpanKey, Span] = {}
    for key, given in spans.items():
        span = _plain(given)
        if span is not given:
            changed[key] = span
        if span.mark.role in BY_ROLE:
            of.setdefault(span.mark.role, []).append(span)
    if not of and not changed:
        return Reading(spans, is_as_told=True)
    reading = Reading({**spans, **changed})
    for role, own in sorted(of.items()):
        reading.take(_told(BY_ROLE[role], own, spans), spans)
    return reading


def _plain(span: Span) -> Span:
    """The span with the status that its events tell, and with what it compensates as an attribute."""
    if span.events and (span.mark.role in BY_ROLE or failed.is_ours(span)):
        span = failed.settled(span)
    return telling.undoing(span) if UNDOES in span.mark.type else span


def _has_other_times(attempt: Span, given: Span | None) -> bool:
    """Whether an engine tells of an attempt that is a part of a span, or that follows it."""
    if given is None or attempt.mark.role != semconv.ROLE_STEP:
        return False
    return (attempt.start, attempt.end) != (given.start, given.end)


def _told(engine: Engine, own: list[Span], spans: Mapping[SpanKey, Span]) -> Told:
    """What an engine's spans mean; where its work is told of by us, they are no attempts beside those."""
    if engine.ours and any(engine.ours in span.attributes for span in spans.values()):
        return Told([telling.part(span) for span in own])
    return engine.tell(own)
