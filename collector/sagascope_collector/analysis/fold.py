"""From everything received about one saga to the saga. Pure, order-free, idempotent."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from sagascope import semconv
from sagascope_collector import engines
from sagascope_collector.analysis import (
    anomalies,
    arrival,
    blocks,
    clocks,
    gaps,
    ledger,
    logged,
    outcome,
    plan,
    steps,
    timestamps,
    twophase,
    values,
    views,
    waits,
)
from sagascope_collector.analysis.accounts import Account, accounts
from sagascope_collector.analysis.attempts import Circumstances
from sagascope_collector.analysis.causes import Causes
from sagascope_collector.analysis.chronicle import Chronicle
from sagascope_collector.analysis.clocks import Edge
from sagascope_collector.analysis.experience import Experience
from sagascope_collector.analysis.exposure import amounts_at_risk
from sagascope_collector.analysis.identity import Share
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.model import Plan, Saga, Status, Step
from sagascope_collector.analysis.outcome import Frame
from sagascope_collector.analysis.skew import Skew
from sagascope_collector.analysis.spans import ProcessKey, gone, process_key, weave
from sagascope_collector.analysis.timestamps import ImpossibleTime
from sagascope_collector.records import Instance, Log, SagaKey, Span


def fold(
    key: SagaKey,
    share: Share,
    instances: Mapping[ProcessKey, Instance],
    now: int,
    experience: Experience | None = None,
) -> Saga:
    """Rebuild one saga from its share of the facts, in whatever order they came.

    A saga whose root has not arrived is running, never dropped. Facts that repeat change nothing. ``now`` decides
    only which open spans, no longer listed by their process, are given up. What finished sagas of that name taught
    stands in for a plan where none was declared.
    """
    share, impossible = timestamps.settle(share)
    woven = weave(share.spans, share.logs)
    normalized = engines.normalize(woven.spans)
    spans = sorted(normalized.spans.values(), key=_span_order)
    logs = _distinct(share.logs)
    lineage = Lineage(normalized.spans)
    frame = outcome.frame(spans, lineage)
    declared = plan.declared([*frame.roots, *spans])
    if declared is plan.NO_PLAN and experience is not None and (spans or logs):
        declared = experience.plan((spans or logs)[0].process.version) or declared
    edges = clocks.edges(spans, lineage)
    only_logged = logged.steps(
        logs, [*spans, *normalized.further_attempts], frame.closing.end if frame.closing else None
    )
    offsets = _offsets(share, frame, edges)
    about = Circumstances(
        lineage,
        (gone(woven, instances, now) if woven.announced else frozenset()) | normalized.lost,
        offsets,
        {span_id: at for (_, span_id), at in sorted(woven.announced.items(), reverse=True)},
        normalized.unknown,
        Causes(normalized.spans, logs),
        Skew(spans, edges, offsets, experience.skew if experience is not None else {}),
        {id(each.span): each for each in only_logged},
        not normalized.continued.isdisjoint(span.span_id for span in spans),
    )
    undoing = [step.compensation for step in declared.steps if step.compensation]
    told = [*spans, *woven.again, *normalized.further_attempts, *(each.span for each in only_logged)]
    found = steps.tried(views.collect(told, lineage, undoing), about, declared)
    may_lack = gaps.may_lack_telemetry(spans, frame, found, about.gone, instances, now, declared)
    saga = _Assembly(key, spans, logs, frame, declared, about, found, edges, impossible, may_lack).saga()
    return (
        saga if normalized.is_unchanged else replace(saga, spans=tuple(sorted(woven.spans.values(), key=_span_order)))
    )


def _offsets(share: Share, frame: Frame, edges: Sequence[Edge]) -> Mapping[ProcessKey, int]:
    """What is to be added to each clock; the moment at which things came matters as long as more is awaited."""
    root = process_key(frame.roots[0].process) if frame.roots else None
    agreed = clocks.offsets(edges, root) if edges else {}
    return agreed if frame.closing else arrival.held_to(agreed, arrival.ahead(share.spans, share.logs), root)


class _Assembly:
    """Puts the parts of a saga together."""

    def __init__(
        self,
        key: SagaKey,
        spans: Sequence[Span],
        logs: Sequence[Log],
        frame: Frame,
        declared: Plan,
        about: Circumstances,
        found: Sequence[Step],
        edges: Sequence[Edge],
        impossible: Sequence[ImpossibleTime],
        may_lack: bool,
    ) -> None:
        self._key, self._spans, self._logs, self._frame = key, spans, logs, frame
        self._plan, self._about, self._found, self._edges = declared, about, found, edges
        self._impossible, self._may_lack = impossible, may_lack

    def saga(self) -> Saga:
        frame, found, declared = self._frame, self._found, self._plan
        root = frame.roots[0] if frame.roots else None
        status = outcome.status(frame, found)
        books = accounts(found, declared)
        lines = ledger.entries(books, declared, status)
        amount, currency = self._value(frame.roots or [span for span in self._spans if not span.mark.step])
        tried = steps.settled(found, lines, declared, is_complete=not self._may_lack)
        ended = frame.closing is not None
        return Saga(
            key=self._key,
            status=status,
            plan=declared,
            steps=tried,
            root=root,
            started_at=self._started_at(),
            updated_at=self._updated_at(),
            ended_at=frame.closing.end if frame.closing else None,
            timeout=values.seconds(root.attributes.get(semconv.SAGA_TIMEOUT)) if root else None,
            amount=amount,
            currency=currency,
            keys=self._keys(),
            ledger=(*lines, *ledger.untouched(declared, lines, is_complete=not self._may_lack)),
            amount_at_risk=amounts_at_risk(books, lines, status, amount, currency),
            anomalies=anomalies.find(self._chronicle(books, status)),
            spans=tuple(self._spans),
            logs=tuple(self._logs),
            closing=frame.closing,
            waits=tuple(waits.until(self._spans, self._logs, frame.roots)),
            drives=frame.drives,
            announced=dict(self._about.announced),
            gone=self._about.gone,
            awaited_event=None if ended else waits.awaited_event(self._spans, self._logs, found, self._about.offsets),
            blocked=() if ended else blocks.reported(self._spans, self._logs, found, self._about.offsets),
            mixed_outcomes=twophase.mixed_outcomes(found),
            continued_as=self._continued_as(root),
            parent=self._parent(root),
            may_lack_telemetry=self._may_lack,
            offsets=dict(self._about.offsets),
        )

    def _continued_as(self, root: Span | None) -> SagaKey | None:
        """The run as which this one continued; which one that is, may only be known beside it."""
        run = values.text(root.attributes.get(semconv.TEMPORAL_NEW_RUN)) if root is not None else None
        return self._key._replace(run=run or "") if run or self._about.continued else None

    def _parent(self, root: Span | None) -> SagaKey | None:
        parent = values.text(root.attributes.get(semconv.TEMPORAL_PARENT_ID)) if root is not None else None
        return SagaKey(self._key.environment, "", parent, "") if parent else None

    def _chronicle(self, books: Sequence[Account], status: Status) -> Chronicle:
        return Chronicle(
            steps=self._found,
            books=books,
            plan=self._plan,
            status=status,
            closing=self._frame.closing,
            drives=self._frame.drives,
            spans=self._spans,
            edges=self._edges,
            impossible=self._impossible,
            gone=self._about.gone,
            started_at=self._started_at(),
        )

    def _started_at(self) -> int:
        if self._frame.roots:
            return min(span.start for span in self._frame.roots)
        return min([*(span.start for span in self._spans[:1]), *(log.at for log in self._logs[:1])])

    def _updated_at(self) -> int:
        latest = max((span.end or span.start for span in self._spans), default=0)
        return max(latest, self._logs[-1].at if self._logs else 0)

    def _value(self, roots: Sequence[Span]) -> tuple[Decimal | None, str | None]:
        """The saga's own amount and currency, from the first root that says one.

        Where a saga was left open there is none: then from what stands beside its steps.
        """
        for root in roots:
            amount = values.amount(root.attributes.get(semconv.AMOUNT))
            if amount is not None:
                return amount, values.text(root.attributes.get(semconv.CURRENCY))
        return None, next(
            (said for root in roots if (said := values.text(root.attributes.get(semconv.CURRENCY)))), None
        )

    def _keys(self) -> dict[str, str]:
        """Business keys; where two spans say one differently, the later."""
        keys: dict[str, str] = {}
        others: set[str] = set()
        records: list[Span | Log] = [*self._logs, *self._spans]
        for record in records:
            if not others.issuperset(record.attributes):
                keys |= values.business_keys(record.attributes)
                others.update(name for name in record.attributes if not name.startswith(semconv.KEY_PREFIX))
        return dict(sorted(keys.items()))


def _distinct(logs: Sequence[Log]) -> list[Log]:
    """Each log record once, in time order."""
    ordered = sorted(logs, key=_log_order)
    if all(_log_order(one) != _log_order(other) for one, other in pairwise(ordered)):
        return ordered
    ordered.sort(key=lambda log: (*_log_order(log), str(log.body), repr(sorted(log.attributes.items(), key=repr))))
    return [log for place, log in enumerate(ordered) if place == 0 or log != ordered[place - 1]]


def _span_order(span: Span) -> tuple[int, str, str]:
    return span.start, span.trace_id, span.span_id


def _log_order(log: Log) -> tuple[int, int, str, str, str, str]:
    return log.at, log.observed_at, log.trace_id, log.span_id, log.event_name, log.process.identity
