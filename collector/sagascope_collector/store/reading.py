"""From the rows of both tiers to the facts about sagas."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from sagascope_collector.records import Facts, Instance, Log, Mark, SagaId, Span
from sagascope_collector.store import rows
from sagascope_collector.store.census import Service
from sagascope_collector.store.tiers import Tiers, Wanted

SpanPlace = tuple[str, str]
"""(trace id, span id)."""

IsWanted = Callable[[SagaId], bool]


def facts(
    tiers: Tiers, ids: Sequence[SagaId], instances: Callable[[Service], Iterable[Instance]]
) -> dict[SagaId, Facts]:
    """Everything received about each id; an unknown id is absent. See `Store.facts`."""
    found = _facts(tiers, ids, set(ids).__contains__, instances)
    return {saga: found[saga] for saga in ids if saga in found}


def facts_called(tiers: Tiers, saga_id: str, instances: Callable[[Service], Iterable[Instance]]) -> dict[SagaId, Facts]:
    """Everything received about an id in each environment. See `Store.facts_called`."""
    found = _facts(tiers, [SagaId("", saga_id)], lambda saga: saga.id == saga_id, instances)
    return dict(sorted(found.items()))


def _facts(
    tiers: Tiers, ids: Sequence[SagaId], is_wanted: IsWanted, instances: Callable[[Service], Iterable[Instance]]
) -> dict[SagaId, Facts]:
    wanted = Wanted(ids)
    spans = _spans(tiers, wanted, is_wanted)
    logs: defaultdict[SagaId, list[Log]] = defaultdict(list)
    for saga, log in rows.logs(tiers.of_sagas("logs", wanted)):
        if is_wanted(saga):
            logs[saga].append(log)
    return {saga: _joined(saga, spans[saga], logs[saga], instances) for saga in {**spans, **logs}}


def _spans(tiers: Tiers, wanted: Wanted, is_wanted: IsWanted) -> defaultdict[SagaId, Sequence[Span]]:
    found: defaultdict[SagaId, list[Span]] = defaultdict(list)
    for saga, span in rows.spans(tiers.of_sagas("spans", wanted)):
        if is_wanted(saga):
            found[saga].append(span)
    links = [each for each in tiers.of_sagas("links", wanted).to_pylist() if is_wanted(_saga_of(each))]
    settled: defaultdict[SagaId, Sequence[Span]] = defaultdict(list)
    settled.update({saga: _final(spans) for saga, spans in found.items()})
    for saga, spans in _linked(tiers, links).items():
        settled[saga] = [*settled[saga], *spans]
    return settled


def _linked(tiers: Tiers, links: Sequence[Mapping[str, Any]]) -> Mapping[SagaId, Sequence[Span]]:
    """The spans that links make part of sagas, each as what its link says."""
    if not links:
        return {}
    places = {name: pa.array([each[name] for each in links], pa.binary()) for name in ("trace_id", "span_id")}
    forms = [span for _, span in rows.spans(tiers.spans_at(pa.table(places)))]
    spans = {(span.trace_id, span.span_id): span for span in _final(forms)}
    found: defaultdict[SagaId, dict[tuple[str, str, Mark], Span]] = defaultdict(dict)
    for link in links:
        mark, saga = rows.mark(link), _saga_of(link)
        span = spans.get((link["trace_id"].hex(), link["span_id"].hex()))
        if span and span.mark.id != saga.id:
            found[saga].setdefault((span.trace_id, span.span_id, mark), replace(span, mark=mark))
    return {saga: list(distinct.values()) for saga, distinct in found.items()}


def _final(spans: Iterable[Span]) -> list[Span]:
    """One form of each span: of one sent while it was open and again when it had ended, the final one."""
    forms: dict[SpanPlace, Span] = {}
    for span in spans:
        known = forms.setdefault((span.trace_id, span.span_id), span)
        if not known.end and span.end:
            forms[span.trace_id, span.span_id] = span
    return list(forms.values())


def _joined(
    saga: SagaId, spans: Sequence[Span], logs: Sequence[Log], instances: Callable[[Service], Iterable[Instance]]
) -> Facts:
    records: tuple[Span | Log, ...] = (*spans, *logs)
    services = dict.fromkeys((each.process.environment, each.process.service) for each in records)
    return Facts(saga, tuple(spans), tuple(logs), tuple(each for service in services for each in instances(service)))


def _saga_of(link: Mapping[str, Any]) -> SagaId:
    return SagaId(link["environment"], link["saga_id"])
