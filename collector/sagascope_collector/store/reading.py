"""From the rows of both tiers to the facts about sagas."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from sagascope_collector.records import Facts, Instance, Log, Mark, SagaId, Span
from sagascope_collector.store import rows
from sagascope_collector.store.census import Service
from sagascope_collector.store.tiers import Tiers

SpanPlace = tuple[str, str]
"""(trace id, span id)."""


def facts(
    tiers: Tiers, ids: Sequence[SagaId], instances: Callable[[Service], Iterable[Instance]]
) -> dict[SagaId, Facts]:
    """Everything received about each id; an unknown id is absent. See `Store.facts`."""
    wanted = set(ids)
    spans = _spans(tiers, ids, wanted)
    logs: defaultdict[SagaId, list[Log]] = defaultdict(list)
    for saga, log in rows.logs(tiers.of_sagas("logs", ids)):
        if saga in wanted:
            logs[saga].append(log)
    return {saga: _facts(saga, spans[saga], logs[saga], instances) for saga in ids if spans[saga] or logs[saga]}


def _spans(tiers: Tiers, ids: Sequence[SagaId], wanted: set[SagaId]) -> defaultdict[SagaId, Sequence[Span]]:
    found: defaultdict[SagaId, list[Span]] = defaultdict(list)
    for saga, span in rows.spans(tiers.of_sagas("spans", ids)):
        if saga in wanted:
            found[saga].append(span)
    links = [each for each in tiers.of_sagas("links", ids).to_pylist() if _saga_of(each) in wanted]
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


def _facts(
    saga: SagaId, spans: Sequence[Span], logs: Sequence[Log], instances: Callable[[Service], Iterable[Instance]]
) -> Facts:
    records: tuple[Span | Log, ...] = (*spans, *logs)
    services = dict.fromkeys((each.process.environment, each.process.service) for each in records)
    return Facts(saga, tuple(spans), tuple(logs), tuple(each for service in services for each in instances(service)))


def _saga_of(link: Mapping[str, Any]) -> SagaId:
    return SagaId(link["environment"], link["saga_id"])
