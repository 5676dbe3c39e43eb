"""Flows: the transaction types, and how theirs end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line
from sagascope_dashboard.palette import STATUS, Sign
from sagascope_dashboard.urls import WINDOWS, Filters, FlowAddress, SagaAddress

MAX_NAMED_STEPS = 6
"""Steps that are named in a difference."""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path; `differs` lists how it differs from the usual path."""

    key: str
    steps: str
    differs: tuple[str, ...]
    """Empty: it is the usual one."""
    number: str
    share: str
    href: str
    """Leads to the transactions that took it."""
    completed: str
    newest: str
    newest_href: str


def paths(known: schemas.FlowInFull, only: Filters, window: str) -> tuple[PathRow, ...]:
    """Returns the usual path, then the others by frequency."""
    every = sum(each.sagas for each in known.courses)
    return tuple(_path(each, known.name, only.having(since=window), every) for each in known.courses)


def _path(path: schemas.FlowCourse, name: str, only: Filters, every: int) -> PathRow:
    exactly = json.dumps(path.steps, ensure_ascii=False, separators=(",", ":"))
    return PathRow(
        key=exactly,
        steps=" → ".join(line(step, 60) for step in path.steps) or "no step",
        differs=() if path.is_usual else _differs(path),
        number=f"{path.sagas:,}",
        share=_share(path.sagas, every),
        href=only.having(course=exactly).href(),
        completed=_share(path.completed, path.sagas),
        newest=line(path.newest, 80),
        newest_href=SagaAddress(name, path.newest, path.environment or None).href(),
    )


def _differs(path: schemas.FlowCourse) -> tuple[str, ...]:
    texts = []
    if path.missing:
        texts.append(f"without {_named(path.missing)}")
    if path.added:
        texts.append(f"with {_named(path.added)} besides")
    if path.is_reordered:
        texts.append("in another order")
    return tuple(texts)


def _named(steps: Sequence[str]) -> str:
    named = ", ".join(line(step, 60) for step in steps[:MAX_NAMED_STEPS])
    return named if len(steps) <= MAX_NAMED_STEPS else f"{named} and {len(steps) - MAX_NAMED_STEPS} more"


def _share(part: int, whole: int) -> str:
    if not part or part == whole:
        return "none" if not part else "all"
    share = 100 * part / whole
    return f"{share:.0f} %" if 1 <= share <= 99 else "under 1 %" if share < 1 else "over 99 %"


STATUSES = ("running", "completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class StatusShare:
    """How many of one type are in one status."""

    sign: Sign
    number: int
    share: float
    """Percent of the type."""
    href: str


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One transaction type in one environment."""

    key: str
    name: str
    environment: str
    href: str
    """Step by step."""
    total: int
    parts: tuple[StatusShare, ...]
    attention: int
    attention_href: str


def flows(known: schemas.Flows) -> tuple[FlowRow, ...]:
    """Every type, those with most to look after first."""
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
        parts=tuple(
            StatusShare(
                STATUS[status], number, 100 * number / total if total else 0.0, only.having(status=status).href()
            )
            for status, number in counts.items()
        ),
        attention=flow.attention,
        attention_href=only.having(attention="any").href(),
    )


MANY_FAIL = 0.1
"""Share of attempts that failed from which on a part of the time is marked."""

MAX_TRANSITIONS = 40
"""Pairs of steps that are shown."""


@dataclass(frozen=True, slots=True)
class Period:
    """A part of the window; times are words, empty where nothing succeeded."""

    at: datetime
    ended: int
    failed: str
    p50: str
    p95: str
    p99: str
    height: float
    """Percent of the slowest part of the step, by its 95th percentile."""
    marked: bool
    """Many failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step or compensation."""

    name: str
    kind: str
    """Empty for an ordinary step."""
    href: str
    """The transactions that stand at it."""
    started: int
    share: float
    """Percent of the step that most began."""
    failed: str
    retried: str
    compensated: str
    in_flight: int
    p50: str
    p95: str
    p99: str
    trend: str
    """In words what the columns show."""
    parts: tuple[Period, ...]
    """Every part of the window, also those in which nothing ended."""


@dataclass(frozen=True, slots=True)
class Between:
    """The time from the end of one step to the beginning of another."""

    before: str
    after: str
    number: int
    p50: str
    p95: str
    p99: str
    trend: str


@dataclass(frozen=True, slots=True)
class Window:
    """A choice of how far back to look."""

    word: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """The whole screen."""

    name: str
    environment: str
    list_href: str
    windows: tuple[Window, ...]
    steps: tuple[Step, ...]
    between: tuple[Between, ...]
    """The most frequent first."""
    paths: tuple[PathRow, ...]


def flow(known: schemas.FlowInFull, address: FlowAddress, now: datetime) -> Flow:
    """One type as it went up to now."""
    only = Filters(name=address.name, environment=address.environment or "")
    most = max((step.started for step in known.steps), default=0)
    begins = _begins(known.period, WINDOWS[address.window], now)
    return Flow(
        name=line(address.name, 80),
        environment=line(address.environment, 60),
        list_href=only.href(),
        windows=tuple(Window(word, address.back(word).href(), word == address.window) for word in WINDOWS),
        steps=tuple(_step(step, only, most, begins) for step in known.steps),
        between=tuple(map(_between, sorted(known.hand_overs, key=lambda each: -each.number)[:MAX_TRANSITIONS])),
        paths=paths(known, only, address.window),
    )


def _between(told: schemas.HandOver) -> Between:
    return Between(
        before=line(told.before, 80),
        after=line(told.after, 80),
        number=told.number,
        p50=_lasting(told.p50),
        p95=_lasting(told.p95),
        p99=_lasting(told.p99),
        trend=_trend(told.series),
    )


def _begins(period: int, window: timedelta, now: datetime) -> list[datetime]:
    """When each part of the window begins."""
    last = int(now.timestamp()) // period * period
    first = int((now - window).timestamp()) // period * period
    return [datetime.fromtimestamp(at, UTC) for at in range(first, last + 1, period)]


def _step(step: schemas.FlowStep, only: Filters, most: int, begins: Sequence[datetime]) -> Step:
    ended = step.succeeded + step.failed
    slowest = max((part.p95 or 0.0 for part in step.series), default=0.0)
    told = {part.at: part for part in step.series}
    parts = tuple(_part(at, told.get(at), slowest) for at in begins)
    return Step(
        name=line(step.step, 80),
        kind="" if step.type == "action" else line(step.type, 40),
        href=only.having(step=step.step).href(),
        started=step.started,
        share=100 * step.started / most if most else 0.0,
        failed=_of(step.failed, ended),
        retried=_of(step.retried, ended),
        compensated=_of(step.compensated, step.succeeded),
        in_flight=step.in_flight,
        p50=_lasting(step.p50),
        p95=_lasting(step.p95),
        p99=_lasting(step.p99),
        trend=_trend(step.series),
        parts=parts,
    )


def _part(at: datetime, told: schemas.FlowPeriod | None, slowest: float) -> Period:
    if told is None:
        return Period(at, 0, "", "", "", "", 0.0, marked=False)
    ended = told.succeeded + told.failed
    return Period(
        at=at,
        ended=ended,
        failed=_of(told.failed, ended),
        p50=_lasting(told.p50),
        p95=_lasting(told.p95),
        p99=_lasting(told.p99),
        height=100 * (told.p95 or 0.0) / slowest if slowest else 0.0,
        marked=told.failed > MANY_FAIL * ended,
    )


def _of(part: int, whole: int) -> str:
    """A count with its share: ``3 (1.2 %)``; nothing for none."""
    if not part:
        return ""
    share = 100 * part / whole if whole else 100.0
    return f"{part:,} ({share:.0f} %)" if share >= 10 else f"{part:,} ({share:.1f} %)"


def _lasting(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _trend(series: Sequence[schemas.FlowPeriod]) -> str:
    lasted = [part.p95 for part in series if part.p95 is not None]
    if not lasted:
        return "nothing succeeded"
    low, high = duration(min(lasted)), duration(max(lasted))
    return f"p95 {high}" if low == high else f"p95 {low} to {high}, lately {duration(lasted[-1])}"
