"""The engines that are supported without configuration, and what the spans of one saga mean by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import celery, dapr, dbos, masstransit, nservicebus, restate, sagaz, temporal, traces
from sagascope_collector.engines.engine import (
    COMPENSATES_SEPARATOR,
    Engine,
    EngineSpans,
    is_from_sagascope,
    participant,
    with_compensates,
    with_derived_status,
)
from sagascope_collector.records import Span

ENGINES: Final[tuple[Engine, ...]] = (
    temporal.ENGINE,
    dbos.ENGINE,
    restate.ENGINE,
    dapr.ENGINE,
    masstransit.ENGINE,
    nservicebus.ENGINE,
    sagaz.ENGINE,
    celery.ENGINE,
)
"""In order of precedence: the first engine that recognizes a record decides."""

BY_ROLE: Final[Mapping[str, Engine]] = {engine.name: engine for engine in ENGINES}
"""Engines by the role that their marks carry."""

ENGINE_KEYS: Final = frozenset(key for engine in ENGINES for key in engine.keys)
"""The attribute keys that engines read."""

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
                spans[key] = participant(spans[key])
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
    is_of_trace = False
    for key, original in spans.items():
        span = _with_explicit_attributes(original)
        if span is not original:
            changed[key] = span
        if span.mark.role in BY_ROLE:
            by_engine.setdefault(span.mark.role, []).append(span)
        is_of_trace |= span.mark.role in (traces.ROLE, traces.ROOT)
    if not by_engine and not changed and not is_of_trace:
        return NormalizedSpans(spans, is_unchanged=True)
    normalized = NormalizedSpans({**spans, **changed})
    if is_of_trace:
        normalized.add(traces.interpret(normalized.spans.values()), normalized.spans)
    # sorted, so that the order of arrival does not decide that of further attempts
    for role, engine_spans in sorted(by_engine.items()):
        normalized.add(_interpret(BY_ROLE[role], engine_spans, spans), spans)
    return normalized


def _with_explicit_attributes(span: Span) -> Span:
    """Returns the span with the status that its events imply, and the compensated step as an attribute."""
    if span.events and (span.mark.role in BY_ROLE or is_from_sagascope(span)):
        span = with_derived_status(span)
    return with_compensates(span) if COMPENSATES_SEPARATOR in span.mark.type else span


def _is_attempt_with_other_times(span: Span, original: Span | None) -> bool:
    """Returns whether a rewritten span is an attempt that covers only a part of the original, or follows it."""
    if original is None or span.mark.role != semconv.ROLE_STEP:
        return False
    return (span.start, span.end) != (original.start, original.end)


def _interpret(engine: Engine, engine_spans: list[Span], spans: Mapping[SpanKey, Span]) -> EngineSpans:
    """Rewrites an engine's spans; as participant work if Sagascope itself reports the attempts."""
    if engine.superseded_by and any(engine.superseded_by in span.attributes for span in spans.values()):
        return EngineSpans([participant(span) for span in engine_spans])
    return engine.interpret(engine_spans)
