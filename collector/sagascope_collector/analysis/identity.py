"""Saga identity: which sagas share an id, which records belong to each, and how runs of one saga follow each other.

A missing name or run of a record is taken from the spans above it, else from its trace, else from the other records of
the id. If several fit, it is taken from the saga that had started last at that time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sagascope import semconv
from sagascope_collector.analysis.amounts import amounts_at_risk
from sagascope_collector.analysis.ledger import has_ended, step_effects
from sagascope_collector.analysis.model import (
    COMMITTED_STATES,
    IN_EFFECT_STATES,
    UNKNOWN_NAME,
    AttemptState,
    Saga,
    Status,
)
from sagascope_collector.analysis.spans import MAX_ANCESTORS, time_of
from sagascope_collector.records import Attributes, Facts, Log, Mark, SagaKey, Span


@dataclass(slots=True)
class SagaFacts:
    """The facts that belong to one saga."""

    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


def facts_by_saga(facts: Facts) -> dict[SagaKey, SagaFacts]:
    """Returns the facts of one id, by saga."""
    is_linked = any(span.mark.id != facts.id.id for span in facts.spans)
    spans = [span for each in facts.spans for span in _marked(each, facts.id.id)] if is_linked else list(facts.spans)
    records: list[Span | Log] = [*spans, *facts.logs]
    values = {(record.mark.name, record.mark.run) for record in records}
    if len(values) == 1 and not is_linked:
        ((name, run),) = values
        return {_key(facts, name, run): SagaFacts(spans, list(facts.logs))}
    names = _completed([record.mark.name for record in records], records, ())
    runless_traces = {span.trace_id for span in spans if span.mark.role == semconv.ROLE_SAGA and not span.mark.run}
    runs = _runs(names, records, runless_traces)
    by_key: dict[SagaKey, SagaFacts] = {}
    for name, run, record in zip(names, runs, records, strict=True):
        of_saga = by_key.setdefault(_key(facts, name, run), SagaFacts())
        if isinstance(record, Log):
            of_saga.logs.append(record)
        else:
            of_saga.spans.append(record)
    return by_key


def _key(facts: Facts, name: str, run: str) -> SagaKey:
    return SagaKey(facts.id.environment, name or UNKNOWN_NAME, facts.id.id, run)


def _marked(span: Span, saga_id: str) -> list[Span]:
    """The span as part of this saga; a span of another saga that links to this one carries the marks of its links."""
    if span.mark.id == saga_id:
        return [span]
    marks = dict.fromkeys(
        mark for link in span.links if (mark := _mark_of_link(link.attributes, span.mark)).id == saga_id
    )
    return [replace(span, mark=mark) for mark in marks] or [span]


def _mark_of_link(attributes: Attributes, own: Mark) -> Mark:
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


def _runs(names: Sequence[str], records: Sequence[Span | Log], runless_traces: Iterable[str]) -> list[str]:
    """The run of each record, determined separately for each name. The sagas of ``runless_traces`` have no run id."""
    values = [record.mark.run for record in records]
    if not any(values):
        return values
    runs = list(values)
    for name in set(names):
        indexes = [index for index, each in enumerate(names) if each == name]
        completed = _completed(
            [values[index] for index in indexes], [records[index] for index in indexes], set(runless_traces)
        )
        for index, run in zip(indexes, completed, strict=True):
            runs[index] = run
    return runs


def _completed(values: Sequence[str], records: Sequence[Span | Log], unset: Iterable[str]) -> list[str]:
    """The value of each record, completed from the others; in the traces ``unset``, "" is a value of its own."""
    known = {each for each in values if each}
    if not known or (len(known) == 1 and not unset):
        return [next(iter(known), "")] * len(values)
    return _Completion(values, records, frozenset(unset)).answers()


class _Completion:
    """Completes a value that some records of an id lack."""

    def __init__(self, values: Sequence[str], records: Sequence[Span | Log], unset: frozenset[str]) -> None:
        self._values, self._records = values, records
        self._parents: dict[tuple[str, str], str] = {}
        self._by_span: dict[tuple[str, str], str] = {}
        self._by_trace: dict[str, set[str]] = {}
        self._first: dict[str, int] = {}
        for value, record in zip(values, records, strict=True):
            if value or record.trace_id in unset:
                self._learn(value, record)
            if isinstance(record, Span):
                self._add_span(record)

    def _add_span(self, span: Span) -> None:
        key = (span.trace_id, span.span_id)
        # copies of a span may differ: the greatest value, so that the order of arrival decides nothing
        self._parents[key] = max(self._parents.get(key, ""), span.parent_id)

    def _learn(self, value: str, record: Span | Log) -> None:
        if record.trace_id:
            self._by_trace.setdefault(record.trace_id, set()).add(value)
            key = (record.trace_id, record.span_id)
            self._by_span[key] = max(self._by_span.get(key, ""), value)
        self._first[value] = min(self._first.get(value, time_of(record)), time_of(record))

    def answers(self) -> list[str]:
        return [value or self._of(record) for value, record in zip(self._values, self._records, strict=True)]

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

    def _latest(self, values: Iterable[str], at: int) -> str:
        """The value of the saga that had started last at that time, else of the first to start."""
        started = sorted((first, value) for value in values if (first := self._first[value]) <= at)
        return started[-1][1] if started else min((self._first[value], value) for value in values)[1]


def relate_runs(sagas: Iterable[Saga], is_open: Callable[[Span], bool]) -> list[Saga]:
    """Returns the sagas of one id, each with the facts that follow from other runs of its name.

    `is_open` returns whether a running process reports that a span is still open.
    """
    by_name: dict[str, list[Saga]] = {}
    for saga in sagas:
        by_name.setdefault(saga.key.name, []).append(saga)
    return [saga for runs in by_name.values() for saga in (_related(runs, is_open) if len(runs) > 1 else runs)]


def _related(runs: list[Saga], is_open: Callable[[Span], bool]) -> list[Saga]:
    ordered = sorted(runs, key=lambda saga: (saga.started_at, saga.key))
    related = [ordered[-1]]
    for older, newer in zip(ordered[-2::-1], ordered[:0:-1], strict=True):
        goes_on = not _has_one_open_run(older) and any(not span.end and is_open(span) for span in older.spans)
        related.append(older if goes_on else _with_newer_run(older, newer))
    return [_relied_on(_with_other_run(run, related), related) for run in related]


def _with_other_run(run: Saga, runs: Iterable[Saga]) -> Saga:
    others = [
        each
        for each in runs
        if each.key != run.key and (each.status in (Status.RUNNING, Status.COMPLETED) or each.superseded_by is not None)
    ]
    latest = max(others, key=lambda each: (each.started_at, each.key), default=None)
    return replace(run, other_run=latest.key) if latest and latest.continued_as != run.key else run


def _has_one_open_run(saga: Saga) -> bool:
    """Whether a newer run shows that this one has ended, as Temporal ensures, although a worker may list its spans."""
    return any(key.startswith("temporal") for span in saga.spans for key in span.attributes)


def _with_newer_run(older: Saga, newer: Saga) -> Saga:
    """The older of two runs, given that the newer run has started."""
    if older.continued_as is not None:
        known = older.continued_as.run
        return older if known and known != newer.key.run else replace(older, continued_as=newer.key)
    if older.updated_at > newer.started_at:
        return older
    if has_ended(older.status):
        return replace(older, newer_run=newer.key) if older.status is Status.FAILED else older
    ended = replace(older, ended_at=newer.started_at, awaited_event=None, blocked=(), lost_workers=())
    if older.root is not None and newer.root is not None and older.root.trace_id == newer.root.trace_id:
        # the older run started the newer one
        return replace(ended, status=Status.COMPLETED, continued_as=newer.key, amount_at_risk=())
    repeated = _repeated(older, newer)
    return replace(ended, status=Status.FAILED, superseded_by=newer.key, repeated_by_newer=repeated)


def _relied_on(run: Saga, runs: Iterable[Saga]) -> Saga:
    """A run, with the steps on whose effect another run relies if it failed.

    Two runs that executed a step with one idempotency key have one effect: it belongs to the run that completed, else
    to the one that started last.
    """
    if run.status is not Status.FAILED:
        return run
    relying: dict[str, SagaKey] = {}
    in_effect = {entry.step for entry in run.ledger if entry.state in IN_EFFECT_STATES}
    for other in sorted(runs, key=lambda each: (each.status is Status.COMPLETED, each.started_at, each.key)):
        is_later = (other.started_at, other.key) > (run.started_at, run.key)
        if other.key != run.key and (is_later or other.status is Status.COMPLETED):
            relying |= {name: other.key for name in in_effect if _is_one_effect(run, other, name)}
    if not relying:
        return run
    attempted = zip(
        step_effects(run.steps, run.plan, run.ended_at), run.ledger, strict=False
    )  # entries without attempts come last
    left = [(effect, entry) for effect, entry in attempted if effect.name not in relying]
    effects, entries = [effect for effect, _ in left], [entry for _, entry in left]
    amounts = amounts_at_risk(effects, entries, run.status, run.amount, run.currency)
    relying_run = relying[min(relying)]
    return replace(run, relied_on=frozenset(relying), relying_run=relying_run, amount_at_risk=amounts)


def _is_one_effect(run: Saga, other: Saga, name: str) -> bool:
    steps = [step for step in run.steps if step.name == name and step.type != semconv.TYPE_COMPENSATION]
    compensations = [each for step in other.steps if step.compensates == name for each in step.attempts]
    latest = max((each.called_at for step in steps for each in step.attempts), default=0)
    if any(each.state is AttemptState.OK and each.called_at < latest for each in compensations):
        return False  # a key that was used again after the compensation may have had a new effect
    own = [{each.idempotency_key for each in step.attempts if each.state is not AttemptState.ERROR} for step in steps]
    return bool(own) and all(keys and keys <= _keys(other, name) for keys in own)


def _repeated(older: Saga, newer: Saga) -> frozenset[str]:
    """The steps that both runs committed separately, without a common idempotency key."""
    committed = {entry.step for entry in older.ledger if entry.state in COMMITTED_STATES}
    return frozenset(name for name in committed if not _keys(older, name) & _keys(newer, name) and _keys(newer, name))


def _keys(saga: Saga, name: str) -> set[str]:
    """The idempotency keys with which a step succeeded; a success without a key counts as a unique key."""
    return {
        attempt.idempotency_key or f"{attempt.trace_id} {attempt.span_id}"
        for step in saga.steps
        if step.name == name
        for attempt in step.attempts
        if attempt.state is AttemptState.OK
    }
