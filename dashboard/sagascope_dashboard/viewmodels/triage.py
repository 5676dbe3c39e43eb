"""Triage: who needs attention now, the worst first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, line, plural, to_decimal
from sagascope_dashboard.palette import ATTENTION, STATUS, Sign, severity
from sagascope_dashboard.urls import Filters, SagaAddress
from sagascope_dashboard.viewmodels.incidents import Row, over, several


@dataclass(frozen=True, slots=True)
class Case:
    """One saga that needs attention."""

    key: str
    """The same for the same saga, from one reading to the next."""
    href: str
    sign: Sign
    name: str
    id: str
    environment: str
    headline: str
    since: datetime
    step: str
    service: str
    amount_at_risk: tuple[str, ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many sagas are in one status, and where they are listed."""

    sign: Sign
    number: int
    href: str


@dataclass(frozen=True, slots=True)
class Triage:
    """The start page."""

    title: str
    calm: bool
    incidents: tuple[Row, ...]
    """Those of several sagas, which are not among the cases."""
    over: tuple[Row, ...]
    cases: tuple[Case, ...]
    more: bool
    """There are others that this page does not hold."""
    counts: tuple[Count, ...]


def triage(needing: schemas.Sagas, flows: schemas.Flows | None, incidents: schemas.Incidents | None = None) -> Triage:
    """Orders what needs attention: by reason, then by the certain amount at risk, then by how long it has been stuck.

    `needing` are those that are no part of an incident of several.
    """
    cases = tuple(_case(saga) for saga in sorted(needing.items, key=_worst_first))
    more = needing.next_cursor is not None
    shared = several(incidents) if incidents else ()
    needed = len(cases) + sum(each.count for each in shared if each.needs_attention)
    failing = [each.name for each in shared if not each.needs_attention]
    return Triage(
        title=_title(needed, more) if needed or not failing else _failing_title(failing),
        calm=not needed and not failing,
        incidents=shared,
        over=over(incidents) if incidents else (),
        cases=cases,
        more=more,
        counts=_counts(flows),
    )


def _worst_first(saga: schemas.SagaSummary) -> tuple[int, Decimal, datetime]:
    at_stake = max((to_decimal(stake.certain) for stake in saga.amount_at_risk), default=Decimal(0))
    return severity(saga.attention), -at_stake, saga.since or saga.started_at


def _case(saga: schemas.SagaSummary) -> Case:
    address = SagaAddress(saga.name, saga.id, saga.environment or None, saga.run or None)
    return Case(
        key=address.href(),
        href=address.href(),
        sign=ATTENTION[saga.attention or "never_closed"],
        name=line(saga.name, 60),
        id=line(saga.id, 80),
        environment=line(saga.environment, 40),
        headline=line(saga.headline, 600),
        since=saga.since or saga.started_at,
        step=line(saga.step, 80),
        service=line(saga.service, 80),
        amount_at_risk=amounts_at_risk(saga.amount_at_risk),
        attempts=saga.attempts,
    )


def _title(number_of_cases: int, more: bool) -> str:
    if not number_of_cases:
        return "No attention needed"
    if more:
        return f"More than {number_of_cases:,} transactions need attention"
    return f"{plural(number_of_cases, 'transaction')} {'needs' if number_of_cases == 1 else 'need'} attention"


def _failing_title(names: list[str]) -> str:
    return (
        f"More {names[0]} transactions fail than usual" if len(set(names)) == 1 else "More transactions fail than usual"
    )


def _counts(flows: schemas.Flows | None) -> tuple[Count, ...]:
    if flows is None:
        return ()
    return tuple(
        Count(STATUS[name], sum(getattr(flow, name) for flow in flows.items), Filters(status=name).href())
        for name in ("running", "completed", "compensated", "failed")
    )


Item = TypeVar("Item", Row, Case)


@dataclass(frozen=True, slots=True)
class Steady:
    """What is drawn, and what waits."""

    shown: Triage
    drawn: tuple[str, ...]
    """Keys of what is drawn, in order: `before` of the next reading."""
    news: str
    """What waits, in words; empty: nothing does."""


def steady(now: Triage, before: Sequence[str] = ()) -> Steady:
    """Draw what was drawn before in its order, as it is now. Where nothing was drawn, all is."""
    keys = (*(row.key for row in now.incidents), *(case.key for case in now.cases))
    kept = [key for key in before if key in set(keys)]
    if not kept:
        return Steady(now, keys, "")
    places = {key: place for place, key in enumerate(kept)}
    shown = replace(now, incidents=_in_place(now.incidents, places), cases=_in_place(now.cases, places))
    new = sum(row.count for row in now.incidents if row.key not in places)
    new += sum(case.key not in places for case in now.cases)
    return Steady(shown, tuple(kept), _news(new))


def _in_place(items: Iterable[Item], places: dict[str, int]) -> tuple[Item, ...]:
    return tuple(sorted((each for each in items if each.key in places), key=lambda each: places[each.key]))


def _news(number: int) -> str:
    return f"{plural(number, 'more transaction')} {'needs' if number == 1 else 'need'} attention" if number else ""
