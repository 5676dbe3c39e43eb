"""Triage: what needs attention now, most urgent first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import plural, to_decimal
from sagascope_dashboard.palette import STATUS, Style, severity
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.incidents import IncidentRow, resolved_incidents, shared_incidents
from sagascope_dashboard.viewmodels.transactions import TransactionRow, transaction_row


@dataclass(frozen=True, slots=True)
class StatusCount:
    """The count of sagas in one status, with a link to their list."""

    style: Style
    number: int
    href: str


@dataclass(frozen=True, slots=True)
class Triage:
    """The whole screen."""

    title: str
    is_calm: bool
    incidents: tuple[IncidentRow, ...]
    """Incidents of several sagas, which are not among the rows."""
    resolved_incidents: tuple[IncidentRow, ...]
    rows: tuple[TransactionRow, ...]
    has_more: bool
    """Whether there are more than this page shows."""
    counts: tuple[StatusCount, ...]


def triage(sagas: schemas.Sagas, flows: schemas.Flows | None, incidents: schemas.Incidents | None = None) -> Triage:
    """Sorts what needs attention: by reason, by the certain and the possible amount at risk, by time without progress.

    `sagas` are those outside the incidents of several sagas.
    """
    rows = tuple(map(transaction_row, sorted(sagas.items, key=_urgency)))
    has_more = sagas.next_cursor is not None
    shared = shared_incidents(incidents) if incidents else ()
    attention_count = len(rows) + sum(each.count for each in shared if each.needs_attention)
    failing = [each.name for each in shared if not each.needs_attention]
    return Triage(
        title=_title(attention_count, has_more) if attention_count or not failing else _failing_title(failing),
        is_calm=not attention_count and not failing,
        incidents=shared,
        resolved_incidents=resolved_incidents(incidents) if incidents else (),
        rows=rows,
        has_more=has_more,
        counts=_counts(flows),
    )


def _urgency(saga: schemas.SagaSummary) -> tuple[int, Decimal, Decimal, datetime]:
    at_risk = [(to_decimal(amount.certain), to_decimal(amount.possible)) for amount in saga.amount_at_risk]
    certain, possible = max(at_risk, default=(Decimal(0), Decimal(0)))
    return severity(saga.attention), -certain, -possible, saga.since or saga.started_at


def _title(count: int, has_more: bool) -> str:
    if not count:
        return "No attention needed"
    if has_more:
        return f"More than {count:,} transactions need attention"
    return f"{plural(count, 'transaction')} {'needs' if count == 1 else 'need'} attention"


def _failing_title(names: list[str]) -> str:
    return (
        f"More {names[0]} transactions fail than usual" if len(set(names)) == 1 else "More transactions fail than usual"
    )


def _counts(flows: schemas.Flows | None) -> tuple[StatusCount, ...]:
    if flows is None:
        return ()
    return tuple(
        StatusCount(STATUS[name], sum(getattr(flow, name) for flow in flows.items), Filters(status=name).href())
        for name in ("running", "completed", "compensated", "failed")
    )


Item = TypeVar("Item", IncidentRow, TransactionRow)


@dataclass(frozen=True, slots=True)
class StableTriage:
    """What is shown, and what is new since."""

    shown: Triage
    keys: tuple[str, ...]
    """Keys of the rows shown, in order: `before` of the next refresh."""
    news_text: str
    """What is new, as text; empty for nothing."""


def keep_order(now: Triage, before: Sequence[str] = ()) -> StableTriage:
    """Keeps the rows shown before, in their order, with their current content; with none of them left, shows all."""
    keys = (*(row.key for row in now.incidents), *(row.key for row in now.rows))
    kept = [key for key in before if key in set(keys)]
    if not kept:
        return StableTriage(now, keys, "")
    order = {key: index for index, key in enumerate(kept)}
    shown = replace(now, incidents=_in_order(now.incidents, order), rows=_in_order(now.rows, order))
    new = sum(row.count for row in now.incidents if row.key not in order)
    new += sum(row.key not in order for row in now.rows)
    return StableTriage(shown, tuple(kept), _news(new))


def _in_order(items: Iterable[Item], order: dict[str, int]) -> tuple[Item, ...]:
    return tuple(sorted((each for each in items if each.key in order), key=lambda each: order[each.key]))


def _news(number: int) -> str:
    return f"{plural(number, 'more transaction')} {'needs' if number == 1 else 'need'} attention" if number else ""
