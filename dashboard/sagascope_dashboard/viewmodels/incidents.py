"""Incidents: sagas that are stuck for one cause."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, block, line
from sagascope_dashboard.palette import ATTENTION, FAILURE_RATE, INCIDENT, SCOPE, UNKNOWN_STATE, Style
from sagascope_dashboard.urls import Filters, SagaAddress, incident_href

MAX_RESOLVED_SHOWN = 5
"""Resolved incidents that the start page lists."""

RECOMMENDED = (("resume", "to resume"), ("compensate", "to compensate"), ("verify_first", "to verify first"))


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident on the start page."""

    key: str
    href: str
    style: Style
    state: Style
    scope: Style
    count: int
    needs_attention: bool
    """Whether its sagas need attention; else they ended, and too many of them failed."""
    share: float
    """Count relative to the largest incident's, from 0 to 1."""
    name: str
    environment: str
    where: str
    error: str
    since: datetime
    amount_at_risk: tuple[str, ...]
    recommended: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]
    """Id and link of some of its sagas."""
    note: str
    acknowledged_by: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an incident."""

    at: datetime
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class CommonAttribute:
    """An attribute more frequent in affected transactions than in completed ones."""

    text: str
    affected: str
    completed: str
    lift: str
    also: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident, on a page of its own."""

    row: IncidentRow
    headline: str
    list_href: str
    error: str
    outcomes: tuple[tuple[str, int], ...]
    """What became of its sagas since it was acknowledged; empty if it never was."""
    common_attributes: tuple[CommonAttribute, ...]
    """The most significant first; empty if there are too few transactions."""
    history: tuple[Change, ...]
    """The latest first."""


def shared_incidents(incidents: schemas.Incidents) -> tuple[IncidentRow, ...]:
    """Returns the ongoing incidents of several sagas, most urgent first; an incident of one is listed as its saga."""
    ongoing = [each for each in incidents.items if each.state != "resolved" and each.count > 1]
    return _rows(ongoing)


def resolved_incidents(incidents: schemas.Incidents) -> tuple[IncidentRow, ...]:
    """Returns the latest resolved incidents that had several sagas."""
    return _rows([each for each in incidents.items if each.state == "resolved" and each.peak > 1][:MAX_RESOLVED_SHOWN])


def incident_view(incident: schemas.IncidentInFull) -> IncidentView:
    """Prepares the page of one incident."""
    (row,) = _rows([incident])
    return IncidentView(
        row=row,
        headline=headline(incident),
        list_href=Filters(incident=incident.key).href(),
        error=block(incident.error_sample or "", 2_000),
        outcomes=_outcomes(incident.progress),
        common_attributes=tuple(_common_attribute(each) for each in incident.common_attributes),
        history=tuple(_change(each) for each in reversed(incident.history)),
    )


def headline(incident: schemas.Incident) -> str:
    """Returns one sentence: what is stuck, where and why."""
    if incident.failure_rate:
        return _failure_headline(incident, incident.failure_rate)
    is_plural = incident.count != 1
    where = " in ".join(line(part, 80) for part in (incident.step, incident.service) if part)
    reason = ATTENTION.get(incident.reason, UNKNOWN_STATE).label.lower()
    are = "transactions are" if is_plural else "transaction is"
    return f"{incident.count:,} {line(incident.name, 60)} {are} stuck{f' at {where}' if where else ''}: {reason}."


def _failure_headline(incident: schemas.Incident, rate: schemas.FailureRate) -> str:
    usual = "" if rate.baseline is None else f" (usually {rate.baseline:.1%})"
    where = f", most of them at {line(incident.step, 80)}" if incident.step else ""
    name = line(incident.name, 60)
    if rate.step:
        step = line(rate.step, 80)
        return f"{rate.failed:,} of {rate.ended:,} {name} transactions had an error at {step}{usual}."
    return f"{rate.failed:,} of {rate.ended:,} {name} transactions failed or were compensated{usual}{where}."


def _rows(incidents: Sequence[schemas.Incident]) -> tuple[IncidentRow, ...]:
    most = max((each.count for each in incidents), default=0) or 1
    return tuple(_row(each, each.count / most) for each in incidents)


def _row(incident: schemas.Incident, share: float) -> IncidentRow:
    recommended = [(getattr(incident.recommended_actions, name), words) for name, words in RECOMMENDED]
    return IncidentRow(
        key=incident.key,
        href=incident_href(incident.key),
        style=FAILURE_RATE if incident.failure_rate else ATTENTION.get(incident.reason, UNKNOWN_STATE),
        state=INCIDENT.get(incident.state, UNKNOWN_STATE),
        scope=SCOPE.get(incident.scope, UNKNOWN_STATE),
        count=incident.count,
        needs_attention=incident.failure_rate is None,
        share=share,
        name=line(incident.name, 60),
        environment=line(incident.environment, 40),
        where=" in ".join(line(part, 80) for part in (incident.step, incident.service) if part),
        error=line(incident.error_sample or "", 200),
        since=incident.since,
        amount_at_risk=amounts_at_risk(incident.amount_at_risk),
        recommended=tuple(f"{number:,} {words}" for number, words in recommended if number),
        examples=tuple(_example(incident, each) for each in incident.examples),
        note=line(incident.note or "", 300),
        acknowledged_by=line(incident.acknowledged_by or "", 80),
    )


def _example(incident: schemas.Incident, identity: str) -> tuple[str, str]:
    return (line(identity, 40), SagaAddress(incident.name, identity, incident.environment or None).href())


def _outcomes(progress: schemas.IncidentProgress | None) -> tuple[tuple[str, int], ...]:
    if progress is None:
        return ()
    return (
        ("Finished", progress.finished),
        ("Moved on", progress.moved_on),
        ("Stuck again here", progress.stuck_again),
        ("No progress", progress.still),
    )


def _common_attribute(attribute: schemas.CommonAttribute) -> CommonAttribute:
    return CommonAttribute(
        text=_attribute(attribute),
        affected=f"{attribute.affected:,} of {attribute.affected_of:,}",
        completed=f"{attribute.completed:,} of {attribute.completed_of:,}",
        lift="no completed one" if attribute.lift is None else f"{attribute.lift:,.1f} times as often",
        also=", ".join(_attribute(each) for each in attribute.also),
    )


def _attribute(attribute: schemas.SagaAttribute) -> str:
    place = line(attribute.service or attribute.step or "", 60)
    return f"{place} {line(attribute.key, 60)} = {line(attribute.value, 80)}".lstrip()


def _change(change: schemas.IncidentChange) -> Change:
    who = f" by {line(change.by, 80)}" if change.by else ""
    count = f", {change.count:,} affected" if change.count else ""
    return Change(change.at, f"{change.what}{who}{count}", line(change.note or "", 1_000))
