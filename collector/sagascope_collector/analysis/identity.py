"""Saga identity: which sagas share an id, which records belong to each, and how runs of one saga follow each other.

A missing name or run of a record is taken from the spans above it, else from its trace, else from the other records of
the id. If several fit, it is taken from the saga that had started last at that time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sagascope import semconv
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import UNKNOWN_NAME, AttemptState, LedgerState, Saga, Status
from sagascope_collector.analysis.spans import time_of
from sagascope_collector.records import Attributes, Facts, Log, Mark, SagaKey, Span

MAX_ANCESTORS = 256
"""Maximum number of ancestors followed; a longer chain, or a cycle, is cut off."""


@dataclass(slots=True)
class Share:
    """The facts that belong to one saga."""

    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


def shares(facts: Facts) -> dict[SagaKey, Share]:
    """Returns the facts of one id, by saga."""
    linked = any(span.mark.id != facts.id.id for span in facts.spans)
    spans = [span for each in facts.spans for span in _marked(each, facts.id.id)] if linked else list(facts.spans)
    records: list[Span | Log] = [*spans, *facts.logs]
    values = {(record.mark.name, record.mark.run) for record in records}
    if len(values) == 1 and not linked:
        ((name, run),) = values
        return {_key(facts, name, run): Share(spans, list(facts.logs))}
    names = _completed([record.mark.name for record in records], records, ())
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
    return SagaKey(facts.id.environment, name or UNKNOWN_NAME, facts.id.id, run)


def _marked(span: Span, saga_id: str) -> list[Span]:
    """The span as part of this saga; a span of another saga that links to this one carries the marks of its links."""
    if span.mark.id == saga_id:
        return [span]
    marks = dict.fromkeys(mark for link in span.links if (mark := _linked(link.attributes, span.mark)).id == saga_id)
    return [replace(span, mark=mark) for mark in marks] or [span]


def _linked(attributes: Attributes, own: Mark) -> Mark:
    attempt = attributes.get(semconv.STEP_ATTEMPT)
    return Mark(
        id=_identifier(attributes, semconv.SAGA_ID),
        name=_identifier(attributes, semconv.SAGA_NAME),
        run=_identifier(attributes, semconv.SAGA_RUN_ID),
        role=_identifier(attributes, semconv.SAGA_ROLE) or semconv.ROLE_STEP,
        step=_identifier(attributes, semconv.STEP_NAME) or own.step,
        type=_identifier(attributes, semconv.STEP_TYPE) or own.type,
        key=_identifier(attributes, semconv.STEP_KEY),
        attempt=attempt if isinstance(attempt, int) and attempt > 0 else own.attempt,
    )


def _identifier(attributes: Attributes, name: str) -> str:
    value = attributes.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _runs(names: Sequence[str], records: Sequence[Span | Log], own_runs: Iterable[str]) -> list[str]:
    """The run of each record, determined separately for each name."""
    values = [record.mark.run for record in records]
    if not any(values):
        return values
    runs = list(values)
    for name in set(names):
        indexes = [index for index, each in enumerate(names) if each == name]
        completed = _completed(
            [values[index] for index in indexes], [records[index] for index in indexes], set(own_runs)
        )
        for index, run in zip(indexes, completed, strict=True):
            runs[index] = run
    return runs


def _completed(values: Sequence[str], records: Sequence[Span | Log], alone: Iterable[str]) -> list[str]:
    """The value of each record, completed from the others; for traces in ``alone``, "" is a value."""
    known = {each for each in values if each}
    if not known or (len(known) == 1 and not alone):
        return [next(iter(known), "")] * len(values)
    return _Completion(values, records, frozenset(alone)).answers()


class _Completion:
    """Completes a value that some records of an id lack."""

    def __init__(self, values: Sequence[str], records: Sequence[Span | Log], alone: frozenset[str]) -> None:
        self._values, self._records, self._alone = values, records, alone
        self._parents: dict[tuple[str, str], str] = {}
        self._by_span: dict[tuple[str, str], str] = {}
        self._by_trace: dict[str, set[str]] = {}
        self._first: dict[str, int] = {}
        for word, record in zip(values, records, strict=True):
            if word or record.trace_id in alone:
                self._learn(word, record)
            if isinstance(record, Span):
                self._add_span(record)

    def _add_span(self, span: Span) -> None:
        key = (span.trace_id, span.span_id)
        self._parents[key] = max(self._parents.get(key, ""), span.parent_id)

    def _learn(self, word: str, record: Span | Log) -> None:
        if record.trace_id:
            self._by_trace.setdefault(record.trace_id, set()).add(word)
            key = (record.trace_id, record.span_id)
            self._by_span[key] = max(self._by_span.get(key, ""), word)
        self._first[word] = min(self._first.get(word, time_of(record)), time_of(record))

    def answers(self) -> list[str]:
        return [word or self._of(record) for word, record in zip(self._values, self._records, strict=True)]

    def _of(self, record: Span | Log) -> str:
        above = self._above(record)
        if above is not None:
            return above
        in_trace = self._by_trace.get(record.trace_id, set()) if record.trace_id else set()
        if len(in_trace) == 1:
            return next(iter(in_trace))
        return self._latest(in_trace or set(self._first), time_of(record))

    def _above(self, record: Span | Log) -> str | None:
        key = (record.trace_id, record.span_id)
        for _ in range(MAX_ANCESTORS):
            if self._by_span.get(key):
                return self._by_span[key]
            if not self._parents.get(key):
                return None
            key = (key[0], self._parents[key])
        return None

    def _latest(self, words: Iterable[str], at: int) -> str:
        """The value of the saga that had started last at that time, else of the first to start."""
        begun = sorted((first, word) for word in words if (first := self._first[word]) <= at)
        return begun[-1][1] if begun else min((self._first[word], word) for word in words)[1]


COMMITTED_STATES = (LedgerState.COMMITTED, LedgerState.COMPENSATING, LedgerState.COMPENSATION_FAILED)


def linked(sagas: Iterable[Saga]) -> list[Saga]:
    """Returns the sagas of one id, each with the facts that follow from other runs of its name."""
    by_name: dict[str, list[Saga]] = {}
    for saga in sagas:
        by_name.setdefault(saga.key.name, []).append(saga)
    return [saga for runs in by_name.values() for saga in (_chained(runs) if len(runs) > 1 else runs)]


def _chained(runs: list[Saga]) -> list[Saga]:
    ordered = sorted(runs, key=lambda saga: (saga.started_at, saga.key))
    older_runs = (_followed(older, newer) for older, newer in zip(ordered[-2::-1], ordered[:0:-1], strict=True))
    return [ordered[-1], *older_runs]


def _followed(older: Saga, newer: Saga) -> Saga:
    """The older of two runs, given that the newer run has started."""
    if older.continued_as is not None:
        known = older.continued_as.run
        return older if known and known != newer.key.run else replace(older, continued_as=newer.key)
    if has_ended(older.status) or older.updated_at > newer.started_at:
        return older
    ended = replace(older, ended_at=newer.started_at, awaited_event=None, blocked=(), lost_workers=())
    if _shares_a_trace(older, newer):
        return replace(ended, status=Status.COMPLETED, continued_as=newer.key, amount_at_risk=())
    repeated = _repeated(older, newer)
    return replace(ended, status=Status.FAILED, superseded_by=newer.key, repeated_by_newer=repeated)


def _shares_a_trace(older: Saga, newer: Saga) -> bool:
    """Whether the older run started the newer one and propagated its context."""
    if older.root is None or newer.root is None:
        return False
    return older.root.trace_id == newer.root.trace_id


def _repeated(older: Saga, newer: Saga) -> frozenset[str]:
    """The steps that both runs committed separately, without a common idempotency key."""
    kept = {line.step for line in older.ledger if line.state in COMMITTED_STATES}
    return frozenset(name for name in kept if not _keys(older, name) & _keys(newer, name) and _keys(newer, name))


def _keys(saga: Saga, name: str) -> set[str]:
    """The idempotency keys with which a step succeeded; a success without a key counts as a unique key."""
    return {
        attempt.idempotency_key or f"{attempt.trace_id} {attempt.span_id}"
        for step in saga.steps
        if step.name == name
        for attempt in step.attempts
        if attempt.state is AttemptState.OK
    }
