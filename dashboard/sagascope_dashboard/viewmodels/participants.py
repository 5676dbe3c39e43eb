"""The spans of a saga that are no attempts as bars: the saga's own, and work inside its steps."""

from collections.abc import Mapping

from sagascope_collector.client import schemas
from sagascope_dashboard.format import line, milliseconds
from sagascope_dashboard.palette import ATTEMPT
from sagascope_dashboard.viewmodels.bars import UNNAMED, Bar

PARTICIPANTS = 2_000
"""Spans beside the attempts that are drawn; beyond them the timeline says how many are left out."""


def participants(saga: schemas.Saga, drawn: set[str]) -> tuple[list[Bar], int]:
    """The saga's own span and the participants' that are no attempts; the longest where there are too many."""
    spans = [span for span in saga.spans if span.span_id not in drawn]
    left_out = max(0, len(spans) - PARTICIPANTS) + max(0, saga.spans_total - len(saga.spans))
    if len(spans) > PARTICIPANTS:
        spans = sorted(spans, key=_length, reverse=True)[:PARTICIPANTS]
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    root = _root(saga, drawn)
    over = saga.ended_at is not None
    return [_span(span, traces, root=span.span_id == root, over=over) for span in spans], left_out


def _root(saga: schemas.Saga, attempts: set[str]) -> str | None:
    """The saga's own span: the first that is no attempt and has no parent here, begun no later than any attempt."""
    known = {span.span_id for span in saga.spans}
    tops = [span for span in saga.spans if span.span_id not in attempts and span.parent_id not in known]
    first = min(tops, key=lambda span: span.started_at, default=None)
    begun = min((attempt.started_at for step in saga.steps for attempt in step.attempts), default=None)
    return first.span_id if first and (begun is None or first.started_at <= begun) else None


def _length(span: schemas.Span) -> float:
    return float("inf") if span.ended_at is None else (span.ended_at - span.started_at).total_seconds()


def _span(span: schemas.Span, traces: Mapping[str, int], *, root: bool, over: bool) -> Bar:
    state = "error" if span.status == "error" else "ok" if span.ended_at else "unknown" if over else "in_flight"
    facts = (
        ("Kind", span.kind),
        ("Process", span.instance),
        ("Attributes", span.attributes or None),
        ("Trace", span.trace_id),
        ("Span", span.span_id),
    )
    return Bar(
        id=span.span_id,
        lane=span.service or UNNAMED,
        kind="saga" if root else "span",
        state=state,
        label=line(span.name, 120),
        start=milliseconds(span.started_at),
        end=None if span.ended_at is None else milliseconds(span.ended_at),
        word=ATTEMPT[state].word,
        trace=traces.get(span.trace_id, 0),
        facts=tuple((name, line(value, 1000)) for name, value in facts if value),
    )
