"""Assembles sagas from all facts received about one id, in any order of arrival."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Final

from sagascope import semconv
from sagascope_collector import engines
from sagascope_collector.analysis import anomalies, attempts, clocks, ledger, plans, steps, values
from sagascope_collector.analysis.amounts import amounts_at_risk
from sagascope_collector.analysis.anomalies import AnomalyContext, orphans
from sagascope_collector.analysis.attempts import AttemptContext
from sagascope_collector.analysis.baseline import Baseline, infer_type
from sagascope_collector.analysis.clocks import Edge, Skew
from sagascope_collector.analysis.context import IN_TRANSIT_SECONDS
from sagascope_collector.analysis.failures import Causes
from sagascope_collector.analysis.identity import SagaFacts, facts_by_saga, relate_runs
from sagascope_collector.analysis.ledger import StepEffect, step_effects
from sagascope_collector.analysis.lifespan import Lifespan, find_lifespan, status_of
from sagascope_collector.analysis.model import (
    LOST_WORKER,
    UNKNOWN_NAME,
    AttemptState,
    BlockReport,
    Phase,
    Plan,
    Saga,
    Status,
    Step,
    StepState,
)
from sagascope_collector.analysis.spans import (
    ProcessKey,
    SpanTree,
    is_sampled,
    is_unlisted,
    join_records,
    logged_steps,
    lost_spans,
    process_key,
    processes,
)
from sagascope_collector.analysis.steps import skips_attempts
from sagascope_collector.analysis.values import ImpossibleTime
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Facts, Heartbeat, Instance, Log, SagaKey, Span

NO_BASELINES: Final[Mapping[tuple[str, str], Baseline]] = {}


def rebuild(
    facts: Facts, now: int | None = None, baselines: Mapping[tuple[str, str], Baseline] = NO_BASELINES
) -> list[Saga]:
    """Returns the sagas of one id, one for each name and run, the latest started first.

    ``now`` decides when open spans that their process no longer lists count as lost; the default is the time at which
    a process was last seen, 0 without any. ``baselines`` holds the baselines of finished sagas, by (environment, saga
    name).
    """
    instances = processes(facts.instances)
    moment = now if now is not None else max((each.last_seen for each in facts.instances), default=0)
    sagas = [
        _rebuild_with_type(key, of_saga, instances, moment, baselines) for key, of_saga in facts_by_saga(facts).items()
    ]

    def is_open(span: Span) -> bool:
        instance = instances.get(process_key(span.process))
        if instance is None or instance.heartbeat is None:
            return False
        return span.span_id in instance.heartbeat.open_spans and reports_in_time(instance, instance.heartbeat, moment)

    return sorted(relate_runs(sagas, is_open), key=lambda saga: (-saga.started_at, saga.key))


def _rebuild_with_type(
    key: SagaKey,
    facts: SagaFacts,
    instances: Mapping[ProcessKey, Instance],
    now: int,
    baselines: Mapping[tuple[str, str], Baseline],
) -> Saga:
    saga = _rebuild_saga(key, facts, instances, now, baselines.get((key.environment, key.name)))
    if key.name != UNKNOWN_NAME:
        return saga
    inferred = infer_type(key.environment, saga.steps, baselines)
    if inferred.name is None:
        return replace(saga, longest_pause=inferred.longest_pause)
    known = _rebuild_saga(key, facts, instances, now, baselines[key.environment, inferred.name])
    return replace(known, inferred_name=inferred.name)


def _rebuild_saga(
    key: SagaKey, facts: SagaFacts, instances: Mapping[ProcessKey, Instance], now: int, baseline: Baseline | None
) -> Saga:
    """Rebuilds one saga from its facts, in any order of arrival.

    A saga whose root span has not arrived is running, never dropped. Repeated facts have no effect. ``now`` decides
    only which open spans count as lost. If no plan is declared, the learned one applies.
    """
    sent_spans, sent_logs, impossible_times = values.plausible_times(facts.spans, facts.logs)
    joined = join_records(sent_spans, sent_logs)
    normalized = engines.normalize(joined.spans)
    spans = sorted(normalized.spans.values(), key=_span_order)
    logs = _distinct(sent_logs)
    tree = SpanTree(normalized.spans)
    lifespan = find_lifespan(spans, tree)
    plan = plans.declared([*lifespan.roots, *spans])
    if plan is plans.NO_PLAN and baseline is not None and (spans or logs):
        plan = baseline.plan((spans or logs)[0].process.version) or plan
    edges = clocks.edges(spans, tree)
    only_logged = logged_steps(
        logs, [*spans, *normalized.further_attempts], lifespan.closing.end if lifespan.closing else None
    )
    offsets, delay = _offsets(sent_spans, sent_logs, lifespan, edges, instances)
    context = AttemptContext(
        tree=tree,
        lost_spans=(lost_spans(joined, instances, now) if joined.announced else frozenset()) | normalized.lost,
        offsets=offsets,
        # reversed: of two traces with one span id, the first by name counts, whatever the order of arrival
        announced={span_id: at for (_, span_id), at in sorted(joined.announced.items(), reverse=True)},
        unaccepted=normalized.unknown,
        causes=Causes(normalized.spans, logs),
        skew=Skew(spans, edges, offsets, baseline.skew if baseline is not None else {}),
        logged={id(each.span): each for each in only_logged},
        continued=not normalized.continued.isdisjoint(span.span_id for span in spans),
    )
    compensations = [step.compensation for step in plan.steps if step.compensation]
    reporting_spans = [
        *spans,
        *joined.further_attempts,
        *normalized.further_attempts,
        *(each.span for each in only_logged),
    ]
    attempted = steps.from_attempts(attempts.collect(reporting_spans, tree, compensations), context, plan)
    is_record_missing = lacks_records(spans, attempted, context, plan)
    may_lack = is_record_missing or may_lack_telemetry(spans, lifespan, attempted, context, instances, now, plan)
    saga = _Assembly(
        key=key,
        spans=spans,
        logs=logs,
        lifespan=lifespan,
        plan=plan,
        context=context,
        attempted=attempted,
        edges=edges,
        impossible_times=impossible_times,
        lacks_records=is_record_missing,
        may_lack_telemetry=may_lack,
    ).saga()
    saga = replace(saga, delay=delay) if delay else saga
    return (
        saga if normalized.is_unchanged else replace(saga, spans=tuple(sorted(joined.spans.values(), key=_span_order)))
    )


def _offsets(
    spans: Iterable[Span],
    logs: Iterable[Log],
    lifespan: Lifespan,
    edges: Sequence[Edge],
    instances: Mapping[ProcessKey, Instance],
) -> tuple[Mapping[ProcessKey, int], int]:
    """Nanoseconds to add to each clock, and nanoseconds by which all telemetry is received late.

    Times of receipt are considered only while the saga is open.
    """
    root = process_key(lifespan.roots[0].process) if lifespan.roots else None
    agreed = clocks.offsets(edges, root) if edges else {}
    if lifespan.closing:
        return agreed, 0
    leads = clocks.max_leads(spans, logs)
    lags = {key: lag for key in leads if (each := instances.get(key)) and (lag := each.lag) is not None}
    return clocks.offsets_by_receipt(agreed, edges, leads, lags, root)


@dataclass(frozen=True, slots=True)
class _Assembly:
    """Builds the parts of a saga."""

    key: SagaKey
    spans: Sequence[Span]
    logs: Sequence[Log]
    lifespan: Lifespan
    plan: Plan
    context: AttemptContext
    attempted: Sequence[Step]
    edges: Sequence[Edge]
    impossible_times: Sequence[ImpossibleTime]
    lacks_records: bool
    """As `Saga.lacks_records`."""
    may_lack_telemetry: bool
    """As `Saga.may_lack_telemetry`."""

    def saga(self) -> Saga:
        lifespan, attempted, plan = self.lifespan, self.attempted, self.plan
        root = lifespan.roots[0] if lifespan.roots else None
        status = status_of(lifespan, attempted)
        effects = step_effects(attempted, plan, lifespan.closing.end if lifespan.closing else None)
        entries = ledger.entries_with_attempts(effects, plan, status, is_complete=not self.may_lack_telemetry)
        amount, currency = self._amount_and_currency(
            lifespan.roots or [span for span in self.spans if not span.mark.step]
        )
        final_steps = steps.final_steps(attempted, entries, plan, self._unstarted(status))
        if plan.source != "declared":
            names = {step.name for step in final_steps}
            final_steps += tuple(step for step in steps.unseen_participants(attempted) if step.name not in names)
        ended = lifespan.closing is not None
        blocked = () if ended else self._block_reports()
        awaited = None if ended else steps.awaited_event(self.spans, self.logs, attempted, self.context.offsets)
        return Saga(
            key=self.key,
            status=status,
            plan=plan,
            steps=final_steps,
            root=root,
            started_at=self._started_at(),
            updated_at=self._updated_at(),
            ended_at=lifespan.closing.end if lifespan.closing else None,
            timeout=values.seconds(root.attributes.get(semconv.SAGA_TIMEOUT)) if root else None,
            amount=amount,
            currency=currency,
            keys=self._keys(),
            ledger=(*entries, *ledger.entries_without_attempts(attempted, plan, entries, self._not_done(status))),
            amount_at_risk=amounts_at_risk(effects, entries, status, amount, currency),
            anomalies=anomalies.find(self._anomaly_context(effects, status)),
            spans=tuple(self.spans),
            logs=tuple(self.logs),
            closing=lifespan.closing,
            waits=tuple(steps.declared_waits(self.spans, self.logs, lifespan.roots, self.context.offsets)),
            restarts=lifespan.restarts,
            announced=dict(self.context.announced),
            lost_spans=self.context.lost_spans,
            awaited_event=awaited if awaited and awaited.name else None,
            resumed_at=awaited.declared_at if awaited and not awaited.name else 0,
            blocked=tuple(each for each in blocked if each.cause != LOST_WORKER),
            lost_workers=tuple(each for each in blocked if each.cause == LOST_WORKER),
            mixed_outcomes=steps.mixed_outcomes(attempted),
            continued_as=self._continued_as(root),
            parent=self._parent(root),
            may_lack_telemetry=self.may_lack_telemetry,
            lacks_records=self.lacks_records,
            offsets=dict(self.context.offsets),
        )

    def _block_reports(self) -> tuple[BlockReport, ...]:
        reported = self.spans, self.logs, self.attempted, self.context.offsets
        is_orchestrated = bool(self.lifespan.roots)
        return (*steps.block_reports(*reported), *steps.dead_letters(*reported, is_orchestrated))

    def _unstarted(self, status: Status) -> set[str]:
        """The planned steps whose state is `NOT_STARTED`.

        A step that could start before the saga ended or failed is excluded: it may have, with its records lost.
        """
        if self.may_lack_telemetry:
            return set()
        unstarted = {step.name for step in self.plan.steps} - {step.name for step in self.attempted}
        return unstarted if status is Status.RUNNING else unstarted - plans.ready_steps(self.plan, self.attempted)

    def _not_done(self, status: Status) -> set[str]:
        """The planned steps that certainly took no effect: they wait for one that fails or was not finished.

        A step that may start next is excluded: it may have started, with its records in transit or lost. So are those
        after it, unless the orchestrator is known to be busy.
        """
        if status is Status.RUNNING and not self._is_busy():
            return set()
        return self._unstarted(status) - plans.ready_steps(self.plan, self.attempted)

    def _is_busy(self) -> bool:
        states = (StepState.IN_FLIGHT, StepState.FAILED)
        return any(step.state in states and step.phase is Phase.FORWARD for step in self.attempted)

    def _continued_as(self, root: Span | None) -> SagaKey | None:
        """The run as which this run continued; its id may be unknown until the other run is seen."""
        run = values.text(root.attributes.get(semconv.TEMPORAL_NEW_RUN)) if root is not None else None
        return self.key._replace(run=run or "") if run or self.context.continued else None

    def _parent(self, root: Span | None) -> SagaKey | None:
        parent = values.text(root.attributes.get(semconv.TEMPORAL_PARENT_ID)) if root is not None else None
        return SagaKey(self.key.environment, "", parent, "") if parent else None

    def _anomaly_context(self, effects: Sequence[StepEffect], status: Status) -> AnomalyContext:
        return AnomalyContext(
            steps=self.attempted,
            effects=effects,
            plan=self.plan,
            status=status,
            closing=self.lifespan.closing,
            restarts=self.lifespan.restarts,
            spans=self.spans,
            edges=self.edges,
            impossible_times=self.impossible_times,
            lost_spans=self.context.lost_spans,
            started_at=self._started_at(),
        )

    def _started_at(self) -> int:
        if self.lifespan.roots:
            return min(span.start for span in self.lifespan.roots)
        return min([*(span.start for span in self.spans[:1]), *(log.at for log in self.logs[:1])])

    def _updated_at(self) -> int:
        latest = max((span.end or span.start for span in self.spans), default=0)
        return max(latest, self.logs[-1].at if self.logs else 0)

    def _amount_and_currency(self, roots: Sequence[Span]) -> tuple[Decimal | None, str | None]:
        """The saga's own amount and currency, from the first root span that has one.

        Without a root span, they come from the spans beside its steps.
        """
        for root in roots:
            amount = values.amount(root.attributes.get(semconv.AMOUNT))
            if amount is not None:
                return amount, values.currency(root.attributes.get(semconv.CURRENCY))
        return None, next(
            (currency for root in roots if (currency := values.currency(root.attributes.get(semconv.CURRENCY)))), None
        )

    def _keys(self) -> dict[str, str]:
        """Business keys; if spans disagree about a key, the latest span's value."""
        keys: dict[str, str] = {}
        others: set[str] = set()
        records: list[Span | Log] = [*self.logs, *self.spans]
        for record in records:
            # most records have only attributes that earlier ones had, none of which is a key
            if not others.issuperset(record.attributes):
                keys |= values.business_keys(record.attributes)
                others.update(name for name in record.attributes if not name.startswith(semconv.KEY_PREFIX))
        return values.listed_keys(keys)


def _distinct(logs: Sequence[Log]) -> list[Log]:
    """Each log record once, in time order."""
    ordered = sorted(logs, key=_log_order)
    # rendering bodies and attributes takes long, and few records need it to differ
    if all(_log_order(one) != _log_order(other) for one, other in pairwise(ordered)):
        return ordered
    ordered.sort(key=lambda log: (*_log_order(log), str(log.body), repr(sorted(log.attributes.items(), key=repr))))
    return [log for index, log in enumerate(ordered) if index == 0 or log != ordered[index - 1]]


def _span_order(span: Span) -> tuple[int, str, str]:
    return span.start, span.trace_id, span.span_id


def _log_order(log: Log) -> tuple[int, int, str, str, str, str]:
    return log.at, log.observed_at, log.trace_id, log.span_id, log.event_name, log.process.identity


LATE_DELIVERY_NS: Final = 5 * NANOSECONDS_PER_SECOND
"""A record received more than this after its process's heartbeats shows a delay, so that more may follow."""

MISSED_INTERVALS: Final = 1
"""Heartbeat intervals without a report after which a process may have done unreported work."""


def may_lack_telemetry(
    spans: Sequence[Span],
    lifespan: Lifespan,
    steps: Sequence[Step],
    context: AttemptContext,
    instances: Mapping[ProcessKey, Instance],
    now: int,
    plan: Plan,
) -> bool:
    """Whether telemetry of a started step may be missing.

    It is complete only if all of this holds:

    - The root span was received. Its process, the orchestrator, calls every step itself and so reports each of them.
    - The orchestrator sends heartbeats, which report what it could not send, and dropped no record.
    - While the saga is open, the orchestrator still reports.
    - No trace was sampled.
    - No record of the orchestrator was received later than its heartbeats; otherwise more may follow.
    - The end of each span that the orchestrator no longer lists as open was received.
    - Of a completed saga, every step was received; of any other ended saga, the failure for which it ended.
    - The step that a compensation reverses was received.
    - No step whose success an observed step depends on has failed.
    """
    if not lifespan.roots:
        return True
    orchestrator = process_key(lifespan.roots[0].process)
    callers = {process_key(each.views[0].process) for step in steps for each in step.attempts if each.views}
    instance = instances.get(orchestrator)
    beat = instance.heartbeat if instance is not None else None
    if callers != {orchestrator} or instance is None or beat is None or beat.dropped > 0:
        return True
    if lifespan.closing is None and not reports_in_time(instance, beat, now):
        return True
    if any(is_sampled(span.trace_state) for span in spans):
        return True
    own = [span for span in spans if process_key(span.process) == orchestrator]
    if instance.lag is not None and any(_is_late(span, instance.lag) for span in own):
        return True
    opened = [span.span_id for span in own if not span.end]
    if any(
        each in context.lost_spans or is_unlisted(each, context.announced.get(each, beat.at), beat) for each in opened
    ):
        return True
    if lifespan.closing is not None and _lacks_reason(status_of(lifespan, steps), plan, steps):
        return True
    names = {step.name for step in steps}
    if any(step.compensates and step.compensates not in names for step in steps):
        return True
    return bool(plans.bypassed_failures(plan, steps))


def _is_late(span: Span, lag: int) -> bool:
    return 0 < span.end < span.received_at - lag - LATE_DELIVERY_NS


def lacks_records(spans: Sequence[Span], steps: Sequence[Step], context: AttemptContext, plan: Plan) -> bool:
    """Whether records of the saga are known to be missing: see `Saga.lacks_records`."""
    is_any_skipped = any(map(skips_attempts, steps)) or bool(plans.unseen_required_steps(plan, steps))
    return is_any_skipped or bool(context.lost_spans or orphans(spans))


def _lacks_reason(status: Status, plan: Plan, steps: Sequence[Step]) -> bool:
    """Whether a completed saga lacks a planned step, or any other end the failed attempt that led to it."""
    if status is Status.COMPLETED:
        started = {step.name for step in steps}
        return any(step.name not in started for step in plan.steps)
    failures = (AttemptState.ERROR, AttemptState.UNKNOWN)
    forward = [step for step in steps if step.phase is Phase.FORWARD]
    return not any(each.state in failures for step in forward for each in step.attempts)


def reports_in_time(instance: Instance, beat: Heartbeat, now: int) -> bool:
    """Whether a process is running and its next heartbeat is not overdue.

    False after a shutdown: the process may not have reported its last calls.
    """
    promised = round((MISSED_INTERVALS * beat.interval + IN_TRANSIT_SECONDS) * NANOSECONDS_PER_SECOND)
    return not beat.final and instance.reported_at + promised >= now
