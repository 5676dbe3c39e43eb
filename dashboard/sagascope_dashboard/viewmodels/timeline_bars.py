"""The bars of the timeline, with their marks: attempts, waits, missing steps, other spans.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser extends it to the present.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import block, epoch_ms, line
from sagascope_dashboard.palette import ATTEMPT, ATTENTION

UNKNOWN_SERVICE = "unknown service"
"""The lane of spans without a service name."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point on a bar: a log line or an event of its span."""

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
    state_label: str
    """The state as text, for readers who do not see the colour."""
    number: int = 0
    attempts: int = 0
    last_seen: float | None = None
    """When its process was last seen, if in flight and not reporting; else None."""
    compensates: str = ""
    """The id of the bar that it compensates."""
    trace: int = 0
    """Which of the saga's traces, from 1."""
    row: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    stack: str = ""
    marks: list[Mark] = field(default_factory=list)


_LEVELS = {"ERROR": "error", "FATAL": "error", "CRITICAL": "error", "WARN": "warning", "WARNING": "warning"}


def attach_marks(saga: schemas.Saga, bars: Sequence[Bar]) -> None:
    """Attaches log lines, and events of spans, to the bar of their span."""
    by_id = {bar.id: bar for bar in bars}
    for log in saga.logs:
        bar = by_id.get(log.span_id or "")
        if bar is not None and not (log.event_name or "").startswith("sagascope."):
            level = _LEVELS.get((log.severity or "").upper().rstrip("0123456789"), "note")
            bar.marks.append(Mark(epoch_ms(log.at), level, line(log.body or log.event_name, 300)))
    for span in saga.spans:
        bar = by_id.get(span.span_id)
        for event in span.events if bar else ():
            level = "error" if event.name == "exception" else "note"
            bar.marks.append(Mark(epoch_ms(event.at), level, _event(event)))  # type: ignore[union-attr]


def _event(event: schemas.SpanEvent) -> str:
    message = event.attributes.get("exception.message")
    return line(f"{event.name}: {message}" if message else event.name, 300)


def attempt_bars(saga: schemas.Saga, instances: Mapping[str, schemas.Instance]) -> list[Bar]:
    """Returns a bar for every attempt; a compensation names the bar that it compensates."""
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    bars = [
        _attempt(step, attempt, traces, instances.get(attempt.instance or ""))
        for step in saga.steps
        for attempt in step.attempts
    ]
    done = {step.name: step.attempts[-1].span_id for step in saga.steps if step.attempts and step.compensates is None}
    compensates = {
        attempt.span_id: done.get(step.compensates or "", "") for step in saga.steps for attempt in step.attempts
    }
    for bar in bars:
        bar.compensates = compensates[bar.id]
    return bars


def _attempt(
    step: schemas.Step, attempt: schemas.Attempt, traces: Mapping[str, int], instance: schemas.Instance | None
) -> Bar:
    is_lost = attempt.ended_at is None and instance is not None and not instance.alive
    return Bar(
        id=attempt.span_id,
        lane=attempt.service or step.service or UNKNOWN_SERVICE,
        kind="compensation" if step.compensates is not None or step.type == "compensation" else "action",
        state=attempt.state,
        label=line(step.name, 80) + (f" [{line(step.key, 40)}]" if step.key else ""),
        start=epoch_ms(attempt.started_at),
        end=None if attempt.ended_at is None else epoch_ms(attempt.ended_at),
        state_label=ATTEMPT[attempt.state].label,
        number=attempt.number,
        attempts=len(step.attempts),
        last_seen=epoch_ms(instance.last_seen) if is_lost and instance else None,
        trace=traces.get(attempt.trace_id, 0),
        facts=_attempt_facts(step, attempt),
        stack=block(attempt.error.stacktrace) if attempt.error else "",
    )


def _attempt_facts(step: schemas.Step, attempt: schemas.Attempt) -> tuple[tuple[str, str], ...]:
    error = attempt.error
    facts = (
        ("Type", "" if step.type == "action" else step.type),
        ("Compensates", step.compensates),
        ("Process", attempt.instance),
        ("Error", ": ".join(part for part in (error.type, error.message) if part) if error else ""),
        ("Trace", attempt.trace_id),
        ("Span", attempt.span_id),
    )
    return tuple((name, line(value, 1000)) for name, value in facts if value)


def wait_bars(saga: schemas.Saga, attempts: Sequence[Bar]) -> list[Bar]:
    """Returns a bar for the time between a failed attempt and the next of its step; to the present if none followed."""
    by_id = {bar.id: bar for bar in attempts}
    waits = []
    for step in saga.steps:
        bars = sorted((by_id[attempt.span_id] for attempt in step.attempts), key=lambda bar: bar.start)
        for before, after in itertools.pairwise(bars):
            if before.state == "error" and before.end is not None and after.start > before.end:
                waits.append(_wait(before, after.start))
        if bars and saga.attention == "retrying" and saga.step == step.name and bars[-1].end is not None:
            waits.append(_wait(bars[-1], None))
    return waits


def _wait(before: Bar, until: float | None) -> Bar:
    return Bar(
        id=f"{before.id}-wait",
        lane=before.lane,
        kind="wait",
        state="ok" if until is not None else "in_flight",
        label=f"wait before the next attempt of {before.label}",
        start=before.end or before.start,
        end=until,
        state_label="Waiting",
    )


def missing_step_bars(saga: schemas.Saga) -> list[Bar]:
    """Returns a bar for the step that should have started and did not; empty without one."""
    if saga.attention != "next_step_missing" or not saga.step or saga.since is None:
        return []
    started = [attempt for step in saga.steps if step.name == saga.step for attempt in step.attempts]
    return [
        Bar(
            id="missing",
            lane=saga.service or (started[-1].service if started else None) or UNKNOWN_SERVICE,
            kind="missing",
            state="unknown",
            label=f"{line(saga.step, 80)} has not started",
            start=epoch_ms(saga.since),
            end=None,
            state_label=ATTENTION["next_step_missing"].label,
        )
    ]


MAX_SPAN_BARS = 2_000
"""Spans that are no attempts and get a bar; the timeline reports how many are left out."""


def span_bars(saga: schemas.Saga, attempt_ids: set[str]) -> tuple[list[Bar], int]:
    """Returns bars for the spans that are no attempts, the longest of too many; and how many are left out."""
    spans = [span for span in saga.spans if span.span_id not in attempt_ids]
    left_out = max(0, len(spans) - MAX_SPAN_BARS) + max(0, saga.spans_total - len(saga.spans))
    if len(spans) > MAX_SPAN_BARS:
        spans = sorted(spans, key=_length, reverse=True)[:MAX_SPAN_BARS]
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    root = _root(saga, attempt_ids)
    has_ended = saga.ended_at is not None
    return [_span(span, traces, root=span.span_id == root, has_ended=has_ended) for span in spans], left_out


def _root(saga: schemas.Saga, attempts: set[str]) -> str | None:
    """Returns the saga's own span: no attempt, no known parent, the first, and no later than any attempt."""
    known = {span.span_id for span in saga.spans}
    tops = [span for span in saga.spans if span.span_id not in attempts and span.parent_id not in known]
    first = min(tops, key=lambda span: span.started_at, default=None)
    started = min((attempt.started_at for step in saga.steps for attempt in step.attempts), default=None)
    return first.span_id if first and (started is None or first.started_at <= started) else None


def _length(span: schemas.Span) -> float:
    return float("inf") if span.ended_at is None else (span.ended_at - span.started_at).total_seconds()


def _span(span: schemas.Span, traces: Mapping[str, int], *, root: bool, has_ended: bool) -> Bar:
    state = "error" if span.status == "error" else "ok" if span.ended_at else "unknown" if has_ended else "in_flight"
    facts = (
        ("Kind", span.kind),
        ("Process", span.instance),
        ("Attributes", span.attributes or None),
        ("Trace", span.trace_id),
        ("Span", span.span_id),
    )
    return Bar(
        id=span.span_id,
        lane=span.service or UNKNOWN_SERVICE,
        kind="saga" if root else "span",
        state=state,
        label=line(span.name, 120),
        start=epoch_ms(span.started_at),
        end=None if span.ended_at is None else epoch_ms(span.ended_at),
        state_label=ATTEMPT[state].label,
        trace=traces.get(span.trace_id, 0),
        facts=tuple((name, line(value, 1000)) for name, value in facts if value),
    )
