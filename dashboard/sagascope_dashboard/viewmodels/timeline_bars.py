"""What the timeline draws: bars in lanes, with marks on them.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser draws it to the present.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import block, line, milliseconds
from sagascope_dashboard.palette import ATTEMPT, ATTENTION

UNNAMED = "unknown service"
"""The lane of what no service was named for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on a bar: a log line or an event of its span."""

    at: float
    level: str
    """``error``, ``warning`` or ``note``."""
    text: str


@dataclass(slots=True)
class Bar:
    """One piece of work, or of waiting, in a service's lane."""

    id: str
    """Its span id; for a wait, that of the attempt before it."""
    lane: str
    kind: str
    """``action``, ``compensation``, ``saga``, ``span``, ``wait`` or ``missing``."""
    state: str
    """``ok``, ``error``, ``unknown`` or ``in_flight``."""
    label: str
    start: float
    end: float | None
    word: str
    """The state in a word, for readers who do not see the colour."""
    number: int = 0
    tries: int = 0
    heard: float | None = None
    """In flight: when its process was last heard; None where it is heard still, or was never known."""
    undoes: str = ""
    """The bar that a compensation undoes."""
    trace: int = 0
    """Which of the saga's traces, from 1."""
    row: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    stack: str = ""
    marks: list[Mark] = field(default_factory=list)


_LEVELS = {"ERROR": "error", "FATAL": "error", "CRITICAL": "error", "WARN": "warning", "WARNING": "warning"}


def attach(saga: schemas.Saga, bars: Sequence[Bar]) -> None:
    """Put log lines, and events of spans, on the bar of their span."""
    by_id = {bar.id: bar for bar in bars}
    for log in saga.logs:
        bar = by_id.get(log.span_id or "")
        if bar is not None and not (log.event_name or "").startswith("sagascope."):
            level = _LEVELS.get((log.severity or "").upper().rstrip("0123456789"), "note")
            bar.marks.append(Mark(milliseconds(log.at), level, line(log.body or log.event_name, 300)))
    for span in saga.spans:
        bar = by_id.get(span.span_id)
        for event in span.events if bar else ():
            level = "error" if event.name == "exception" else "note"
            bar.marks.append(Mark(milliseconds(event.at), level, _event(event)))  # type: ignore[union-attr]


def _event(event: schemas.SpanEvent) -> str:
    message = event.attributes.get("exception.message")
    return line(f"{event.name}: {message}" if message else event.name, 300)


def attempts(saga: schemas.Saga, instances: Mapping[str, schemas.Instance]) -> list[Bar]:
    """Every attempt; a compensation names the bar that it undoes."""
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    bars = [
        _attempt(step, attempt, traces, instances.get(attempt.instance or ""))
        for step in saga.steps
        for attempt in step.attempts
    ]
    done = {step.name: step.attempts[-1].span_id for step in saga.steps if step.attempts and step.compensates is None}
    undoes = {attempt.span_id: done.get(step.compensates or "", "") for step in saga.steps for attempt in step.attempts}
    for bar in bars:
        bar.undoes = undoes[bar.id]
    return bars


def _attempt(
    step: schemas.Step, attempt: schemas.Attempt, traces: Mapping[str, int], instance: schemas.Instance | None
) -> Bar:
    silent = attempt.ended_at is None and instance is not None and not instance.alive
    return Bar(
        id=attempt.span_id,
        lane=attempt.service or step.service or UNNAMED,
        kind="compensation" if step.compensates is not None or step.type == "compensation" else "action",
        state=attempt.state,
        label=line(step.name, 80) + (f" [{line(step.key, 40)}]" if step.key else ""),
        start=milliseconds(attempt.started_at),
        end=None if attempt.ended_at is None else milliseconds(attempt.ended_at),
        word=ATTEMPT[attempt.state].word,
        number=attempt.number,
        tries=len(step.attempts),
        heard=milliseconds(instance.last_seen) if silent and instance else None,
        trace=traces.get(attempt.trace_id, 0),
        facts=_attempt_facts(step, attempt),
        stack=block(attempt.error.stacktrace) if attempt.error else "",
    )


def _attempt_facts(step: schemas.Step, attempt: schemas.Attempt) -> tuple[tuple[str, str], ...]:
    error = attempt.error
    said = (
        ("Type", "" if step.type == "action" else step.type),
        ("Undoes", step.compensates),
        ("Process", attempt.instance),
        ("Error", ": ".join(part for part in (error.type, error.message) if part) if error else ""),
        ("Trace", attempt.trace_id),
        ("Span", attempt.span_id),
    )
    return tuple((name, line(value, 1000)) for name, value in said if value)


def waits(saga: schemas.Saga, tried: Sequence[Bar]) -> list[Bar]:
    """The time between a failed attempt and the next of the same step; to the present where none followed yet."""
    by_id = {bar.id: bar for bar in tried}
    between = []
    for step in saga.steps:
        bars = sorted((by_id[attempt.span_id] for attempt in step.attempts), key=lambda bar: bar.start)
        for before, after in itertools.pairwise(bars):
            if before.state == "error" and before.end is not None and after.start > before.end:
                between.append(_wait(before, after.start))
        if bars and saga.attention == "retrying" and saga.step == step.name and bars[-1].end is not None:
            between.append(_wait(bars[-1], None))
    return between


def _wait(before: Bar, until: float | None) -> Bar:
    return Bar(
        id=f"{before.id}-wait",
        lane=before.lane,
        kind="wait",
        state="ok" if until is not None else "in_flight",
        label=f"wait before the next attempt of {before.label}",
        start=before.end or before.start,
        end=until,
        word="Waiting",
    )


def missing(saga: schemas.Saga) -> list[Bar]:
    """A step that should have begun and did not."""
    if saga.attention != "next_step_missing" or not saga.step or saga.since is None:
        return []
    begun = [attempt for step in saga.steps if step.name == saga.step for attempt in step.attempts]
    return [
        Bar(
            id="missing",
            lane=saga.service or (begun[-1].service if begun else None) or UNNAMED,
            kind="missing",
            state="unknown",
            label=f"{line(saga.step, 80)} has not begun",
            start=milliseconds(saga.since),
            end=None,
            word=ATTENTION["next_step_missing"].word,
        )
    ]


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
