"""The timeline: swim lanes by service, as plain data that the browser renders.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser extends it to the present.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, epoch_ms, line
from sagascope_dashboard.viewmodels.saga import step_id
from sagascope_dashboard.viewmodels.timeline_bars import (
    INITIAL_SPAN_BARS,
    MAX_SPAN_BARS,
    Bar,
    attach_marks,
    attempt_bars,
    missing_step_bars,
    most_relevant_bars,
    span_bars,
    substitute_bars,
    wait_bars,
)

MIN_IDLE_MS = 2_000.0
"""Gaps without any event that are shorter are never collapsed."""

IDLE_SHARE = 0.25
"""A gap without any event is collapsed if it would take more than this share of the width."""

MAX_IDLE_GAPS = 8
"""Gaps that are collapsed, the longest first."""


def event_times(bars: Iterable[Bar]) -> list[float]:
    """Returns the times of all events, in order."""
    times = {time for bar in bars for time in (bar.start, bar.end, bar.last_seen) if time is not None}
    return sorted(times | {mark.at for bar in bars for mark in bar.marks})


def idle_gaps(times: Sequence[float], end: float | None) -> tuple[tuple[float, float | None], ...]:
    """Returns the gaps to collapse: the longest first, while one would take more than its share of the remaining time.

    While the saga is open, the time from the last event to the present is always one of them: it only grows.
    """
    gaps = sorted(itertools.pairwise(times), key=lambda gap: gap[0] - gap[1])
    remaining = times[-1] - times[0] if times else 0.0
    collapsed: list[tuple[float, float | None]] = [] if end is not None or not times else [(times[-1], None)]
    for start, stop in gaps[:MAX_IDLE_GAPS]:
        if stop - start < MIN_IDLE_MS or stop - start <= IDLE_SHARE * remaining:
            break
        collapsed.append((start, stop))
        remaining -= stop - start
    return tuple(sorted(collapsed, key=lambda gap: gap[0]))


@dataclass(frozen=True, slots=True)
class Lane:
    """One service."""

    name: str
    rows: int
    note: str
    """Its instances."""


def lanes(bars: Sequence[Bar], saga: schemas.Saga) -> tuple[Lane, ...]:
    """Returns one lane a service, in the order of their first work; overlapping bars get rows of their own."""
    order = dict.fromkeys(bar.lane for bar in sorted(bars, key=lambda bar: (bar.start, bar.kind != "saga")))
    lanes_ = []
    for name in order:
        own = [bar for bar in bars if bar.lane == name]
        main = _assign_rows([bar for bar in own if bar.kind in {"action", "compensation", "wait", "missing"}], 0)
        top = _assign_rows([bar for bar in own if bar.kind == "saga"], main)
        rows = _assign_rows([bar for bar in own if bar.kind == "span"], top)
        lanes_.append(Lane(line(name, 60), rows, _instances(saga, name)))
        for bar in own:
            bar.lane = line(name, 60)
    return tuple(lanes_)


def _assign_rows(bars: Sequence[Bar], first: int) -> int:
    """Gives each bar the first row that is free at its start; returns the row after the last one used."""
    free: list[float] = []
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end is None)):
        row = next((index for index, end in enumerate(free) if end <= bar.start), len(free))
        free[row : row + 1] = [float("inf") if bar.end is None else max(bar.end, bar.start)]
        bar.row = first + row
    return first + len(free)


def _instances(saga: schemas.Saga, service: str) -> str:
    seen = dict.fromkeys(
        attempt.instance
        for step in saga.steps
        for attempt in step.attempts
        if attempt.service == service and attempt.instance
    )
    return ", ".join(line(instance, 40) for instance in seen)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that the browser needs to render the timeline."""

    start: float
    end: float | None
    """None while the saga is open: it reaches to the present."""
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    idle: tuple[tuple[float, float | None], ...]
    """Gaps without any event, in order; an end of None is the present."""
    traces: tuple[tuple[float, int], ...]
    """The start of each trace but the first, and its number."""
    left_out: int
    """Spans and attempts without a bar; more of the spans get one if the reader asks for all spans."""
    has_all: bool
    remaining: tuple[str, ...]
    """Planned steps that have not started, while the saga is open."""
    substitute_bars: Mapping[str, str]
    """For spans of the evidence, and others that the reader may ask for, that have no bar: the bar to show instead."""
    is_unfolded: bool
    """Whether the reader has unfolded attempts."""


def timeline(
    saga: schemas.Saga,
    instances: Mapping[str, schemas.Instance] | None = None,
    unfolded: Collection[str] = (),
    wanted: Collection[str] = (),
    *,
    all_spans: bool = False,
) -> Timeline:
    """Lays out one saga.

    `instances` are the known processes by name: for one that is not alive, its bars show when it was last seen. The
    attempts of the steps in `unfolded`, by `step_id`, are not folded. `wanted` are spans that the reader may ask for.
    With `all_spans`, as many spans as possible have a bar.
    """
    evidence = saga.verdict.evidence if saga.verdict else []
    wanted = {*wanted, *(fact.span_id for fact in evidence if fact.span_id)}
    all_attempts = attempt_bars(saga, instances or {}, unfolded)
    attempts = most_relevant_bars(all_attempts, wanted)
    shown = {bar.id for bar in attempts}
    waits = [bar for bar in wait_bars(saga, all_attempts) if bar.id.removesuffix("-wait") in shown]
    limit = MAX_SPAN_BARS if all_spans else INITIAL_SPAN_BARS
    others, left_out = span_bars(saga, {attempt.span_id for step in saga.steps for attempt in step.attempts}, limit)
    left_out += len(all_attempts) - len(attempts)
    bars = [*attempts, *waits, *missing_step_bars(saga), *others]
    attach_marks(saga, bars)
    laid_out = lanes(bars, saga)
    start = min([bar.start for bar in bars], default=epoch_ms(saga.started_at))
    end = _end(saga, bars)
    return Timeline(
        start=start,
        end=end,
        lanes=laid_out,
        bars=tuple(sorted(bars, key=lambda bar: (bar.start, bar.kind, bar.id))),
        idle=idle_gaps(event_times(bars), end),
        traces=_traces(bars),
        left_out=left_out,
        has_all=all_spans or not left_out,
        remaining=_remaining(saga),
        substitute_bars=substitute_bars(saga, bars, unfolded, wanted),
        is_unfolded=any(step_id(step) in unfolded for step in saga.steps),
    )


def _traces(bars: Sequence[Bar]) -> tuple[tuple[float, int], ...]:
    started: dict[int, float] = {}
    for bar in bars:
        if bar.trace > 1:
            started[bar.trace] = min(bar.start, started.get(bar.trace, bar.start))
    return tuple(sorted((at, trace) for trace, at in started.items()))


def instances_by_name(services: schemas.Services | None) -> dict[str, schemas.Instance]:
    """Returns the known processes by instance name."""
    known = services.items if services else []
    return {instance.instance: instance for service in known for instance in service.instances if instance.instance}


def _end(saga: schemas.Saga, bars: Sequence[Bar]) -> float | None:
    if saga.ended_at is None:
        return None
    return max([time for bar in bars if (time := bar.end) is not None] + [epoch_ms(saga.ended_at)])


def _remaining(saga: schemas.Saga) -> tuple[str, ...]:
    if saga.ended_at is not None or saga.status == "compensating":
        return ()
    started = {step.name for step in saga.steps if step.attempts}
    names = [line(step.name, 60) for step in saga.plan.steps if step.name not in started]
    if len(names) > MAX_REMAINING_NAMES + 1:
        names[MAX_REMAINING_NAMES:] = [f"and {len(names) - MAX_REMAINING_NAMES:,} more"]
    return tuple(names)


MAX_REMAINING_NAMES = 8


ProcessKey = tuple[str | None, str | None]
"""A process: its service and its instance name."""

ClockOffsets = Mapping[ProcessKey, timedelta]


def clock_offsets(saga: schemas.Saga) -> dict[ProcessKey, timedelta]:
    """Returns the correction of each process' clock; correct clocks are left out."""
    return {(clock.service, clock.instance): timedelta(seconds=clock.seconds) for clock in saga.clocks}


def adjust_clocks(saga: schemas.Saga, by: ClockOffsets) -> schemas.Saga:
    """Returns the saga with all times corrected."""
    if not by:
        return saga
    spans = [_span(span, by.get((span.service, span.instance))) for span in saga.spans]
    none = timedelta(0)
    logs = [log.model_copy(update={"at": log.at + by.get((log.service, log.instance), none)}) for log in saga.logs]
    steps = [
        step.model_copy(update={"attempts": [_attempt(each, by) for each in step.attempts]}) for step in saga.steps
    ]
    return saga.model_copy(update={"spans": spans, "logs": logs, "steps": steps})


def describe_offsets(by: ClockOffsets) -> str:
    """Returns which clocks are off, and by how much, as text; empty if none is."""
    return "; ".join(_describe(where, offset) for where, offset in by.items())


def _describe(where: ProcessKey, offset: timedelta) -> str:
    service, instance = where
    way = "behind" if offset > timedelta(0) else "ahead"
    return f"the clock of {line(instance or service, 60)} is {duration(abs(offset.total_seconds()))} {way}"


def _span(span: schemas.Span, by: timedelta | None) -> schemas.Span:
    if by is None:
        return span
    events = [event.model_copy(update={"at": event.at + by}) for event in span.events]
    ended = span.ended_at and span.ended_at + by
    return span.model_copy(update={"started_at": span.started_at + by, "ended_at": ended, "events": events})


def _attempt(attempt: schemas.Attempt, by: ClockOffsets) -> schemas.Attempt:
    offset = by.get((attempt.service, attempt.instance))
    if offset is None:
        return attempt
    ended = attempt.ended_at and attempt.ended_at + offset
    return attempt.model_copy(update={"started_at": attempt.started_at + offset, "ended_at": ended})
