"""Rewrites the spans of a saga as if every engine had set ``saga.*`` attributes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sagascope import semconv
from sagascope_collector.engines import saga_spans
from sagascope_collector.engines.engine import Engine, EngineSpans
from sagascope_collector.engines.registry import BY_ROLE
from sagascope_collector.engines.saga_spans import COMPENSATES_SEPARATOR
from sagascope_collector.records import Span

SpanKey = tuple[str, str]
"""(trace id, span id)."""


@dataclass(slots=True)
class NormalizedSpans:
    """The spans of a saga as if all of them carried ``saga.*`` attributes."""

    spans: Mapping[SpanKey, Span]
    further_attempts: list[Span] = field(default_factory=list)
    """Attempts that a span in `spans` reports in addition to itself."""
    lost: frozenset[str] = frozenset()
    """Ids of spans whose work is over although its end was never received."""
    unknown: frozenset[str] = frozenset()
    """Ids of spans whose outcome the engine did not accept, so that it proves nothing."""
    continued: frozenset[str] = frozenset()
    """Ids of spans that ended because their run continues as a new run."""
    is_unchanged: bool = False
    """Whether no span needed to be rewritten."""

    def add(self, interpreted: EngineSpans, original: Mapping[SpanKey, Span]) -> None:
        """Adds the spans of one engine. Spans keep their original times, from which clock skew is learned."""
        spans, seen = dict(self.spans), set[SpanKey]()
        for span in interpreted.spans:
            key = span.trace_id, span.span_id
            if key in seen:
                self.further_attempts.append(span)
            elif _is_attempt_with_other_times(span, original.get(key)):
                self.further_attempts.append(span)
                spans[key] = saga_spans.participant(spans[key])
            else:
                spans[key] = span
            seen.add(key)
        self.spans = spans
        self.lost |= interpreted.lost
        self.unknown |= interpreted.unknown
        self.continued |= interpreted.continued


def normalize(spans: Mapping[SpanKey, Span]) -> NormalizedSpans:
    """Rewrites the spans of one saga. Spans that come from no engine stay unchanged."""
    by_engine: dict[str, list[Span]] = {}
    changed: dict[SpanKey, Span] = {}
    for key, original in spans.items():
        span = _with_explicit_attributes(original)
        if span is not original:
            changed[key] = span
        if span.mark.role in BY_ROLE:
            by_engine.setdefault(span.mark.role, []).append(span)
    if not by_engine and not changed:
        return NormalizedSpans(spans, is_unchanged=True)
    normalized = NormalizedSpans({**spans, **changed})
    for role, engine_spans in sorted(by_engine.items()):
        normalized.add(_interpret(BY_ROLE[role], engine_spans, spans), spans)
    return normalized


def _with_explicit_attributes(span: Span) -> Span:
    """Returns the span with the status that its events imply, and the compensated step as an attribute."""
    if span.events and (span.mark.role in BY_ROLE or saga_spans.is_from_sagascope(span)):
        span = saga_spans.with_derived_status(span)
    return saga_spans.with_compensates(span) if COMPENSATES_SEPARATOR in span.mark.type else span


def _is_attempt_with_other_times(span: Span, original: Span | None) -> bool:
    """Returns whether a rewritten span is an attempt that covers only a part of the original, or follows it."""
    if original is None or span.mark.role != semconv.ROLE_STEP:
        return False
    return (span.start, span.end) != (original.start, original.end)


def _interpret(engine: Engine, engine_spans: list[Span], spans: Mapping[SpanKey, Span]) -> EngineSpans:
    """Rewrites an engine's spans; as participant work if Sagascope itself reports the attempts."""
    if engine.superseded_by and any(engine.superseded_by in span.attributes for span in spans.values()):
        return EngineSpans([saga_spans.participant(span) for span in engine_spans])
    return engine.interpret(engine_spans)
