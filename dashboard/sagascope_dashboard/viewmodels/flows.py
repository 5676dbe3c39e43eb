"""Flows: the transaction types with their counts, and one type step by step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line
from sagascope_dashboard.palette import STATUS, Style
from sagascope_dashboard.urls import WINDOWS, Filters, FlowAddress, SagaAddress

MAX_NAMED_STEPS = 6
"""Steps that a difference names."""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path; `differs` lists how it differs from the usual path."""

    key: str
    steps: str
    differs: tuple[str, ...]
    """Empty for the usual path."""
    count: str
    share: str
    href: str
    """The transactions that took it."""
    completed: str
    newest: str
    newest_href: str


def paths(known: schemas.FlowInFull, only: Filters, window: str) -> tuple[PathRow, ...]:
    """Returns the usual path, then the others by frequency."""
    total = sum(each.sagas for each in known.paths)
    return tuple(_path(each, known.name, only.with_changes(since=window), total) for each in known.paths)


def _path(path: schemas.FlowPath, name: str, only: Filters, total: int) -> PathRow:
    steps_json = json.dumps(path.steps, ensure_ascii=False, separators=(",", ":"))
    return PathRow(
        key=steps_json,
        steps=" → ".join(line(step, 60) for step in path.steps) or "no step",
        differs=() if path.is_usual else _differs(path),
        count=f"{path.sagas:,}",
        share=_share(path.sagas, total),
        href=only.with_changes(path=steps_json).href(),
        completed=_share(path.completed, path.sagas),
        newest=line(path.newest, 80),
        newest_href=SagaAddress(name, path.newest, path.environment or None).href(),
    )


def _differs(path: schemas.FlowPath) -> tuple[str, ...]:
    texts = []
    if path.missing:
        texts.append(f"without {_named(path.missing)}")
    if path.added:
        texts.append(f"with {_named(path.added)} in addition")
    if path.is_reordered:
        texts.append("in another order")
    return tuple(texts)


def _named(steps: Sequence[str]) -> str:
    named = ", ".join(line(step, 60) for step in steps[:MAX_NAMED_STEPS])
    return named if len(steps) <= MAX_NAMED_STEPS else f"{named} and {len(steps) - MAX_NAMED_STEPS} more"


def _share(count: int, whole: int) -> str:
    if not count or count == whole:
        return "none" if not count else "all"
    share = 100 * count / whole
    return f"{share:.0f} %" if 1 <= share <= 99 else "under 1 %" if share < 1 else "over 99 %"


STATUSES = ("running", "completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class StatusShare:
    """The count of one type in one status."""

    style: Style
    count: int
    share: float
    """Percentage of the type."""
    href: str


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One transaction type in one environment."""

    key: str
    name: str
    environment: str
    href: str
    """The page of the type."""
    total: int
    statuses: tuple[StatusShare, ...]
    attention: int
    attention_href: str


def flows(known: schemas.Flows) -> tuple[FlowRow, ...]:
    """Prepares every type, those that need most attention first."""
    ordered = sorted(known.items, key=lambda flow: (-flow.attention, flow.name, flow.environment))
    return tuple(_flow_row(flow) for flow in ordered)


def _flow_row(flow: schemas.Flow) -> FlowRow:
    only = Filters(name=flow.name, environment=flow.environment)
    counts = {status: int(getattr(flow, status)) for status in STATUSES}
    total = sum(counts.values())
    return FlowRow(
        key=only.href(),
        name=line(flow.name, 80),
        environment=line(flow.environment, 60),
        href=FlowAddress(flow.name, flow.environment).href(),
        total=total,
        statuses=tuple(
            StatusShare(
                STATUS[status], count, 100 * count / total if total else 0.0, only.with_changes(status=status).href()
            )
            for status, count in counts.items()
        ),
        attention=flow.attention,
        attention_href=only.with_changes(attention="any").href(),
    )


FAILING_SHARE = 0.1
"""Share of failed attempts above which a period is marked as failing."""

MAX_TRANSITIONS = 40
"""Pairs of steps that are shown."""

Percentiles = tuple[str, str, str]
"""p50, p95 and p99 of durations, as text; empty where nothing succeeded."""


@dataclass(frozen=True, slots=True)
class Period:
    """One period of the window."""

    at: datetime
    ended: int
    failed: str
    percentiles: Percentiles
    height: float
    """p95 as a percentage of the slowest period's."""
    is_failing: bool
    """More than `FAILING_SHARE` failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step or compensation."""

    name: str
    kind: str
    """Empty for an ordinary step."""
    href: str
    """The transactions whose current step it is."""
    started: int
    share: float
    """Percentage of the step that was started most."""
    failed: str
    retried: str
    compensated: str
    in_flight: int
    percentiles: Percentiles
    trend: str
    """The p95 over time as text."""
    periods: tuple[Period, ...]
    """Every period of the window, also empty ones."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The time from the end of one step to the start of the next."""

    before: str
    after: str
    count: int
    percentiles: Percentiles
    trend: str


@dataclass(frozen=True, slots=True)
class Window:
    """One choice of the window."""

    label: str
    href: str
    is_selected: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """The whole screen."""

    name: str
    environment: str
    list_href: str
    windows: tuple[Window, ...]
    steps: tuple[Step, ...]
    transitions: tuple[Transition, ...]
    """The most frequent first."""
    paths: tuple[PathRow, ...]


def flow(known: schemas.FlowInFull, address: FlowAddress, now: datetime) -> Flow:
    """Prepares one type for display."""
    only = Filters(name=address.name, environment=address.environment or "")
    most = max((step.started for step in known.steps), default=0)
    starts = _period_starts(known.period, WINDOWS[address.window], now)
    return Flow(
        name=line(address.name, 80),
        environment=line(address.environment, 60),
        list_href=only.href(),
        windows=tuple(Window(word, address.with_window(word).href(), word == address.window) for word in WINDOWS),
        steps=tuple(_step(step, only, most, starts) for step in known.steps),
        transitions=tuple(map(_transition, sorted(known.transitions, key=lambda each: -each.number)[:MAX_TRANSITIONS])),
        paths=paths(known, only, address.window),
    )


def _transition(each: schemas.FlowTransition) -> Transition:
    return Transition(
        before=line(each.before, 80),
        after=line(each.after, 80),
        count=each.number,
        percentiles=_percentiles(each),
        trend=_trend(each.series),
    )


def _period_starts(period: int, window: timedelta, now: datetime) -> list[datetime]:
    """Returns the start of each period of the window."""
    last = int(now.timestamp()) // period * period
    first = int((now - window).timestamp()) // period * period
    return [datetime.fromtimestamp(at, UTC) for at in range(first, last + 1, period)]


def _step(step: schemas.FlowStep, only: Filters, most: int, starts: Sequence[datetime]) -> Step:
    ended = step.succeeded + step.failed
    slowest = max((period.p95 or 0.0 for period in step.series), default=0.0)
    by_time = {period.at: period for period in step.series}
    periods = tuple(_period(at, by_time.get(at), slowest) for at in starts)
    return Step(
        name=line(step.step, 80),
        kind="" if step.type == "action" else line(step.type, 40),
        href=only.with_changes(step=step.step).href(),
        started=step.started,
        share=100 * step.started / most if most else 0.0,
        failed=_count_with_share(step.failed, ended),
        retried=_count_with_share(step.retried, ended),
        compensated=_count_with_share(step.compensated, step.succeeded),
        in_flight=step.in_flight,
        percentiles=_percentiles(step),
        trend=_trend(step.series),
        periods=periods,
    )


def _period(at: datetime, period: schemas.FlowPeriod | None, slowest: float) -> Period:
    if period is None:
        return Period(at, 0, "", ("", "", ""), 0.0, is_failing=False)
    ended = period.succeeded + period.failed
    return Period(
        at=at,
        ended=ended,
        failed=_count_with_share(period.failed, ended),
        percentiles=_percentiles(period),
        height=100 * (period.p95 or 0.0) / slowest if slowest else 0.0,
        is_failing=period.failed > FAILING_SHARE * ended,
    )


def _count_with_share(count: int, whole: int) -> str:
    """Returns a count with its share: ``3 (1.2 %)``; empty for 0."""
    if not count:
        return ""
    share = 100 * count / whole if whole else 100.0
    return f"{count:,} ({share:.0f} %)" if share >= 10 else f"{count:,} ({share:.1f} %)"


def _percentiles(of: schemas.FlowStep | schemas.FlowTransition | schemas.FlowPeriod) -> Percentiles:
    p50, p95, p99 = ("" if seconds is None else duration(seconds) for seconds in (of.p50, of.p95, of.p99))
    return p50, p95, p99


def _trend(series: Sequence[schemas.FlowPeriod]) -> str:
    p95s = [period.p95 for period in series if period.p95 is not None]
    if not p95s:
        return "nothing succeeded"
    low, high = duration(min(p95s)), duration(max(p95s))
    return f"p95 {high}" if low == high else f"p95 {low} to {high}, lately {duration(p95s[-1])}"
