"""From everything received about one saga to the saga. Pure, order-free, idempotent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from sagascope import semconv
from sagascope_collector import foreign
from sagascope_collector.records import Instance, Log, SagaKey, Span
from sagascope_collector.sagas import anomalies, arrival, clocks, ledger, outcome, plan, steps, values, views
from sagascope_collector.sagas.accounts import Account, accounts
from sagascope_collector.sagas.attempts import Circumstances
from sagascope_collector.sagas.chronicle import Chronicle
from sagascope_collector.sagas.clocks import Edge
from sagascope_collector.sagas.experience import Experience
from sagascope_collector.sagas.exposure import exposure
from sagascope_collector.sagas.identity import Share
from sagascope_collector.sagas.lineage import Lineage
from sagascope_collector.sagas.model import Plan, Saga, Status, Step, Wait
from sagascope_collector.sagas.outcome import Frame
from sagascope_collector.sagas.spans import ProcessKey, gone, process_key, weave


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
    woven = weave(share.spans, share.logs)
    reading = foreign.read(woven.spans)
    spans = sorted(reading.spans.values(), key=_span_order)
    logs = _distinct(share.logs)
    lineage = Lineage(reading.spans)
    frame = outcome.frame(spans, lineage)
    declared = plan.declared([*frame.roots, *spans])
    if declared is plan.NO_PLAN and experience is not None and spans:
        declared = experience.plan(spans[0].process.version) or declared
    edges = clocks.edges(spans, reading.spans)
    about = Circumstances(
        lineage,
        (gone(woven, instances, now) if woven.announced else frozenset()) | reading.lost,
        _offsets(share, frame, edges),
        {span_id: at for (_, span_id), at in sorted(woven.announced.items(), reverse=True)},
    )
    undoing = [step.compensation for step in declared.steps if step.compensation]
    told = [*spans, *woven.again, *reading.again]
    found = steps.tried(views.collect(told, lineage, undoing), about, declared)
    saga = _Assembly(key, spans, logs, frame, declared, about, found, edges).saga()
    return saga if reading.is_as_told else replace(saga, spans=tuple(sorted(woven.spans.values(), key=_span_order)))


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
    ) -> None:
        self._key, self._spans, self._logs, self._frame = key, spans, logs, frame
        self._plan, self._about, self._found, self._edges = declared, about, found, edges

    def saga(self) -> Saga:
        frame, found, declared = self._frame, self._found, self._plan
        root = frame.roots[0] if frame.roots else None
        status = outcome.status(frame, found)
        books = accounts(found, declared)
        lines = ledger.entries(books, declared, status)
        amount, currency = self._value(frame.roots or [span for span in self._spans if not span.mark.step])
        tried = steps.settled(found, lines, declared)
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
            ledger=(*lines, *ledger.untouched(declared, lines)),
            exposure=exposure(books, lines, status, amount, currency),
            anomalies=anomalies.find(self._chronicle(books, status)),
            spans=tuple(self._spans),
            logs=tuple(self._logs),
            closing=frame.closing,
            waits=tuple(self._waits()),
            drives=frame.drives,
            announced=dict(self._about.announced),
            gone=self._about.gone,
            offsets=dict(self._about.offsets),
        )

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

    def _waits(self) -> Iterable[Wait]:
        roots = {id(root) for root in self._frame.roots}
        records: list[Span | Log] = [*self._spans, *self._logs]
        for record in records:
            if semconv.WAIT_UNTIL not in record.attributes:
                continue
            until = values.moment(record.attributes[semconv.WAIT_UNTIL])
            if until is not None:
                at = record.start if isinstance(record, Span) else record.at
                reason = values.text(record.attributes.get(semconv.WAIT_REASON))
                yield Wait(at, until, reason, whole=id(record) in roots)


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
