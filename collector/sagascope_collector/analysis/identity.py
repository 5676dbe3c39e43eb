"""Which sagas stand behind one id: to which name and run each fact belongs.

What a record does not say itself is taken from the spans above it, else from its trace, else from what else is known
of the id; where several would do, from the one that had begun last when it happened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sagascope import semconv
from sagascope_collector.records import Attributes, Facts, Log, Mark, SagaKey, Span

UNKNOWN = "unknown"
"""The name of a saga whose name was never received."""

DEEPEST = 256
"""Spans that are followed upward; a longer chain, or a ring, is cut off."""


@dataclass(slots=True)
class Share:
    """The facts of one saga."""

    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


def shares(facts: Facts) -> dict[SagaKey, Share]:
    """The facts behind one id, by saga."""
    linked = any(span.mark.id != facts.id.id for span in facts.spans)
    spans = [span for each in facts.spans for span in _marked(each, facts.id.id)] if linked else list(facts.spans)
    records: list[Span | Log] = [*spans, *facts.logs]
    said = {(record.mark.name, record.mark.run) for record in records}
    if len(said) == 1 and not linked:
        ((name, run),) = said
        return {_key(facts, name, run): Share(spans, list(facts.logs))}
    names = _told([record.mark.name for record in records], records, ())
    own_runs = {span.trace_id for span in spans if span.mark.role == semconv.ROLE_SAGA and not span.mark.run}
    runs = _runs(names, records, own_runs)
    divided: dict[SagaKey, Share] = {}
    for name, run, record in zip(names, runs, records, strict=True):
        share = divided.setdefault(_key(facts, name, run), Share())
        if isinstance(record, Log):
            share.logs.append(record)
        else:
            share.spans.append(record)
    return divided


def _key(facts: Facts, name: str, run: str) -> SagaKey:
    return SagaKey(facts.id.environment, name or UNKNOWN, facts.id.id, run)


def _marked(span: Span, saga_id: str) -> list[Span]:
    """The span as this saga's: of another saga's span that links here, what the links say."""
    if span.mark.id == saga_id:
        return [span]
    marks = dict.fromkeys(mark for link in span.links if (mark := _linked(link.attributes, span.mark)).id == saga_id)
    return [replace(span, mark=mark) for mark in marks] or [span]


def _linked(attributes: Attributes, own: Mark) -> Mark:
    attempt = attributes.get(semconv.STEP_ATTEMPT)
    return Mark(
        id=_word(attributes, semconv.SAGA_ID),
        name=_word(attributes, semconv.SAGA_NAME),
        run=_word(attributes, semconv.SAGA_RUN_ID),
        role=_word(attributes, semconv.SAGA_ROLE) or semconv.ROLE_STEP,
        step=_word(attributes, semconv.STEP_NAME) or own.step,
        type=_word(attributes, semconv.STEP_TYPE) or own.type,
        key=_word(attributes, semconv.STEP_KEY),
        attempt=attempt if isinstance(attempt, int) and attempt > 0 else own.attempt,
    )


def _word(attributes: Attributes, name: str) -> str:
    value = attributes.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _runs(names: Sequence[str], records: Sequence[Span | Log], own_runs: Iterable[str]) -> list[str]:
    """The run of each record: told apart within each name."""
    said = [record.mark.run for record in records]
    if not any(said):
        return said
    runs = list(said)
    for name in set(names):
        places = [place for place, each in enumerate(names) if each == name]
        told = _told([said[place] for place in places], [records[place] for place in places], set(own_runs))
        for place, run in zip(places, told, strict=True):
            runs[place] = run
    return runs


def _told(said: Sequence[str], records: Sequence[Span | Log], alone: Iterable[str]) -> list[str]:
    """What each record says, completed from the others; traces in ``alone`` say "" and mean it."""
    known = {each for each in said if each}
    if not known or (len(known) == 1 and not alone):
        return [next(iter(known), "")] * len(said)
    return _Telling(said, records, frozenset(alone)).answers()


class _Telling:
    """Completes a word that some records of an id carry and others do not."""

    def __init__(self, said: Sequence[str], records: Sequence[Span | Log], alone: frozenset[str]) -> None:
        self._said, self._records, self._alone = said, records, alone
        self._parents: dict[tuple[str, str], str] = {}
        self._by_span: dict[tuple[str, str], str] = {}
        self._by_trace: dict[str, set[str]] = {}
        self._first: dict[str, int] = {}
        for word, record in zip(said, records, strict=True):
            if word or record.trace_id in alone:
                self._learn(word, record)
            if isinstance(record, Span):
                self._place(record)

    def _place(self, span: Span) -> None:
        key = (span.trace_id, span.span_id)
        self._parents[key] = max(self._parents.get(key, ""), span.parent_id)

    def _learn(self, word: str, record: Span | Log) -> None:
        if record.trace_id:
            self._by_trace.setdefault(record.trace_id, set()).add(word)
            key = (record.trace_id, record.span_id)
            self._by_span[key] = max(self._by_span.get(key, ""), word)
        self._first[word] = min(self._first.get(word, _at(record)), _at(record))

    def answers(self) -> list[str]:
        return [word or self._of(record) for word, record in zip(self._said, self._records, strict=True)]

    def _of(self, record: Span | Log) -> str:
        above = self._above(record)
        if above is not None:
            return above
        in_trace = self._by_trace.get(record.trace_id, set()) if record.trace_id else set()
        return next(iter(in_trace)) if len(in_trace) == 1 else self._latest(in_trace or set(self._first), _at(record))

    def _above(self, record: Span | Log) -> str | None:
        key = (record.trace_id, record.span_id)
        for _ in range(DEEPEST):
            if self._by_span.get(key):
                return self._by_span[key]
            if not self._parents.get(key):
                return None
            key = (key[0], self._parents[key])
        return None

    def _latest(self, words: Iterable[str], at: int) -> str:
        """The word whose saga had begun last at that moment, else the first to begin."""
        begun = sorted((first, word) for word in words if (first := self._first[word]) <= at)
        return begun[-1][1] if begun else min((self._first[word], word) for word in words)[1]


def _at(record: Span | Log) -> int:
    return record.start if isinstance(record, Span) else record.at
