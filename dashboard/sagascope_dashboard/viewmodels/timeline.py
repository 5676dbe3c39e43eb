"""The timeline: swim lanes by service, as plain data that the browser draws.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser draws it to the present.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line, milliseconds
from sagascope_dashboard.viewmodels.timeline_bars import Bar, attach, attempts, missing, participants, waits

QUIET_AT_LEAST = 2_000.0
"""Milliseconds. A stretch without any event shorter than this is never squeezed."""

QUIET_SHARE = 0.25
"""A stretch without any event is squeezed when it would take more than this share of the width."""

MAX_QUIET_GAPS = 8
"""Stretches that are squeezed, the longest first."""


def instants(bars: Iterable[Bar]) -> list[float]:
    """Every moment at which something happened."""
    moments = {moment for bar in bars for moment in (bar.start, bar.end, bar.heard) if moment is not None}
    return sorted(moments | {mark.at for bar in bars for mark in bar.marks})


def quiet_stretches(moments: Sequence[float], end: float | None) -> tuple[tuple[float, float | None], ...]:
    """The stretches to squeeze: the longest first, while one would take more than its share of what is still drawn.

    The time from the last event to the present is one of them always, when the saga is open: it only grows.
    """
    gaps = sorted(itertools.pairwise(moments), key=lambda gap: gap[0] - gap[1])
    drawn = moments[-1] - moments[0] if moments else 0.0
    squeezed: list[tuple[float, float | None]] = [] if end is not None or not moments else [(moments[-1], None)]
    for start, stop in gaps[:MAX_QUIET_GAPS]:
        if stop - start < QUIET_AT_LEAST or stop - start <= QUIET_SHARE * drawn:
            break
        squeezed.append((start, stop))
        drawn -= stop - start
    return tuple(sorted(squeezed, key=lambda gap: gap[0]))


@dataclass(frozen=True, slots=True)
class Lane:
    """One service."""

    name: str
    rows: int
    note: str
    """Its instances."""


def lanes(bars: Sequence[Bar], saga: schemas.Saga) -> tuple[Lane, ...]:
    """One lane a service, in the order of their first work; bars that overlap go to rows of their own."""
    order = dict.fromkeys(bar.lane for bar in sorted(bars, key=lambda bar: (bar.start, bar.kind != "saga")))
    made = []
    for name in order:
        mine = [bar for bar in bars if bar.lane == name]
        main = _pack([bar for bar in mine if bar.kind in {"action", "compensation", "wait", "missing"}], 0)
        top = _pack([bar for bar in mine if bar.kind == "saga"], main)
        rows = _pack([bar for bar in mine if bar.kind == "span"], top)
        made.append(Lane(line(name, 60), rows, _instances(saga, name)))
        for bar in mine:
            bar.lane = line(name, 60)
    return tuple(made)


def _pack(bars: Sequence[Bar], first: int) -> int:
    """Give each bar the first row that is free at its start; the row after the last one used."""
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
    """Everything that the browser needs to draw."""

    start: float
    end: float | None
    """None while the saga is open: it reaches to the present."""
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    quiet: tuple[tuple[float, float | None], ...]
    """Stretches without any event, in order; an end of None is the present."""
    traces: tuple[tuple[float, int], ...]
    """When each trace but the first began, and its number."""
    left_out: int
    remaining: tuple[str, ...]
    """Planned steps that have not begun, while the saga is open."""


def timeline(saga: schemas.Saga, instances: Mapping[str, schemas.Instance] | None = None) -> Timeline:
    """Lay one saga out.

    `instances` are the known processes by name: one that is no longer alive marks where its work was last heard of.
    """
    tried = attempts(saga, instances or {})
    others, left_out = participants(saga, {bar.id for bar in tried})
    bars = [*tried, *waits(saga, tried), *missing(saga), *others]
    attach(saga, bars)
    drawn = lanes(bars, saga)
    begin = min([bar.start for bar in bars], default=milliseconds(saga.started_at))
    end = _end(saga, bars)
    return Timeline(
        start=begin,
        end=end,
        lanes=drawn,
        bars=tuple(sorted(bars, key=lambda bar: (bar.start, bar.kind, bar.id))),
        quiet=quiet_stretches(instants(bars), end),
        traces=_traces(bars),
        left_out=left_out,
        remaining=_remaining(saga),
    )


def _traces(bars: Sequence[Bar]) -> tuple[tuple[float, int], ...]:
    begun: dict[int, float] = {}
    for bar in bars:
        if bar.trace > 1:
            begun[bar.trace] = min(bar.start, begun.get(bar.trace, bar.start))
    return tuple(sorted((at, trace) for trace, at in begun.items()))


def living(services: schemas.Services | None) -> dict[str, schemas.Instance]:
    """The processes that are known, by name."""
    known = services.items if services else []
    return {instance.instance: instance for service in known for instance in service.instances if instance.instance}


def _end(saga: schemas.Saga, bars: Sequence[Bar]) -> float | None:
    if saga.ended_at is None:
        return None
    return max([moment for bar in bars if (moment := bar.end) is not None] + [milliseconds(saga.ended_at)])


def _remaining(saga: schemas.Saga) -> tuple[str, ...]:
    if saga.ended_at is not None or saga.status == "compensating":
        return ()
    begun = {step.name for step in saga.steps if step.attempts}
    return tuple(line(step.name, 60) for step in saga.plan.steps if step.name not in begun)


Where = tuple[str | None, str | None]
"""A process: its service and its name."""

Offsets = Mapping[Where, timedelta]


def offsets(saga: schemas.Saga) -> dict[Where, timedelta]:
    """What is to be added to the clock of each process; those that are right are left out."""
    return {(clock.service, clock.instance): timedelta(seconds=clock.seconds) for clock in saga.clocks}


def adjusted(saga: schemas.Saga, by: Offsets) -> schemas.Saga:
    """Everything on the saga's own clock."""
    if not by:
        return saga
    spans = [_span(span, by.get((span.service, span.instance))) for span in saga.spans]
    logs = [_log(log, by.get((log.service, log.instance))) for log in saga.logs]
    steps = [
        step.model_copy(update={"attempts": [_attempt(each, by) for each in step.attempts]}) for step in saga.steps
    ]
    return saga.model_copy(update={"spans": spans, "logs": logs, "steps": steps})


def describe(by: Offsets) -> str:
    """Which clocks are off, and by how much; empty where all agree."""
    return "; ".join(_describe(where, offset) for where, offset in by.items())


def _describe(where: Where, offset: timedelta) -> str:
    service, instance = where
    way = "behind" if offset > timedelta(0) else "ahead"
    return f"the clock of {line(instance or service, 60)} is {duration(abs(offset.total_seconds()))} {way}"


def _span(span: schemas.Span, by: timedelta | None) -> schemas.Span:
    if by is None:
        return span
    events = [event.model_copy(update={"at": event.at + by}) for event in span.events]
    ended = span.ended_at and span.ended_at + by
    return span.model_copy(update={"started_at": span.started_at + by, "ended_at": ended, "events": events})


def _log(log: schemas.Log, by: timedelta | None) -> schemas.Log:
    return log if by is None else log.model_copy(update={"at": log.at + by})


def _attempt(attempt: schemas.Attempt, by: Offsets) -> schemas.Attempt:
    offset = by.get((attempt.service, attempt.instance))
    if offset is None:
        return attempt
    ended = attempt.ended_at and attempt.ended_at + offset
    return attempt.model_copy(update={"started_at": attempt.started_at + offset, "ended_at": ended})
