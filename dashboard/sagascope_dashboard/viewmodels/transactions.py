"""Transactions: one page of the list, and the known values of its filters."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, duration, iso, line
from sagascope_dashboard.palette import ATTENTION, STATUS, Style
from sagascope_dashboard.urls import ORDERS, Filters, SagaAddress

NOT_FOUND_TEXTS = {
    "never_seen": "no record like it was received.",
    "expired": "it was received, and has been deleted since, as its retention time is over.",
    "not_a_saga": "it is known, but belongs to no transaction: no saga id was sent with it.",
}
"""Why a search found nothing."""


CSV_COLUMNS = (
    *("type", "id", "environment", "run", "status", "attention", "stuck since", "started", "ended", "step", "service"),
    *("attempts", "amount at risk", "keys", "headline"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """The heading of a column; `href` sorts the list by it, `order` is the current sort order."""

    key: str
    title: str
    href: str | None
    """None if the list cannot be sorted by it."""
    order: str
    """``ascending``, ``descending`` or ``none``."""


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """One saga of a list."""

    key: str
    """Identifies the saga across refreshes."""
    href: str
    style: Style
    reason: Style | None
    name: str
    id: str
    environment: str
    where: str
    """The current step and its service."""
    started: datetime
    stuck_since: datetime | None
    """When progress stopped, else its start; None if it needs no attention."""
    duration_text: str
    """How long it took; empty while it is open."""
    attempts: int
    keys: tuple[str, ...]
    """Business keys with their names: ``order A-8492``."""
    amount_at_risk: tuple[str, ...]
    headline: str


@dataclass(frozen=True, slots=True)
class Transactions:
    """One page of the list."""

    rows: tuple[TransactionRow, ...]
    columns: tuple[Column, ...]
    next_href: str | None
    first_href: str | None
    """Back to the first page; None on it."""
    empty_text: str
    """Why the page has no rows; else empty."""


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The known values of the filters."""

    names: tuple[str, ...]
    services: tuple[str, ...]
    environments: tuple[str, ...]


def transactions(page: schemas.Sagas, filters: Filters, reason: str | None = None) -> Transactions:
    """Prepares one page, in the order received."""
    return Transactions(
        rows=tuple(map(transaction_row, page.items)),
        columns=tuple(_column(key, title, filters) for key, title in _COLUMNS.items()),
        next_href=filters.with_changes(cursor=page.next_cursor).href() if page.next_cursor else None,
        first_href=filters.with_changes(cursor="").href() if filters.cursor else None,
        empty_text="" if page.items else _empty_text(filters, reason),
    )


def filter_options(flows: schemas.Flows | None, services: schemas.Services | None) -> FilterOptions:
    """Returns the known values of the filters; none where the collector did not answer."""
    types = flows.items if flows else []
    return FilterOptions(
        names=_sorted(flow.name for flow in types),
        services=_sorted(service.service for service in (services.items if services else [])),
        environments=_sorted(flow.environment for flow in types if flow.environment),
    )


def only_match(result: schemas.SearchResult) -> SagaAddress | None:
    """Returns the saga that a search found if it is the only one; else None."""
    exact = [match.saga for match in result.matches if match.kind != "prefix"]
    found = exact or [match.saga for match in result.matches]
    # Runs of one id are one answer: the latest is shown, the others are named on its page.
    different = {(saga.environment, saga.name, saga.id) for saga in found}
    if len(different) != 1:
        return None
    (environment, name, identity) = different.pop()
    return SagaAddress(name, identity, environment or None)


_COLUMNS = {
    "status": "Status",
    "id": "Transaction",
    "step": "Where",
    "amount_at_risk": "Amount at risk",
    "duration": "Duration",
    "started": "Started",
}


def _seconds(saga: schemas.SagaSummary) -> float:
    return ((saga.ended_at or saga.updated_at) - saga.started_at).total_seconds()


def _column(key: str, title: str, filters: Filters) -> Column:
    if key not in ORDERS:
        return Column(key, title, None, "none")
    order = {key: "ascending", f"-{key}": "descending"}.get(filters.order, "none")
    following = {"none": key, "ascending": f"-{key}", "descending": ""}[order]
    if filters.with_changes(sort=following).order == filters.order:
        following = key
    return Column(key, title, filters.with_changes(sort=following).href(), order)


def transaction_row(saga: schemas.SagaSummary) -> TransactionRow:
    """Prepares one saga for a list."""
    address = SagaAddress(saga.name, saga.id, saga.environment or None, saga.run or None)
    return TransactionRow(
        key=address.href(),
        href=address.href(),
        style=STATUS[saga.status],
        reason=ATTENTION[saga.attention] if saga.attention else None,
        name=line(saga.name, 60),
        id=line(saga.id, 80),
        environment=line(saga.environment, 40),
        where=" in ".join(line(part, 80) for part in (saga.step, saga.service) if part),
        started=saga.started_at,
        stuck_since=(saga.since or saga.started_at) if saga.attention else None,
        duration_text=duration(_seconds(saga)) if saga.ended_at else "",
        attempts=saga.attempts,
        keys=tuple(f"{line(name, 40)} {line(value, 80)}" for name, value in saga.keys.items()),
        amount_at_risk=amounts_at_risk(saga.amount_at_risk),
        headline=line(saga.headline, 600),
    )


def as_csv(sagas: Iterable[schemas.SagaSummary]) -> str:
    """Returns sagas as CSV: a header, then a line each. Times are UTC; no cell is a formula for a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(CSV_COLUMNS)
    writer.writerows([_csv_cell(value) for value in _csv_values(saga)] for saga in sagas)
    return file.getvalue()


def _csv_values(saga: schemas.SagaSummary) -> tuple[str, ...]:
    return (
        *(saga.name, saga.id, saga.environment, saga.run, saga.status, saga.attention or ""),
        *(iso(moment) if moment else "" for moment in (saga.since, saga.started_at, saga.ended_at)),
        *(saga.step or "", saga.service or "", str(saga.attempts)),
        "; ".join(amounts_at_risk(saga.amount_at_risk)),
        "; ".join(f"{name}={value}" for name, value in saga.keys.items()),
        saga.headline,
    )


def _csv_cell(value: str) -> str:
    text = line(value, 1_000)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _empty_text(filters: Filters, reason: str | None) -> str:
    if filters.q and reason in NOT_FOUND_TEXTS:
        return f"Nothing found for “{line(filters.q, 80)}”: {NOT_FOUND_TEXTS[reason]}"
    if filters.is_filtered():
        return "No transaction matches all of these filters."
    return "No transaction has been received yet. They appear here on their own once a service sends its first span."


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
