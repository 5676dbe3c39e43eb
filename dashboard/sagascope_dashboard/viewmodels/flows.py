"""Flows: the transaction types with their counts, and one type step by step."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, iso, line, plural
from sagascope_dashboard.urls import WINDOWS, Filters, FlowAddress
from sagascope_dashboard.viewmodels.transactions import Table

MAX_NAMED_STEPS = 6
"""Steps that a difference names."""

MAX_TRANSITIONS = 40
"""Pairs of steps that are shown."""

MIN_OUTAGE_EXECUTIONS = 3
"""Transactions of a period that must reach a step before the period can be an outage of it."""

OUTAGE_SHARE = 0.5
"""Share of them that failed from which the period is an outage."""

MAX_OUTAGES = 3
"""Outages that the page names."""

CountOf = Callable[[Filters], schemas.Counts | None]
"""Counts the transactions that a list shows; None: they cannot be counted now."""


def flows(known: schemas.Flows) -> Table:
    """Prepares every type, those that need most attention first."""
    ordered = sorted(known.items, key=lambda flow: (-flow.attention, flow.name, flow.environment))
    rows = [
        {
            "Type": line(flow.name, 80),
            "Environment": line(flow.environment, 60),
            "Need attention": flow.attention,
            "Running": flow.running,
            "Completed": flow.completed,
            "Compensated": flow.compensated,
            "Failed": flow.failed,
        }
        for flow in ordered
    ]
    return _table("flows", rows, [FlowAddress(flow.name, flow.environment or None).href() for flow in ordered])


@dataclass(frozen=True, slots=True)
class Node:
    """A box of a graph: lines of text, and the share of failures that colours it."""

    key: str
    texts: tuple[str, ...]
    share: float
    is_dashed: bool
    href: str


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow between two boxes; the larger its weight, the thicker it is."""

    before: str
    after: str
    text: str
    weight: float
    share: float


@dataclass(frozen=True, slots=True)
class Outage:
    """Consecutive periods in which attempts of a step failed, and so did most of the transactions that started."""

    text: str
    since: datetime
    until: datetime
    href: str
    """The transactions that started then."""
    failed: int
    """How many of them failed or were compensated."""
    is_total: bool
    """Whether all did."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The attempts at a step that started within one period, and the transactions whose first attempt it was.

    The API counts attempts, so which transaction a retry belongs to is not known: one that succeeds in a later period
    is subtracted from the latest failures before it.
    """

    step: str
    at: datetime
    end: datetime
    reached: int
    failed: int
    """How many of the transactions did not succeed, nor did a retry."""
    attempts: int
    failed_attempts: int

    @property
    def may_be_outage(self) -> bool:
        """Whether so many attempts failed that most of the transactions that reached the step may have failed."""
        possible = min(self.failed_attempts, self.reached)
        return self.reached >= MIN_OUTAGE_EXECUTIONS and possible >= OUTAGE_SHARE * self.reached

    @property
    def is_without_success(self) -> bool:
        """Whether so few attempts succeeded that their durations say little."""
        return self.may_be_outage and self.attempts - self.failed_attempts <= (1 - OUTAGE_SHARE) * self.reached


@dataclass(frozen=True, slots=True)
class Flow:
    """The whole screen."""

    since: datetime
    until: datetime
    period: timedelta
    outages: tuple[Outage, ...]
    """Those with the most failed transactions first."""
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    cells: tuple[Cell, ...]
    series: Mapping[str, Sequence[schemas.FlowPeriod]]
    """The periods of each step, by its name."""
    steps: Table
    transitions: Table
    """The most frequent first."""
    paths: Table


def flow(known: schemas.FlowInFull, address: FlowAddress, now: datetime, count: CountOf) -> Flow:
    """Prepares one type for display."""
    only = Filters(name=address.name, environment=address.environment or "")
    period = timedelta(seconds=known.period)
    cells = tuple(cell for step in known.steps for cell in _cells(step, period))
    transitions = sorted(known.transitions, key=lambda each: -each.number)[:MAX_TRANSITIONS]
    possible = sorted(_possible_outages(cells, count(only)), key=lambda run: -sum(cell.failed_attempts for cell in run))
    # of each, the collector is asked which transactions started then: of few, so that the page stays fast
    outages = filter(None, (_outage(consecutive, only, count) for consecutive in possible[:MAX_OUTAGES]))
    return Flow(
        since=_period_start(now - WINDOWS[address.window], period),
        until=_period_start(now, period) + period,
        period=period,
        outages=tuple(sorted(outages, key=lambda each: -each.failed)),
        nodes=tuple(_node(step, only) for step in known.steps),
        edges=tuple(_edge(each) for each in transitions),
        cells=cells,
        series={line(step.step, 80): step.series for step in known.steps},
        steps=_steps(known.steps, only),
        transitions=_transitions(transitions, only),
        paths=_paths(known, only.with_changes(since=address.window)),
    )


def _period_start(moment: datetime, period: timedelta) -> datetime:
    seconds = period.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, moment.tzinfo)


def _reached(of: schemas.FlowStep | schemas.FlowPeriod) -> int:
    """Returns the number of first attempts that ended: one for each transaction, however often it is retried."""
    return max(of.succeeded + of.failed - of.retried, 0)


def _failed(of: schemas.FlowStep | schemas.FlowPeriod) -> int:
    """Returns how many of these never succeeded, nor did a retry."""
    return max(_reached(of) - of.succeeded, 0)


def _cells(step: schemas.FlowStep, period: timedelta) -> list[Cell]:
    failed: list[int] = []
    for each in step.series:
        without_success = _reached(each) - each.succeeded
        failed.append(max(without_success, 0))
        late = max(-without_success, 0)
        for earlier in reversed(range(len(failed))):
            settled = min(late, failed[earlier])
            failed[earlier] -= settled
            late -= settled
    return [
        Cell(line(step.step, 80), of.at, of.at + period, _reached(of), count, of.succeeded + of.failed, of.failed)
        for of, count in zip(step.series, failed, strict=True)
    ]


def _possible_outages(cells: Sequence[Cell], counts: schemas.Counts | None) -> Iterator[list[Cell]]:
    """Yields the consecutive cells of a step in which most attempts failed, and most transactions that started then."""
    consecutive: list[Cell] = []
    for cell in cells:
        is_outage = cell.may_be_outage and counts is not None and _most_failed(_started(cell, counts))
        if consecutive and (cell.step != consecutive[-1].step or cell.at != consecutive[-1].end or not is_outage):
            yield consecutive
            consecutive = []
        if is_outage:
            consecutive.append(cell)
    if consecutive:
        yield consecutive


def _started(cell: Cell, counts: schemas.Counts) -> Counter[str]:
    """Returns the transactions that started then by status; in a long window also some shortly before or after."""
    length = timedelta(seconds=counts.period)
    found = Counter[str]()
    for each in counts.series:
        if each.at < cell.end and each.at + length > cell.at:
            found.update(each.started)
    return found


def _failures(status: Mapping[str, int]) -> int:
    return status.get("failed", 0) + status.get("compensated", 0)


def _most_failed(status: Mapping[str, int]) -> bool:
    return _failures(status) >= max(OUTAGE_SHARE * sum(status.values()), 1)


def _outage(cells: Sequence[Cell], only: Filters, count: CountOf) -> Outage | None:
    """Returns the outage, if the transactions that started then failed: attempts that fail may succeed when retried."""
    since, until = cells[0].at, cells[-1].end
    started = only.with_changes(since=iso(since), until=iso(until))
    counts = count(started)
    if counts is None or not _most_failed(counts.status):
        return None
    failed = _failures(counts.status)
    attempts = all_or_some(sum(cell.failed_attempts for cell in cells), sum(cell.attempts for cell in cells))
    return Outage(
        text=f"{all_or_some(failed, counts.total).capitalize()} transactions that started then failed or were "
        f"compensated; {attempts} attempts of {cells[0].step} failed",
        since=since,
        until=until,
        href=started.href(),
        failed=failed,
        is_total=failed == counts.total,
    )


def all_or_some(count: int, whole: int) -> str:
    """Returns a count of a whole: ``all 20`` or ``5 of 20``."""
    return f"all {whole:,}" if count == whole else f"{count:,} of {whole:,}"


def _node(step: schemas.FlowStep, only: Filters) -> Node:
    reached, failed = _reached(step), _failed(step)
    facts = [f"{failed:,} of {reached:,} failed"] if failed else []
    if not failed and (reached or not step.in_flight):
        facts.append(plural(reached, "transaction"))
    if step.in_flight:
        facts.append(f"{step.in_flight:,} in flight")
    if step.failed > failed:
        facts.append(plural(step.failed, "failed attempt"))
    if step.p95 is not None:
        facts.append(f"p95 {duration(step.p95)}")
    return Node(
        key=step.step,
        texts=(line(step.step, 60), *facts),
        share=failed / reached if reached else 0.0,
        is_dashed=step.type != "action",
        href=only.with_changes(step=step.step).href(),
    )


def _edge(each: schemas.FlowTransition) -> Edge:
    text = f"{each.number:,}" + (f", p95 {duration(each.p95)}" if each.p95 is not None else "")
    return Edge(each.before, each.after, text, float(each.number), 0.0)


def _steps(steps: Sequence[schemas.FlowStep], only: Filters) -> Table:
    rows = [
        {
            "Step": line(step.step, 80),
            "Type": line(step.type, 40),
            "Transactions": _reached(step),
            "Failed": _count_with_share(_failed(step), _reached(step)),
            "Attempts": step.succeeded + step.failed,
            "Failed attempts": _count_with_share(step.failed, step.succeeded + step.failed),
            "Compensated": step.compensated or None,
            "In flight": step.in_flight or None,
            **_percentiles(step),
        }
        for step in steps
    ]
    return _table(f"steps {only.href()}", rows, [only.with_changes(step=step.step).href() for step in steps])


def _transitions(transitions: Sequence[schemas.FlowTransition], only: Filters) -> Table:
    rows = [
        {
            "From the end of": line(each.before, 80),
            "To the start of": line(each.after, 80),
            "Transitions": each.number,
            **_percentiles(each),
        }
        for each in transitions
    ]
    return _table("transitions", rows, [only.with_changes(step=each.after).href() for each in transitions])


def _paths(known: schemas.FlowInFull, only: Filters) -> Table:
    total = sum(each.sagas for each in known.paths)
    rows = [
        {
            "Path": " → ".join(line(step, 60) for step in path.steps) or "no step",
            "Differs": "usual path" if path.is_usual else ", ".join(_differs(path)),
            "Transactions": path.sagas,
            "Share": _share(path.sagas, total),
            "Completed": _share(path.completed, path.sagas),
            "Latest": line(path.newest, 80),
        }
        for path in known.paths
    ]
    steps = [json.dumps(path.steps, ensure_ascii=False, separators=(",", ":")) for path in known.paths]
    return _table("paths", rows, [only.with_changes(path=each).href() for each in steps])


def _table(name: str, rows: Sequence[Mapping[str, object]], hrefs: Sequence[str]) -> Table:
    """Returns a table; a column without any value is left out."""
    titles = [title for title in (rows[0] if rows else ()) if any(row[title] not in (None, "") for row in rows)]
    shown = tuple({title: row[title] for title in titles} for row in rows)
    return Table(name, shown, tuple(hrefs))


def _differs(path: schemas.FlowPath) -> Iterator[str]:
    if path.missing:
        yield f"without {_named(path.missing)}"
    if path.added:
        yield f"with {_named(path.added)} in addition"
    if path.is_reordered:
        yield "in another order"


def _named(steps: Sequence[str]) -> str:
    named = ", ".join(line(step, 60) for step in steps[:MAX_NAMED_STEPS])
    return named if len(steps) <= MAX_NAMED_STEPS else f"{named} and {len(steps) - MAX_NAMED_STEPS} more"


def _share(count: int, whole: int) -> str:
    if not count or count == whole:
        return "none" if not count else "all"
    share = 100 * count / whole
    return f"{share:.0f} %" if 1 <= share <= 99 else "under 1 %" if share < 1 else "over 99 %"


def _count_with_share(count: int, whole: int) -> str:
    """Returns a count with its share: ``3 (1.2 %)``; empty for 0."""
    if not count:
        return ""
    share = 100 * count / whole if whole else 100.0
    return f"{count:,} ({share:.0f} %)" if share >= 10 else f"{count:,} ({share:.1f} %)"


def _percentiles(of: schemas.FlowStep | schemas.FlowTransition) -> dict[str, str]:
    seconds = {"p50": of.p50, "p95": of.p95, "p99": of.p99}
    return {name: "" if value is None else duration(value) for name, value in seconds.items()}
