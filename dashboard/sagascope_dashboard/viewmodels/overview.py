"""Overview: what needs attention now, most urgent first, and how transactions went over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, plural
from sagascope_dashboard.palette import ATTENTION, STATUS, Style
from sagascope_dashboard.urls import OVERVIEW, Filters
from sagascope_dashboard.viewmodels.incidents import IncidentRow, matching_incidents
from sagascope_dashboard.viewmodels.transactions import TransactionRow, transaction_row

SHOWN_STATUSES = ("running", "compensating", "completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class Count:
    """The number of sagas in one state, with a link to their list."""

    style: Style
    number: int
    href: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What the screen says first."""

    title: str
    is_nothing_urgent: bool
    calm_since: datetime | None
    """When the last incident ended; None: there was none lately."""
    has_received: bool
    """Whether any transaction was received."""
    amount_at_risk: tuple[str, ...]
    reasons: tuple[Count, ...]
    """Most urgent first."""
    statuses: tuple[Count, ...]


def summary(
    needing: schemas.Counts, every: schemas.Counts, incidents: schemas.Incidents | None, filters: Filters
) -> Summary:
    """Prepares the totals: `needing` are the sagas that need attention, `every` all of the same type and service."""
    known = incidents.items if incidents else []
    failing = [row.name for row in matching_incidents(known, filters) if not row.needs_attention]
    ended = [each.changed_at for each in known if each.state == "resolved"]
    return Summary(
        title=_title(needing.total, failing),
        is_nothing_urgent=not needing.total and not failing,
        calm_since=max(ended, default=None),
        has_received=every.total > 0,
        amount_at_risk=amounts_at_risk(needing.amount_at_risk),
        reasons=tuple(
            Count(style, needing.attention.get(code, 0), filters.with_changes(attention=code).href(OVERVIEW))
            for code, style in ATTENTION.items()
            if needing.attention.get(code)
        ),
        statuses=tuple(
            Count(STATUS[name], every.status.get(name, 0), filters.of_all(status=name).href())
            for name in SHOWN_STATUSES
        ),
    )


def _title(count: int, failing: Sequence[str]) -> str:
    if count:
        return f"{plural(count, 'transaction')} {'needs' if count == 1 else 'need'} attention"
    if not failing:
        return "No attention needed"
    which = f"{failing[0]} " if len(set(failing)) == 1 else ""
    return f"More {which}transactions fail than usual"


@dataclass(frozen=True, slots=True)
class Urgent:
    """What needs attention, most urgent first."""

    incidents: tuple[IncidentRow, ...]
    """Incidents of several sagas, which are not among the rows."""
    rows: tuple[TransactionRow, ...]
    has_more: bool
    """Whether there are more than the page shows."""


def urgent(sagas: schemas.Sagas, incidents: schemas.Incidents | None, filters: Filters) -> Urgent:
    """Prepares the lists; `sagas` are those outside the incidents of several sagas, in the order received."""
    shared = matching_incidents(incidents.items if incidents else [], filters)
    return Urgent(shared, tuple(map(transaction_row, sagas.items)), sagas.next_cursor is not None)


Item = TypeVar("Item", IncidentRow, TransactionRow)


@dataclass(frozen=True, slots=True)
class StableOrder:
    """What is shown, and what is new since."""

    shown: Urgent
    keys: tuple[str, ...]
    """Keys of the rows shown, in order: `before` of the next refresh."""
    new_rows_text: str
    """What is new, as text; empty for nothing."""


def keep_order(now: Urgent, before: Sequence[str] = ()) -> StableOrder:
    """Keeps the rows shown before, in their order, with their current content; with none of them left, shows all."""
    keys = (*(row.key for row in now.incidents), *(row.key for row in now.rows))
    kept = [key for key in before if key in set(keys)]
    if not kept:
        return StableOrder(now, keys, "")
    order = {key: index for index, key in enumerate(kept)}
    shown = replace(now, incidents=_in_order(now.incidents, order), rows=_in_order(now.rows, order))
    new = sum(row.count for row in now.incidents if row.key not in order)
    new += sum(row.key not in order for row in now.rows)
    return StableOrder(shown, tuple(kept), _new_rows_text(new))


def _in_order(items: Iterable[Item], order: dict[str, int]) -> tuple[Item, ...]:
    return tuple(sorted((each for each in items if each.key in order), key=lambda each: order[each.key]))


def _new_rows_text(number: int) -> str:
    return f"{plural(number, 'more transaction')} {'needs' if number == 1 else 'need'} attention" if number else ""
