"""One saga: its plan, its ledger and its attempts."""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from urllib.parse import urlencode

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import ATTENTION, LEDGER, STATUS, STEP, Style, amounts_at_risk, line
from sagascope_dashboard.urls import SAGA

MAX_LEDGER_LINES = 500
"""Entries of the ledger that a page shows; those that may have to be compensated come first where there are more."""

MAX_ATTEMPTS_SHOWN = 1_000
"""Rows of the table of attempts."""

MAX_STEPS_IN_FULL = 12
"""Steps of a plan beyond which unremarkable ones are shown as a number, and a field filters them."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of the plan."""

    name: str
    style: Style
    current: bool
    reached: bool
    note: str
    """The service, and the number of attempts if several."""
    compensation: str
    compensation_style: Style | None
    """The state of its compensation; None while none was attempted."""
    optional: bool
    waits_for: tuple[str, ...]
    """In a plan with branches, the steps that it waits for; else empty."""
    column: int
    """How many steps must come before it, one after the other."""
    row: int
    """Its branch, from 0; steps of one column run in parallel."""
    repetitions: tuple[tuple[str, Style], ...]
    """In a loop, the state of each item, by its key; else empty."""
    children: tuple[tuple[str, str], ...]
    """Ids of the sagas that do its work, and the links to them."""


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Consecutive steps of a long plan: one that matters, or several in one state."""

    text: str
    style: Style
    current: bool


AttemptRow = tuple[schemas.Step, schemas.Attempt | schemas.FoldedAttempts]
"""One attempt of a step, or several that are folded."""


@dataclass(frozen=True, slots=True)
class SagaView:
    """The page of one saga."""

    saga: schemas.Saga
    name: str
    id: str
    status: Style
    attention: Style | None
    amount_at_risk: tuple[str, ...]
    plan_source: str
    plan_steps: tuple[PlanStep, ...]
    plan_groups: tuple[PlanGroup, ...]
    """The plan in short, if it has many steps; else empty."""
    ledger: Sequence[schemas.LedgerEntry]
    """At most `MAX_LEDGER_LINES` of the entries."""
    attempts: tuple[AttemptRow, ...]
    """The first `MAX_ATTEMPTS_SHOWN` rows of them."""
    rows_total: int
    attempts_total: int
    unfolded: Collection[str]
    """The steps, by `step_id`, whose attempts the reader has unfolded."""


_SOURCES = {
    "declared": "declared by the service",
    "learned": "learned from finished transactions of this type",
    "none": "no plan is known; these are the steps seen so far",
}


def saga_view(saga: schemas.Saga, unfolded: Collection[str] = (), filter_text: str = "") -> SagaView:
    """Prepares the page of one saga.

    The attempts of the steps in `unfolded`, by `step_id`, are not folded. Plan and attempts are those of the steps
    that contain `filter_text`.
    """
    shown = with_steps(saga, filter_text)
    plan_steps = tuple(step for step in _plan_steps(saga) if _matches(step.name, filter_text))
    rows, rows_total = _attempt_rows(shown.steps, unfolded)
    return SagaView(
        saga=saga,
        name=line(saga.name, 60),
        id=line(saga.id, 120),
        status=STATUS[saga.status],
        attention=ATTENTION[saga.attention] if saga.attention else None,
        amount_at_risk=amounts_at_risk(saga.amount_at_risk),
        plan_source=_SOURCES[saga.plan.source],
        plan_steps=plan_steps,
        plan_groups=_plan_groups(plan_steps) if len(plan_steps) > MAX_STEPS_IN_FULL else (),
        ledger=_shown_entries(saga.ledger),
        attempts=tuple(rows),
        rows_total=rows_total,
        attempts_total=sum(len(step.attempts) for step in shown.steps),
        unfolded=unfolded,
    )


def _plan_steps(saga: schemas.Saga) -> tuple[PlanStep, ...]:
    """Returns the plan's steps in its order, then attempted steps that the plan lacks."""
    forward = [step for step in saga.steps if step.type != "compensation"]
    planned = {step.name: step for step in saga.plan.steps}
    by_name: dict[str, list[schemas.Step]] = {name: [] for name in planned}
    for step in forward:
        by_name.setdefault(step.name, []).append(step)
    compensations = {step.compensates: step for step in saga.steps if step.type == "compensation" and step.compensates}
    cells = _grid_cells(saga.plan.steps, [name for name in by_name if name not in planned])
    return tuple(
        _plan_step(name, steps, planned.get(name), compensations.get(name), cells[name], saga)
        for name, steps in by_name.items()
    )


@dataclass(frozen=True, slots=True)
class _GridCell:
    column: int
    row: int
    waits_for: tuple[str, ...] = ()


def _grid_cells(planned: Sequence[schemas.PlannedStep], unplanned: Sequence[str]) -> dict[str, _GridCell]:
    """Returns each step's cell in the grid of the plan: a branch stays in its row; unplanned steps come last."""
    after = {step.name: [name for name in step.after if name != step.name] for step in planned}
    try:
        order = [name for name in TopologicalSorter(after).static_order() if name in after]
    except CycleError:
        order, after = list(after), {name: [] for name in after}
    cells: dict[str, _GridCell] = {}
    taken: set[tuple[int, int]] = set()
    rank = {step.name: index for index, step in enumerate(planned)}
    for name in order:
        column = 1 + max((cells[each].column for each in after[name] if each in cells), default=-1)
        cells[name] = _GridCell(column, 0)
    for name in sorted(order, key=lambda each: (cells[each].column, rank[each])):
        column = cells[name].column
        wanted = (cells[each].row for each in after[name] if each in cells)
        row = next((row for row in itertools.chain(wanted, itertools.count()) if (column, row) not in taken), 0)
        taken.add((column, row))
        cells[name] = _GridCell(column, row)
    if any(row for _, row in taken):
        cells = {name: replace(cell, waits_for=tuple(after[name])) for name, cell in cells.items()}
    first = 1 + max((column for column, _ in taken), default=-1)
    return cells | {name: _GridCell(first + index, 0) for index, name in enumerate(unplanned)}


def _plan_groups(steps: Sequence[PlanStep]) -> tuple[PlanGroup, ...]:
    """Returns the plan in short: the current step and its neighbours, failures, and the rest by number and state."""
    at = next((index for index, step in enumerate(steps) if step.current), -1)
    near = {at - 1, at, at + 1} if at >= 0 else set()
    groups: list[PlanGroup] = []
    keyed = [(index if index in near else -1, step.style) for index, step in enumerate(steps)]
    for (index, style), group in itertools.groupby(zip(keyed, steps, strict=True), lambda pair: pair[0]):
        members = [step for _, step in group]
        if index >= 0 or len(members) == 1:
            groups.append(PlanGroup(f"{members[0].name}: {style.label.lower()}", style, members[0].current))
        else:
            groups.append(PlanGroup(f"{len(members):,} {style.label.lower()}", style, current=False))
    if len(groups) <= MAX_PLAN_GROUPS:
        return tuple(groups)
    middle = max(0, min(next((i for i, each in enumerate(groups) if each.current), 0) - 2, len(groups) - 5))
    return tuple(groups[middle : middle + 5])


MAX_PLAN_GROUPS = 9


def _plan_step(
    name: str,
    steps: Sequence[schemas.Step],
    plan: schemas.PlannedStep | None,
    compensation_step: schemas.Step | None,
    cell: _GridCell,
    saga: schemas.Saga,
) -> PlanStep:
    reached = any(step.attempts for step in steps)
    compensation = (compensation_step.name if compensation_step else plan.compensation if plan else None) or ""
    current = saga.step is not None and saga.step in {name, compensation} and saga.status != "completed"
    return PlanStep(
        name=line(name, 60),
        style=_plan_step_style(steps, current=current, saga=saga),
        current=current,
        reached=reached,
        note=_note(steps),
        compensation=line(compensation, 60),
        compensation_style=STEP[compensation_step.state] if compensation_step and compensation_step.attempts else None,
        optional=bool(plan and plan.optional),
        waits_for=tuple(line(each, 60) for each in cell.waits_for),
        column=cell.column,
        row=cell.row,
        repetitions=_repetitions(steps),
        children=_children(steps),
    )


def _repetitions(steps: Sequence[schemas.Step]) -> tuple[tuple[str, Style], ...]:
    if len({step.key for step in steps}) < 2:
        return ()
    return tuple((line(step.key, 40) or "without a key", STEP[step.state]) for step in steps)


def _children(steps: Sequence[schemas.Step]) -> tuple[tuple[str, str], ...]:
    ids = dict.fromkeys(attempt.child.id for step in steps for attempt in step.attempts if attempt.child)
    return tuple((line(identity, 40), f"{SAGA}?{urlencode({'id': identity})}") for identity in ids)


def _plan_step_style(steps: Sequence[schemas.Step], *, current: bool, saga: schemas.Saga) -> Style:
    """Returns the style of a step: of the current step the reason for attention, of others their state."""
    if current and saga.attention:
        return ATTENTION[saga.attention]
    states = [step.state for step in steps]
    order = ("failed", "unknown", "in_flight", "compensated", "done")
    worst = next((state for state in order if state in states), None)
    if worst is None:
        return Style("Not reached", "idle", "dot") if saga.ended_at else STEP["not_started"]
    return STEP[worst]


def _note(steps: Sequence[schemas.Step]) -> str:
    attempts = sum(len(step.attempts) for step in steps)
    service = next((step.service for step in steps if step.service), None)
    texts = (line(service, 40), f"{attempts} attempts" if attempts > len(steps) else "")
    return " · ".join(text for text in texts if text)


_WITHOUT_EFFECT = ("compensated", "not_compensable", "not_done", "not_seen")


def _shown_entries(entries: Sequence[schemas.LedgerEntry]) -> Sequence[schemas.LedgerEntry]:
    if len(entries) <= MAX_LEDGER_LINES:
        return entries
    return sorted(entries, key=lambda entry: entry.state in _WITHOUT_EFFECT)[:MAX_LEDGER_LINES]


def ledger_label(entry: schemas.LedgerEntry) -> str:
    """Returns a committed step's name, and the key that tells its repetitions apart."""
    return line(entry.step, 80) + (f" [{line(entry.key, 40)}]" if entry.key else "")


def ledger_style(entry: schemas.LedgerEntry, status: str) -> Style:
    """Returns the style of an entry: what is committed alarms only while it may have to be compensated."""
    is_planned = entry.state == "committed" and status == "completed"
    return Style("Committed, as planned", "good", "check") if is_planned else LEDGER[entry.state]


def step_id(step: schemas.Step) -> str:
    """Returns what identifies a step of its saga."""
    return _step_id(step.name, step.key, step.type)


@lru_cache(maxsize=16_384)
def _step_id(*identity: str) -> str:
    return json.dumps(identity)


def step_label(step: schemas.Step) -> str:
    """Returns a step's name, its phase of a two-phase commit, and the key that tells its repetitions apart."""
    phase = f": {step.type}" if step.type in schemas.TWO_PHASE_TYPES else ""
    return line(step.name, 80) + phase + (f" [{line(step.key, 40)}]" if step.key else "")


def shown_attempts(step: schemas.Step, unfolded: Collection[str]) -> Sequence[schemas.Attempt | schemas.FoldedAttempts]:
    """Returns the attempts of a step, repetitions folded unless the reader unfolded them."""
    return step.attempts if step_id(step) in unfolded else schemas.fold_attempts(step.attempts)


def every_step(saga: schemas.Saga) -> frozenset[str]:
    """Returns all steps by `step_id`, for a page that cannot unfold them later; none if they have too many attempts."""
    total = sum(len(step.attempts) for step in saga.steps)
    return frozenset(map(step_id, saga.steps)) if total <= MAX_ATTEMPTS_SHOWN else frozenset()


def with_steps(saga: schemas.Saga, filter_text: str) -> schemas.Saga:
    """Returns the saga with the steps whose name or key contains a text, in any case, and with the spans below them."""
    if not filter_text:
        return saga
    steps = [step for step in saga.steps if _matches(f"{step.name} {step.key}", filter_text)]
    kept = {attempt.span_id for step in steps for attempt in step.attempts}
    spans = []
    for span in saga.spans:  # in the order of their start: parents first
        if span.span_id in kept or span.parent_id in kept:
            kept.add(span.span_id)
            spans.append(span)
    return saga.model_copy(update={"steps": steps, "spans": spans, "spans_total": len(spans)})


def _matches(text: str, filter_text: str) -> bool:
    return filter_text.casefold() in text.casefold()


def _attempt_rows(steps: Sequence[schemas.Step], unfolded: Collection[str]) -> tuple[list[AttemptRow], int]:
    """Returns the first `MAX_ATTEMPTS_SHOWN` rows, and the number of all.

    They are in order of start; the phases of one participant of a two-phase commit follow one another.
    """
    first: dict[tuple[str, str], datetime] = {}
    for step in steps:
        if step.type in schemas.TWO_PHASE_TYPES and step.attempts:
            key, start = (step.name, step.key), step.attempts[0].started_at
            first[key] = min(first.get(key, start), start)
    rows = [
        ((each.attempts[0] if isinstance(each, schemas.FoldedAttempts) else each).started_at, step, each)
        for step in steps
        for each in shown_attempts(step, unfolded)
    ]
    rows.sort(key=lambda row: (_group_start(first, row[1], row[0]), row[1].name, row[1].key, row[0]))
    return [(step, each) for _, step, each in rows[:MAX_ATTEMPTS_SHOWN]], len(rows)


def _group_start(first: Mapping[tuple[str, str], datetime], step: schemas.Step, start: datetime) -> datetime:
    return first.get((step.name, step.key), start) if step.type in schemas.TWO_PHASE_TYPES else start
