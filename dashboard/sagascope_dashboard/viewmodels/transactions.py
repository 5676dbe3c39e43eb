"""Transactions: one page of the list, and what it can be narrowed to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, duration, line
from sagascope_dashboard.palette import ATTENTION, STATUS, Sign
from sagascope_dashboard.urls import ORDERS, Filters, SagaAddress

NOTHING = {
    "never_seen": "nothing like it was ever received.",
    "expired": "it was received once, and has been removed since, as its time to be kept was over.",
    "not_a_saga": "it is known, but belongs to no transaction: no saga id was sent with it.",
}
"""Why a search found nothing."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading; `href` orders the list by it, `order` says how it is ordered now."""

    key: str
    title: str
    href: str | None
    """None: it cannot be."""
    order: str
    """``ascending``, ``descending`` or ``none``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One saga of the list."""

    key: str
    href: str
    sign: Sign
    reason: Sign | None
    name: str
    id: str
    environment: str
    where: str
    started: datetime
    lasted: str
    """How long it took; empty while it is open."""
    amount_at_risk: tuple[str, ...]
    headline: str


@dataclass(frozen=True, slots=True)
class Transactions:
    """One page of the list."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    next_href: str | None
    first_href: str | None
    """Back to the first page; None on it."""
    nothing: str
    """Why the page is empty; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the list can be narrowed to."""

    names: tuple[str, ...]
    services: tuple[str, ...]
    environments: tuple[str, ...]


def transactions(page: schemas.Sagas, filters: Filters, reason: str | None = None) -> Transactions:
    """Prepare one page, in the order in which it came."""
    return Transactions(
        rows=tuple(_row(saga) for saga in page.items),
        columns=tuple(_column(key, title, filters) for key, title in _COLUMNS.items()),
        next_href=filters.having(cursor=page.next_cursor).href() if page.next_cursor else None,
        first_href=filters.having(cursor="").href() if filters.cursor else None,
        nothing="" if page.items else _nothing(filters, reason),
    )


def choices(flows: schemas.Flows | None, services: schemas.Services | None) -> Choices:
    """What is known to narrow the list to; nothing where the collector did not say."""
    types = flows.items if flows else []
    return Choices(
        names=_sorted(flow.name for flow in types),
        services=_sorted(service.service for service in (services.items if services else [])),
        environments=_sorted(flow.environment for flow in types if flow.environment),
    )


def searched(result: schemas.SearchResult) -> SagaAddress | None:
    """The saga that a search means, where there is one answer; else None."""
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
    "duration": "Took",
    "started": "Started",
}


def _taken(saga: schemas.SagaSummary) -> float:
    return ((saga.ended_at or saga.updated_at) - saga.started_at).total_seconds()


def _column(key: str, title: str, filters: Filters) -> Column:
    if key not in ORDERS:
        return Column(key, title, None, "none")
    order = {key: "ascending", f"-{key}": "descending"}.get(filters.order, "none")
    following = {"none": key, "ascending": f"-{key}", "descending": ""}[order]
    if filters.having(sort=following).order == filters.order:
        following = key
    return Column(key, title, filters.having(sort=following).href(), order)


def _row(saga: schemas.SagaSummary) -> Row:
    address = SagaAddress(saga.name, saga.id, saga.environment or None, saga.run or None)
    return Row(
        key=address.href(),
        href=address.href(),
        sign=STATUS[saga.status],
        reason=ATTENTION[saga.attention] if saga.attention else None,
        name=line(saga.name, 60),
        id=line(saga.id, 80),
        environment=line(saga.environment, 40),
        where=" in ".join(line(part, 60) for part in (saga.step, saga.service) if part),
        started=saga.started_at,
        lasted=duration(_taken(saga)) if saga.ended_at else "",
        amount_at_risk=amounts_at_risk(saga.amount_at_risk),
        headline=line(saga.headline, 300),
    )


def _nothing(filters: Filters, reason: str | None) -> str:
    if filters.q and reason in NOTHING:
        return f"Nothing found for “{line(filters.q, 80)}”: {NOTHING[reason]}"
    if filters.narrows():
        return "No transaction matches all of these filters."
    return "No transaction has been received yet. They appear here by themselves once a service sends its first span."


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
