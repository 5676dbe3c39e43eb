"""The bars of the timeline, with their marks: attempts, waits, missing steps, other spans.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser extends it to the present.
"""

import itertools
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import ATTEMPT, ATTENTION, block, epoch_ms, line
from sagascope_dashboard.viewmodels.records import UNKNOWN_SERVICE, level, own_logs, span_state
from sagascope_dashboard.viewmodels.saga import shown_attempts, step_id, step_label


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
    step: str = ""
    """Identifies the step of an attempt, as `step_id` does."""
    folded: str = ""
    """For several attempts that are folded, their line; else empty."""
    critical: bool = False
    """Whether it is on the critical path."""
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


MAX_ATTEMPT_BARS = 2_000
"""Attempts that get a bar; the timeline reports how many are left out."""


def most_relevant_bars(bars: Sequence[Bar], wanted: Collection[str]) -> list[Bar]:
    """Returns at most `MAX_ATTEMPT_BARS` of the attempts' bars, in their order.

    First come those that failed, have not ended, are folded or are wanted, then the longest.
    """
    if len(bars) <= MAX_ATTEMPT_BARS:
        return list(bars)

    def rank(bar: Bar) -> tuple[bool, float]:
        is_unremarkable = bar.state == "ok" and not bar.folded and bar.kind == "action" and bar.id not in wanted
        return is_unremarkable, bar.start - (float("inf") if bar.end is None else bar.end)

    kept = {bar.id for bar in sorted(bars, key=rank)[:MAX_ATTEMPT_BARS]}
    return [bar for bar in bars if bar.id in kept]


def attach_marks(saga: schemas.Saga, bars: Sequence[Bar]) -> None:
    """Attaches log lines, and events of spans, to the bar of their span."""
    by_id = {bar.id: bar for bar in bars}
    for log in own_logs(saga.logs):
        if (bar := by_id.get(log.span_id or "")) is not None:
            bar.marks.append(Mark(epoch_ms(log.at), level(log), line(log.body or log.event_name, 300)))
    for span in saga.spans:
        bar = by_id.get(span.span_id)
        for event in span.events if bar else ():
            severity = "error" if event.name == "exception" else "note"
            bar.marks.append(Mark(epoch_ms(event.at), severity, _event(event)))  # type: ignore[union-attr]


def _event(event: schemas.SpanEvent) -> str:
    message = event.attributes.get("exception.message")
    return line(f"{event.name}: {message}" if message else event.name, 300)


def attempt_bars(
    saga: schemas.Saga, instances: Mapping[str, schemas.Instance], unfolded: Collection[str] = ()
) -> list[Bar]:
    """Returns a bar for every attempt, and one for those that are folded.

    A compensation names the bar that it compensates.
    """
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    done = {step.name: step.attempts[-1].span_id for step in saga.steps if step.attempts and step.compensates is None}
    critical = critical_path(saga.steps)
    bars = []
    for step in saga.steps:
        for each in shown_attempts(step, unfolded):
            if isinstance(each, schemas.FoldedAttempts):
                bar = _folded(step, each)
                bar.critical = any(attempt.span_id in critical for attempt in each.attempts)
            else:
                bar = _attempt(step, each, traces, instances.get(each.instance or ""))
                bar.critical = bar.id in critical
            bar.compensates = done.get(step.compensates or "", "")
            bars.append(bar)
    return bars


CLOCK_TOLERANCE_MS = 1.0
"""An attempt that starts this much before another ends may have waited for it."""


def critical_path(steps: Sequence[schemas.Step]) -> set[str]:
    """Returns the span ids of the attempts that decided how long the saga took.

    They are found from the last end backwards: before each attempt comes the one that ended last before it started.
    """
    periods = sorted(
        (float("inf") if each.ended_at is None else epoch_ms(each.ended_at), epoch_ms(each.started_at), each.span_id)
        for step in steps
        for each in step.attempts
    )
    ends = [end for end, _, _ in periods]
    path: set[str] = set()
    at = len(periods) - 1
    while at >= 0:
        _, start, identity = periods[at]
        path.add(identity)
        # never later than this one, which ended before it started if clocks differ
        at = min(at, bisect_right(ends, start + CLOCK_TOLERANCE_MS)) - 1
    return path


def substitute_bars(
    saga: schemas.Saga, bars: Sequence[Bar], unfolded: Collection[str], wanted: Collection[str]
) -> dict[str, str]:
    """Returns, for those of these spans that have no bar, the bar of the folded attempts or of the span above them."""
    shown = {bar.id: bar.id for bar in bars}
    for step in saga.steps:
        for each in shown_attempts(step, unfolded):
            if isinstance(each, schemas.FoldedAttempts):
                shown |= dict.fromkeys((attempt.span_id for attempt in each.attempts), _folded_id(each))
    parents = {span.span_id: span.parent_id for span in saga.spans}
    found = {}
    for identity in wanted:
        at: str | None = identity
        for _ in range(MAX_ANCESTORS):
            if at is None or at in shown:
                break
            at = parents.get(at)
        if at is not None and at in shown and shown[at] != identity:
            found[identity] = shown[at]
    return found


MAX_ANCESTORS = 100
"""Maximum number of ancestors of a span that are searched."""


def _folded_id(folded: schemas.FoldedAttempts) -> str:
    return f"{folded.attempts[0].span_id}-folded"


def _folded(step: schemas.Step, folded: schemas.FoldedAttempts) -> Bar:
    """Returns the bar of several attempts: that of the first, up to the end of the last, without its facts."""
    first, last = folded.attempts[0], folded.attempts[-1]
    end = None if last.ended_at is None else epoch_ms(last.ended_at)
    bar = _attempt(step, first, {}, None)
    return replace(bar, id=_folded_id(folded), end=end, folded=folded.text, facts=(), stack="")


def _attempt(
    step: schemas.Step, attempt: schemas.Attempt, traces: Mapping[str, int], instance: schemas.Instance | None
) -> Bar:
    is_lost = attempt.ended_at is None and instance is not None and not instance.alive
    return Bar(
        id=attempt.span_id,
        lane=attempt.service or step.service or UNKNOWN_SERVICE,
        kind="compensation" if step.compensates is not None or step.type == "compensation" else "action",
        state=attempt.state,
        label=step_label(step),
        start=epoch_ms(attempt.started_at),
        end=None if attempt.ended_at is None else epoch_ms(attempt.ended_at),
        state_label=ATTEMPT[attempt.state].label,
        step=step_id(step),
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
        ("Idempotency key", attempt.idempotency_key),
        ("Trace", attempt.trace_id),
        ("Span", attempt.span_id),
    )
    return tuple((name, line(value, 1000)) for name, value in facts if value)


def wait_bars(saga: schemas.Saga, attempts: Sequence[Bar]) -> list[Bar]:
    """Returns a bar for the time between a failed attempt and the next of its step, and while one is prepared.

    It reaches to the present if nothing followed.
    """
    by_step: dict[str, list[Bar]] = {}
    for bar in attempts:
        by_step.setdefault(bar.step, []).append(bar)
    waits = []
    for step in saga.steps:
        bars = sorted(by_step.get(step_id(step), ()), key=lambda bar: bar.start)
        for before, after in itertools.pairwise(bars):
            if before.state == "error" and before.end is not None and after.start > before.end:
                waits.append(_wait(before, after))
        if bars and saga.attention == "retrying" and saga.step == step.name and bars[-1].end is not None:
            waits.append(_wait(bars[-1], None))
    return waits + _prepared(saga, by_step)


def _prepared(saga: schemas.Saga, by_step: Mapping[str, Sequence[Bar]]) -> list[Bar]:
    """Returns a bar for the time in which a participant of a two-phase commit is prepared and holds its locks."""
    waits = []
    for step in saga.steps:
        if step.type != "prepare" or step.state != "done":
            continue
        decisions = [each for each in saga.steps if (each.name, each.key) == (step.name, step.key) and each is not step]
        after = [bar for each in decisions for bar in by_step.get(step_id(each), ())]
        before = by_step[step_id(step)][-1] if step_id(step) in by_step else None
        if before is None or before.end is None or (not after and saga.ended_at is not None):
            continue
        wait = _wait(before, min(after, key=lambda bar: bar.start, default=None))
        wait.label, wait.state_label = f"{line(step.name, 80)} is prepared and waits for a decision", "Prepared"
        if wait.end is None or wait.end > wait.start:
            waits.append(wait)
    return waits


def _wait(before: Bar, after: Bar | None) -> Bar:
    return Bar(
        id=f"{before.id}-wait",
        lane=before.lane,
        kind="wait",
        state="ok" if after is not None else "in_flight",
        label=f"wait before the next attempt of {before.label}",
        start=before.end or before.start,
        end=None if after is None else after.start,
        state_label="Waiting",
        step=before.step,
        critical=before.critical and after is not None and after.critical,
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
"""Spans that are not attempts and get a bar; the timeline reports how many are left out."""

INITIAL_SPAN_BARS = 200
"""Spans that get a bar before the reader asks for all of them."""


def span_bars(saga: schemas.Saga, attempt_ids: set[str], limit: int = MAX_SPAN_BARS) -> tuple[list[Bar], int]:
    """Returns bars for the spans that are not attempts, the longest of too many; and how many are left out."""
    spans = [span for span in saga.spans if span.span_id not in attempt_ids]
    left_out = max(0, len(spans) - limit) + max(0, saga.spans_total - len(saga.spans))
    root = _root(saga, attempt_ids)
    if len(spans) > limit:
        spans = sorted(spans, key=lambda span: (span.span_id != root, -_length(span)))[:limit]
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
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
    state = span_state(span, has_ended=has_ended)
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
