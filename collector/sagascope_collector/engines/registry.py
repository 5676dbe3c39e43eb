"""The engines that are supported without configuration: which saga a record belongs to, and what its spans mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from sagascope import semconv
from sagascope_collector.engines import (
    celery,
    dapr,
    dbos,
    masstransit,
    nservicebus,
    open_spans,
    restate,
    saga_spans,
    sagaz,
    temporal,
    traces,
)
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields
from sagascope_collector.engines.saga_spans import COMPENSATES_SEPARATOR
from sagascope_collector.records import UNMARKED, Mark, Span, Value

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

MIN_ONE_PASS_BYTES: Final = 128 * 1024
"""Size of requests below which one search a term takes less time than to compile the pattern of all."""


class Rules(Protocol):
    """Mapping rules in addition to the built-in engines."""

    @property
    def keys(self) -> frozenset[str]:
        """The attribute keys that the rules read."""

    @property
    def prefilter_terms(self) -> tuple[str, ...]:
        """Every request to which a rule can apply contains one of these terms; ``""`` matches every request."""

    @property
    def of_traces(self) -> Sequence[traces.TraceRule]:
        """The rules that give a saga to a whole trace. `mark` does not apply them."""

    @property
    def digest(self) -> str:
        """A text that differs between rules with another effect; ``""`` without rules."""

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        """Returns the saga of a record, given what its engine says (``""``: no engine); None if unknown."""

    def attributes(self, record: RecordFields, known: Mark | None, engine: str) -> Mapping[str, Value]:
        """Returns the ``saga.*`` attributes, beside those of the mark, that the rules give to a record."""


class _NoRules:
    keys: frozenset[str] = frozenset()
    prefilter_terms: tuple[str, ...] = ()
    of_traces: tuple[traces.TraceRule, ...] = ()
    digest = ""

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        return known

    def attributes(self, record: RecordFields, known: Mark | None, engine: str) -> Mapping[str, Value]:
        return {}


NO_RULES: Final[Rules] = _NoRules()


@dataclass(frozen=True)
class AttributeMapping:
    """Maps records without ``saga.*`` attributes to sagas, by the built-in engines and the user's rules."""

    rules: Rules = NO_RULES
    keys: frozenset[str] = field(init=False)
    """The attribute keys that the engines and the rules read."""
    digest: str = field(init=False)
    """A text that differs between rules with another effect; ``""`` without rules."""
    _terms: tuple[bytes, ...] = field(init=False, repr=False)
    _pattern: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", ENGINE_KEYS | self.rules.keys)
        object.__setattr__(self, "digest", self.rules.digest)
        terms = [term for engine in ENGINES for term in engine.prefilter_terms]
        terms += [open_spans.PARTIAL_EVENT, *self.rules.prefilter_terms]
        object.__setattr__(self, "_terms", tuple(term.encode() for term in dict.fromkeys(terms)))
        object.__setattr__(self, "_pattern", "|".join(map(re.escape, dict.fromkeys(terms))))

    def prefilter(self, bodies: Sequence[bytes]) -> Sequence[bool]:
        """Returns for each request in protobuf whether it can hold a record of an engine.

        In large requests one pass searches for all terms: it takes half the time of one search a term.
        """
        if sum(map(len, bodies)) < MIN_ONE_PASS_BYTES:
            return [any(term in body for term in self._terms) for body in bodies]
        found = pc.match_substring_regex(pa.array(bodies, pa.large_binary()), self._pattern)
        matches: list[bool] = found.to_pylist()
        return matches

    def mark(self, record: RecordFields, own: Mark) -> Mark:
        """Returns the saga of a record. The record's ``saga.*`` attributes, `own`, take precedence."""
        if own.id and own.role:
            return own
        found = self.rules.mark(record, *_mark_by_engine(record))
        if found is None or (own.id and found.id != own.id):
            return own if own.id else UNMARKED
        return _merged(own, found)

    def attributes(self, record: RecordFields) -> Mapping[str, Value]:
        """Returns the ``saga.*`` attributes that the rules give to a record with a saga."""
        return self.rules.attributes(record, *_mark_by_engine(record)) if self.digest else {}


def _mark_by_engine(record: RecordFields) -> tuple[Mark | None, str]:
    """Returns the mark by the first engine that recognizes the record, and the engine's name."""
    if ENGINE_KEYS.isdisjoint(record.attributes):  # an engine reads the id from one of these
        return None, ""
    for engine in ENGINES:
        found = engine.mark(record)
        if found is not None:
            return found, engine.name
    return None, ""


def _merged(first: Mark, second: Mark) -> Mark:
    """Returns `first`, with its empty fields filled from `second`."""
    return Mark(
        id=first.id or second.id,
        name=first.name or second.name,
        run=first.run or second.run,
        role=first.role or second.role,
        step=first.step or second.step,
        type=first.type or second.type,
        key=first.key or second.key,
        attempt=first.attempt or second.attempt,
    )


BUILT_IN: Final = AttributeMapping()
"""The mapping without user rules."""


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
