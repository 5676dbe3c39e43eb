"""Incidents: sagas that are stuck for one cause."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amounts_at_risk, block, line, parse_time, to_decimal
from sagascope_dashboard.palette import ATTENTION, FAILURE_RATE, INCIDENT, SCOPE, UNKNOWN_STATE, Style
from sagascope_dashboard.urls import Filters, SagaAddress, incident_href
from sagascope_dashboard.viewmodels.transactions import Table, stuck_for

INCIDENT_COLUMNS = (
    *("Reason", "Affected", "Type", "Where", "Error", "Stuck for", "Amount at risk", "Other transactions", "State"),
    "Environment",
)

RECOMMENDED = (("resume", "to resume"), ("compensate", "to compensate"), ("verify_first", "to verify first"))


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident in a list."""

    key: str
    href: str
    style: Style
    state: Style
    scope: Style
    count: int
    needs_attention: bool
    """Whether its sagas need attention; else they ended, and too many of them failed."""
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
class IncidentView:
    """One incident, on a page of its own."""

    row: IncidentRow
    headline: str
    list_href: str
    error: str
    outcomes: tuple[tuple[str, int], ...]
    """What became of its sagas since it was acknowledged; empty if it never was."""
    history: tuple[Change, ...]
    """The latest first."""


def matching_incidents(incidents: Iterable[schemas.Incident], filters: Filters) -> tuple[IncidentRow, ...]:
    """Returns the ongoing incidents of several sagas that the filters leave; that of one is listed as its saga."""
    ongoing = [each for each in incidents if each.state != "resolved" and each.count > 1 and _matches(each, filters)]
    return tuple(map(incident_row, ongoing))


def _matches(incident: schemas.Incident, filters: Filters) -> bool:
    wanted = {"name": filters.name, "service": filters.service, "environment": filters.environment}
    if filters.attention != "any":
        wanted["reason"] = filters.attention
    if any(value and value != getattr(incident, field) for field, value in wanted.items()):
        return False
    if filters.amount:
        largest = max((to_decimal(a.certain) + to_decimal(a.possible) for a in incident.amount_at_risk), default=0)
        if largest < to_decimal(filters.amount):
            return False
    since, until = parse_time(filters.stuck_since), parse_time(filters.stuck_until)
    return (until is None or incident.since < until) and (since is None or incident.latest_at >= since)


def incident_table(rows: Sequence[IncidentRow], now: datetime) -> Table:
    """Prepares a table of incidents."""
    cells = [_cells(row, now) for row in rows]
    shown = [title for title in INCIDENT_COLUMNS if title != "Environment" or any(row[title] for row in cells)]
    return Table(
        list_name="",
        titles={title: title for title in shown},
        rows=tuple({title: row[title] for title in shown} for row in cells),
        hrefs=tuple(row.href for row in rows),
    )


def _cells(row: IncidentRow, now: datetime) -> dict[str, Any]:
    values = (
        *([row.style.label], row.count, row.name, row.where, row.error),
        None if row.state is INCIDENT["resolved"] else stuck_for(row.since, now),
        *(", ".join(row.amount_at_risk), row.scope.label, [row.state.label], row.environment),
    )
    return dict(zip(INCIDENT_COLUMNS, values, strict=True))


def incident_view(incident: schemas.IncidentInFull) -> IncidentView:
    """Prepares the page of one incident."""
    return IncidentView(
        row=incident_row(incident),
        headline=headline(incident),
        list_href=Filters(incident=incident.key).href(),
        error=block(incident.error_sample or "", 2_000),
        outcomes=_outcomes(incident.progress),
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


def incident_row(incident: schemas.Incident) -> IncidentRow:
    """Prepares one incident for a list."""
    recommended = [(getattr(incident.recommended_actions, name), words) for name, words in RECOMMENDED]
    return IncidentRow(
        key=incident.key,
        href=incident_href(incident.key),
        style=FAILURE_RATE if incident.failure_rate else ATTENTION.get(incident.reason, UNKNOWN_STATE),
        state=INCIDENT.get(incident.state, UNKNOWN_STATE),
        scope=SCOPE.get(incident.scope, UNKNOWN_STATE),
        count=incident.count,
        needs_attention=incident.failure_rate is None,
        name=line(incident.name, 60),
        environment=line(incident.environment, 40),
        where=" in ".join(line(part, 80) for part in (incident.step, incident.service) if part),
        error=line(incident.error_sample or "", 200),
        since=incident.since,
        amount_at_risk=amounts_at_risk(incident.amount_at_risk),
        recommended=tuple(f"{number:,} {words}" for number, words in recommended if number),
        examples=tuple(
            (line(each, 40), SagaAddress(incident.name, each, incident.environment or None).href())
            for each in incident.examples
        ),
        note=line(incident.note or "", 300),
        acknowledged_by=line(incident.acknowledged_by or "", 80),
    )


def _outcomes(progress: schemas.IncidentProgress | None) -> tuple[tuple[str, int], ...]:
    if progress is None:
        return ()
    return (
        ("Finished", progress.finished),
        ("Moved on", progress.moved_on),
        ("Stuck again here", progress.stuck_again),
        ("No progress", progress.still),
    )


def _change(change: schemas.IncidentChange) -> Change:
    who = f" by {line(change.by, 80)}" if change.by else ""
    count = f", {change.count:,} affected" if change.count else ""
    return Change(change.at, f"{change.what}{who}{count}", line(change.note or "", 1_000))
