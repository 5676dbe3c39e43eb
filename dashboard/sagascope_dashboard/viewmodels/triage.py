"""Triage: who needs someone now, the worst first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from sagascope_collector import wire
from sagascope_dashboard.filters import Filters, SagaAddress
from sagascope_dashboard.format import amount, line, plural
from sagascope_dashboard.palette import ATTENTION, STATUS, Sign, severity


@dataclass(frozen=True, slots=True)
class Case:
    """One saga that needs someone."""

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
    exposure: tuple[str, ...]
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
    cases: tuple[Case, ...]
    more: bool
    """There are others that this page does not hold."""
    counts: tuple[Count, ...]


def triage(needing: wire.Sagas, flows: wire.Flows | None) -> Triage:
    """Order what needs someone: by reason, then by what is certainly at stake, then by how long it has stood."""
    cases = tuple(_case(saga) for saga in sorted(needing.items, key=_worst_first))
    more = needing.next_cursor is not None
    return Triage(_title(len(cases), more), not cases, cases, more, _counts(flows))


def exposure(stakes: Sequence[wire.Exposure]) -> tuple[str, ...]:
    """What is at stake, one phrase a currency: ``€50.00 in force``, ``€50.00 possibly``."""
    return tuple(phrase for stake in stakes for phrase in _phrases(stake))


def _phrases(stake: wire.Exposure) -> list[str]:
    certain, possible = number(stake.certain), number(stake.possible)
    said = [f"{amount(stake.certain, stake.currency)} in force"] if certain else []
    if possible:
        said.append(f"{amount(stake.possible, stake.currency)} possibly in force")
    return said


def number(value: str) -> Decimal:
    """A decimal string as a number; 0 where it is none."""
    try:
        return Decimal(value)
    except InvalidOperation:
        return Decimal(0)


def _worst_first(saga: wire.SagaSummary) -> tuple[int, Decimal, datetime]:
    at_stake = max((number(stake.certain) for stake in saga.exposure), default=Decimal(0))
    return severity(saga.attention), -at_stake, saga.since or saga.started_at


def _case(saga: wire.SagaSummary) -> Case:
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
        exposure=exposure(saga.exposure),
        attempts=saga.attempts,
    )


def _title(number_of_cases: int, more: bool) -> str:
    if not number_of_cases:
        return "Nobody is needed"
    if more:
        return f"More than {number_of_cases:,} transactions need someone"
    return f"{plural(number_of_cases, 'transaction')} {'needs' if number_of_cases == 1 else 'need'} someone"


def _counts(flows: wire.Flows | None) -> tuple[Count, ...]:
    if flows is None:
        return ()
    return tuple(
        Count(STATUS[name], sum(getattr(flow, name) for flow in flows.items), Filters(status=name).href())
        for name in ("running", "completed", "compensated", "failed")
    )
