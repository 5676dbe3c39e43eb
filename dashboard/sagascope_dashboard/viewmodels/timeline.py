"""The timeline: swim lanes by service, as plain data that the browser draws.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser draws it to the present.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector import wire
from sagascope_dashboard.format import block, line, milliseconds
from sagascope_dashboard.palette import ATTEMPT, ATTENTION

PARTICIPANTS = 2_000
"""Spans beside the attempts that are drawn; beyond them the timeline says how many are left out."""

QUIET_AT_LEAST = 2_000.0
"""Milliseconds. A stretch without any event shorter than this is never squeezed."""

QUIET_SHARE = 0.25
"""A stretch without any event is squeezed when it would take more than this share of the width."""

QUIET_MOST = 8
"""Stretches that are squeezed, the longest first."""

UNNAMED = "unknown service"


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


@dataclass(frozen=True, slots=True)
class Lane:
    """One service."""

    name: str
    rows: int
    note: str
    """Its instances."""


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
    left_out: int
    remaining: tuple[str, ...]
    """Planned steps that have not begun, while the saga is open."""


def timeline(saga: wire.Saga, instances: Mapping[str, wire.Instance] | None = None) -> Timeline:
    """Lay one saga out.

    `instances` are the known processes by name: one that is no longer alive marks where its work was last heard of.
    """
    attempts = _attempts(saga, instances or {})
    others, left_out = _others(saga, {bar.id for bar in attempts})
    bars = [*attempts, *_waits(saga, attempts), *_missing(saga), *others]
    _attach(saga, bars)
    lanes = _lanes(bars, saga)
    begin = min([bar.start for bar in bars], default=milliseconds(saga.started_at))
    end = _end(saga, bars)
    return Timeline(
        start=begin,
        end=end,
        lanes=lanes,
        bars=tuple(sorted(bars, key=lambda bar: (bar.start, bar.kind, bar.id))),
        quiet=quiet_stretches(_instants(bars), end),
        left_out=left_out,
        remaining=_remaining(saga),
    )


def living(services: wire.Services | None) -> dict[str, wire.Instance]:
    """The processes that are known, by name."""
    known = services.items if services else []
    return {instance.instance: instance for service in known for instance in service.instances if instance.instance}


# --- bars ------------------------------------------------------------------------------------------


def _attempts(saga: wire.Saga, instances: Mapping[str, wire.Instance]) -> list[Bar]:
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


def _attempt(step: wire.Step, attempt: wire.Attempt, traces: Mapping[str, int], instance: wire.Instance | None) -> Bar:
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


def _attempt_facts(step: wire.Step, attempt: wire.Attempt) -> tuple[tuple[str, str], ...]:
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


def _others(saga: wire.Saga, drawn: set[str]) -> tuple[list[Bar], int]:
    """The saga's own span and the participants' that are no attempts; the longest where there are too many."""
    spans = [span for span in saga.spans if span.span_id not in drawn]
    left_out = max(0, len(spans) - PARTICIPANTS) + max(0, saga.spans_total - len(saga.spans))
    if len(spans) > PARTICIPANTS:
        spans = sorted(spans, key=_length, reverse=True)[:PARTICIPANTS]
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    root = _root(saga, drawn)
    over = saga.ended_at is not None
    return [_span(span, traces, root=span.span_id == root, over=over) for span in spans], left_out


def _root(saga: wire.Saga, attempts: set[str]) -> str | None:
    """The saga's own span: the first that is no attempt and has no parent here, begun no later than any attempt."""
    known = {span.span_id for span in saga.spans}
    tops = [span for span in saga.spans if span.span_id not in attempts and span.parent_id not in known]
    first = min(tops, key=lambda span: span.started_at, default=None)
    begun = min((attempt.started_at for step in saga.steps for attempt in step.attempts), default=None)
    return first.span_id if first and (begun is None or first.started_at <= begun) else None


def _length(span: wire.Span) -> float:
    return float("inf") if span.ended_at is None else (span.ended_at - span.started_at).total_seconds()


def _span(span: wire.Span, traces: Mapping[str, int], *, root: bool, over: bool) -> Bar:
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


def _waits(saga: wire.Saga, attempts: Sequence[Bar]) -> list[Bar]:
    """The time between a failed attempt and the next of the same step; to the present where none followed yet."""
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
        word="Waiting",
    )


def _missing(saga: wire.Saga) -> list[Bar]:
    """A step that should have begun and did not."""
    if saga.attention != "next_step_missing" or not saga.step or saga.since is None:
        return []
    tried = [attempt for step in saga.steps if step.name == saga.step for attempt in step.attempts]
    return [
        Bar(
            id="missing",
            lane=saga.service or (tried[-1].service if tried else None) or UNNAMED,
            kind="missing",
            state="unknown",
            label=f"{line(saga.step, 80)} has not begun",
            start=milliseconds(saga.since),
            end=None,
            word=ATTENTION["next_step_missing"].word,
        )
    ]


# --- marks -----------------------------------------------------------------------------------------

_LEVELS = {"ERROR": "error", "FATAL": "error", "CRITICAL": "error", "WARN": "warning", "WARNING": "warning"}


def _attach(saga: wire.Saga, bars: Sequence[Bar]) -> None:
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


def _event(event: wire.SpanEvent) -> str:
    message = event.attributes.get("exception.message")
    return line(f"{event.name}: {message}" if message else event.name, 300)


# --- lanes -----------------------------------------------------------------------------------------


def _lanes(bars: Sequence[Bar], saga: wire.Saga) -> tuple[Lane, ...]:
    """One lane a service, in the order of their first work; bars that overlap go to rows of their own."""
    order = dict.fromkeys(bar.lane for bar in sorted(bars, key=lambda bar: (bar.start, bar.kind != "saga")))
    lanes = []
    for name in order:
        mine = [bar for bar in bars if bar.lane == name]
        main = _pack([bar for bar in mine if bar.kind in {"action", "compensation", "wait", "missing"}], 0)
        top = _pack([bar for bar in mine if bar.kind == "saga"], main)
        rows = _pack([bar for bar in mine if bar.kind == "span"], top)
        lanes.append(Lane(line(name, 60), rows, _instances(saga, name)))
        for bar in mine:
            bar.lane = line(name, 60)
    return tuple(lanes)


def _pack(bars: Sequence[Bar], first: int) -> int:
    """Give each bar the first row that is free at its start; the row after the last one used."""
    free: list[float] = []
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end is None)):
        row = next((index for index, end in enumerate(free) if end <= bar.start), len(free))
        free[row : row + 1] = [float("inf") if bar.end is None else max(bar.end, bar.start)]
        bar.row = first + row
    return first + len(free)


def _instances(saga: wire.Saga, service: str) -> str:
    seen = dict.fromkeys(
        attempt.instance
        for step in saga.steps
        for attempt in step.attempts
        if attempt.service == service and attempt.instance
    )
    return ", ".join(line(instance, 40) for instance in seen)


# --- time ------------------------------------------------------------------------------------------


def _instants(bars: Iterable[Bar]) -> list[float]:
    """Every moment at which something happened."""
    moments = {moment for bar in bars for moment in (bar.start, bar.end, bar.heard) if moment is not None}
    return sorted(moments | {mark.at for bar in bars for mark in bar.marks})


def _end(saga: wire.Saga, bars: Sequence[Bar]) -> float | None:
    if saga.ended_at is None:
        return None
    return max([moment for bar in bars if (moment := bar.end) is not None] + [milliseconds(saga.ended_at)])


def quiet_stretches(instants: Sequence[float], end: float | None) -> tuple[tuple[float, float | None], ...]:
    """The stretches to squeeze: the longest first, while one would take more than its share of what is still drawn.

    The time from the last event to the present is one of them always, when the saga is open: it only grows.
    """
    gaps = sorted(itertools.pairwise(instants), key=lambda gap: gap[0] - gap[1])
    drawn = instants[-1] - instants[0] if instants else 0.0
    squeezed: list[tuple[float, float | None]] = [] if end is not None or not instants else [(instants[-1], None)]
    for start, stop in gaps[:QUIET_MOST]:
        if stop - start < QUIET_AT_LEAST or stop - start <= QUIET_SHARE * drawn:
            break
        squeezed.append((start, stop))
        drawn -= stop - start
    return tuple(sorted(squeezed, key=lambda gap: gap[0]))


def _remaining(saga: wire.Saga) -> tuple[str, ...]:
    if saga.ended_at is not None or saga.status == "compensating":
        return ()
    begun = {step.name for step in saga.steps if step.attempts}
    return tuple(line(step.name, 60) for step in saga.plan.steps if step.name not in begun)
