"""Incidents: sagas that are stuck for one cause, and what is known about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, block, line
from sagascope_dashboard.palette import ATTENTION, FAILURE_RATE, INCIDENT, SCOPE, STRANGE, Sign
from sagascope_dashboard.urls import Filters, SagaAddress, incident_href

SHOWN_RESOLVED = 5
"""Incidents that are over which the start page names."""

RECOMMENDED = (("resume", "to resume"), ("compensate", "to compensate"), ("verify_first", "to verify first"))

EVENTS = {
    "opened": "opened",
    "reopened": "opened again",
    "acknowledged": "acknowledged",
    "noted": "noted",
    "resolved": "over",
}


@dataclass(frozen=True, slots=True)
class Example:
    """A saga of an incident, by its id."""

    id: str
    href: str


@dataclass(frozen=True, slots=True)
class Row:
    """One incident on the start page."""

    key: str
    href: str
    sign: Sign
    state: Sign
    scope: Sign
    count: int
    needs_attention: bool
    """Whether each of its sagas does; else they ended properly, and too many of them failed."""
    share: float
    """Of the largest one's sagas, from 0 to 1."""
    name: str
    environment: str
    where: str
    error: str
    since: datetime
    amount_at_risk: tuple[str, ...]
    recommended: tuple[str, ...]
    examples: tuple[Example, ...]
    note: str
    acknowledged_by: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an incident."""

    at: datetime
    said: str
    note: str


@dataclass(frozen=True, slots=True)
class CommonAttribute:
    """An attribute that transactions of an incident have more often than completed ones."""

    text: str
    affected: str
    completed: str
    lift: str
    also: str


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, on a page of its own."""

    row: Row
    headline: str
    list_href: str
    error: str
    peak: int
    moved: tuple[tuple[str, int], ...]
    """What became of the sagas that it had when it was acknowledged; empty where it never was."""
    common_attributes: tuple[CommonAttribute, ...]
    """The most significant first; empty where there are too few transactions."""
    history: tuple[Change, ...]
    """The latest first."""
    may: tuple[str, ...]
    """The states that it can be given now."""


def several(known: schemas.Incidents) -> tuple[Row, ...]:
    """Those that go on and have several sagas, the worst first; one saga is its own incident, and listed as itself."""
    going_on = [each for each in known.items if each.state != "resolved" and each.count > 1]
    return _rows(going_on)


def over(known: schemas.Incidents) -> tuple[Row, ...]:
    """The latest of those that are over and had several sagas."""
    return _rows([each for each in known.items if each.state == "resolved" and each.peak > 1][:SHOWN_RESOLVED])


def incident(whole: schemas.IncidentInFull) -> Incident:
    """Prepare the page of one incident."""
    (row,) = _rows([whole])
    return Incident(
        row=row,
        headline=headline(whole),
        list_href=Filters(incident=whole.key).href(),
        error=block(whole.error_sample or "", 2_000),
        peak=whole.peak,
        moved=_moved(whole.moved),
        common_attributes=tuple(_common_attribute(each) for each in whole.common_attributes),
        history=tuple(_change(each) for each in reversed(whole.history)),
        may=tuple(state for state in ("acknowledged", "resolved", "open") if state != whole.state),
    )


def headline(known: schemas.Incident) -> str:
    """What is stuck, where and why, in one sentence."""
    if known.failure_rate:
        return _failure_headline(known, known.failure_rate)
    several = known.count != 1
    where = " in ".join(line(part, 80) for part in (known.step, known.service) if part)
    reason = ATTENTION.get(known.reason, STRANGE).word.lower()
    are = "transactions are" if several else "transaction is"
    return f"{known.count:,} {line(known.name, 60)} {are} stuck{f' at {where}' if where else ''}: {reason}."


def _failure_headline(known: schemas.Incident, rate: schemas.FailureRate) -> str:
    usual = "" if rate.baseline is None else f" (usually {rate.baseline:.1%})"
    where = f", most of them at {line(known.step, 80)}" if known.step else ""
    name = line(known.name, 60)
    if rate.step:
        step = line(rate.step, 80)
        return f"{rate.failed:,} of {rate.ended:,} {name} transactions had an error at {step}{usual}."
    return f"{rate.failed:,} of {rate.ended:,} {name} transactions failed or were compensated{usual}{where}."


def _rows(known: Sequence[schemas.Incident]) -> tuple[Row, ...]:
    most = max((each.count for each in known), default=0) or 1
    return tuple(_row(each, each.count / most) for each in known)


def _row(known: schemas.Incident, share: float) -> Row:
    recommended = [(getattr(known.recommended_actions, name), words) for name, words in RECOMMENDED]
    return Row(
        key=known.key,
        href=incident_href(known.key),
        sign=FAILURE_RATE if known.failure_rate else ATTENTION.get(known.reason, STRANGE),
        state=INCIDENT.get(known.state, STRANGE),
        scope=SCOPE.get(known.scope, STRANGE),
        count=known.count,
        needs_attention=known.failure_rate is None,
        share=share,
        name=line(known.name, 60),
        environment=line(known.environment, 40),
        where=" in ".join(line(part, 80) for part in (known.step, known.service) if part),
        error=line(known.error_sample or "", 200),
        since=known.since,
        amount_at_risk=amounts_at_risk(known.amount_at_risk),
        recommended=tuple(f"{number:,} {words}" for number, words in recommended if number),
        examples=tuple(_example(known, each) for each in known.examples),
        note=line(known.note or "", 300),
        acknowledged_by=line(known.acknowledged_by or "", 80),
    )


def _example(known: schemas.Incident, identity: str) -> Example:
    return Example(line(identity, 40), SagaAddress(known.name, identity, known.environment or None).href())


def _moved(moved: schemas.Moved | None) -> tuple[tuple[str, int], ...]:
    if moved is None:
        return ()
    return (
        ("Finished", moved.finished),
        ("Moved on", moved.moved_on),
        ("Stuck again here", moved.stuck_again),
        ("Never moved", moved.still),
    )


def _common_attribute(known: schemas.CommonAttribute) -> CommonAttribute:
    return CommonAttribute(
        text=_attribute(known),
        affected=f"{known.affected:,} of {known.affected_of:,}",
        completed=f"{known.completed:,} of {known.completed_of:,}",
        lift="no completed one" if known.lift is None else f"{known.lift:,.1f} times as often",
        also=", ".join(_attribute(each) for each in known.also),
    )


def _attribute(known: schemas.SagaAttribute) -> str:
    place = line(known.service or known.step or "", 60)
    return f"{place} {line(known.key, 60)} = {line(known.value, 80)}".lstrip()


def _change(change: schemas.IncidentChange) -> Change:
    who = f" by {line(change.by, 80)}" if change.by else ""
    count = f", {change.count:,} affected" if change.count else ""
    return Change(change.at, f"{EVENTS.get(change.what, change.what)}{who}{count}", line(change.note or "", 1_000))
