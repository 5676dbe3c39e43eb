"""The life of an incident: it opens by itself, ends when its sagas moved on, and comes back with them. Pure."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from sagascope_collector.storage import AmountAtRisk, FailureRate, IncidentChange, IncidentGroup

LINGERS: Final = 5_000_000_000
"""Nanoseconds for which no saga may be part of an incident before it is over: a retry makes no end and no beginning."""

MAX_EXCLUDED: Final = 50
"""Earlier times of a failure rate that are remembered: more than a week has."""


class State(StrEnum):
    """Where an incident is in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class What(StrEnum):
    """What can happen to an incident."""

    OPENED = "opened"
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    NOTED = "noted"
    RESOLVED = "resolved"


class Scope(StrEnum):
    """Whom a cause stops."""

    SYSTEMIC = "systemic"
    """Other sagas no longer pass that step."""
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True)
class Incident:
    """The sagas that are stuck for one cause, and what people noted about them. Times are nanoseconds since 1970."""

    key: str
    environment: str
    name: str
    step: str
    service: str
    phase: str
    reason: str
    fingerprint: str
    error: str
    count: int
    since: int
    latest_at: int
    examples: tuple[str, ...]
    recommended_actions: dict[str, int]
    """How many of its sagas there are for each recommended action."""
    amounts: tuple[AmountAtRisk, ...]
    opened_at: int
    changed_at: int
    """When its state became what it is."""
    peak: int
    """The most sagas that were ever part of it, since it opened."""
    state: State = State.OPEN
    scope: Scope = Scope.ISOLATED
    note: str = ""
    acknowledged_by: str | None = None
    empty_since: int | None = None
    """When its last saga was first seen to be gone; None while it has one."""
    reopened: int = field(default=0)
    """How often it came back."""
    failure_rate: FailureRate | None = None
    """None: its sagas need attention; else they failed or were compensated, more often than usual."""
    excluded: tuple[tuple[int, int], ...] = ()
    """When it went on before, by a failure rate: what happened then is no part of the baseline."""
    baseline_from: int = 0
    """Where the baseline of its failure rate begins: a person who resolves it accepts the rate since then."""


def advance(
    incident: Incident | None, group: IncidentGroup | None, now: int, passed_at: int | None
) -> tuple[Incident | None, IncidentChange | None]:
    """An incident as of now, and what happened to it.

    Args:
        incident: as it was; None: never seen.
        group: its sagas of now; None: there are none.
        now: the time.
        passed_at: when another saga passed its step last, as far as is known.
    """
    if group is None:
        return _without_sagas(incident, now) if incident else (None, None)
    if incident is None:
        opened = _opened(group, now, passed_at)
        return opened, _change(opened, What.OPENED, now)
    current = _of(incident, group, passed_at)
    if incident.state is State.RESOLVED and (incident.count == 0 or group.joined_at > incident.changed_at):
        again = replace(
            current,
            state=State.OPEN,
            opened_at=now,
            changed_at=now,
            peak=group.count,
            acknowledged_by=None,
            reopened=incident.reopened + 1,
        )
        return again, _change(again, What.REOPENED, now)
    return current, None


def told(
    incident: Incident, now: int, *, state: State | None = None, note: str | None = None, by: str | None = None
) -> tuple[Incident, IncidentChange]:
    """An incident after a person's change of it, and that change."""
    changed = incident if note is None else replace(incident, note=note)
    if state is None or state is incident.state is not State.ACKNOWLEDGED:
        return changed, _change(changed, What.NOTED, now, by, note)
    who = (by or "") if state is State.ACKNOWLEDGED else None
    accepted_from = incident.since if incident.failure_rate and state is State.RESOLVED else incident.baseline_from
    changed = replace(changed, state=state, changed_at=now, acknowledged_by=who, baseline_from=accepted_from)
    what = {State.OPEN: What.REOPENED, State.ACKNOWLEDGED: What.ACKNOWLEDGED, State.RESOLVED: What.RESOLVED}[state]
    return changed, _change(changed, what, now, by, note)


def scope(group: IncidentGroup, passed_at: int | None) -> Scope:
    """Systemic: several are stuck, and since half of them are, no other saga has succeeded in that step."""
    if group.failure_rate:
        return Scope.SYSTEMIC if group.failure_rate.is_total else Scope.ISOLATED
    alone = group.count < 2
    passes = passed_at is not None and passed_at > group.middle
    return Scope.ISOLATED if alone or passes else Scope.SYSTEMIC


def _without_sagas(incident: Incident, now: int) -> tuple[Incident, IncidentChange | None]:
    empty_since = incident.empty_since or now
    none = dict.fromkeys(incident.recommended_actions, 0)
    empty = replace(incident, count=0, recommended_actions=none, amounts=(), empty_since=empty_since)
    if incident.state is State.RESOLVED or now - empty_since < LINGERS:
        return empty, None
    excluded = (*incident.excluded, (incident.since, now))[-MAX_EXCLUDED:] if incident.failure_rate else ()
    over = replace(empty, state=State.RESOLVED, changed_at=now, excluded=excluded)
    return over, _change(over, What.RESOLVED, now)


def _opened(group: IncidentGroup, now: int, passed_at: int | None) -> Incident:
    return Incident(
        key=group.key,
        environment=group.environment,
        name=group.name,
        step=group.step,
        service=group.service,
        phase=group.phase,
        reason=group.reason,
        fingerprint=group.fingerprint,
        error=group.error,
        count=group.count,
        since=group.since,
        latest_at=group.latest_at,
        examples=group.examples,
        recommended_actions=dict(group.recommended_actions),
        amounts=group.amounts,
        opened_at=now,
        changed_at=now,
        peak=group.count,
        scope=scope(group, passed_at),
        failure_rate=group.failure_rate,
    )


def _of(incident: Incident, group: IncidentGroup, passed_at: int | None) -> Incident:
    """The incident with the sagas that it has now."""
    return replace(
        incident,
        service=group.service or incident.service,
        error=group.error or incident.error,
        count=group.count,
        step=group.step if group.failure_rate else incident.step,
        fingerprint=group.fingerprint,
        since=group.since,
        latest_at=group.latest_at,
        examples=group.examples,
        recommended_actions=dict(group.recommended_actions),
        amounts=group.amounts,
        peak=max(incident.peak, group.count),
        scope=scope(group, passed_at),
        failure_rate=group.failure_rate,
        empty_since=None,
    )


def _change(incident: Incident, what: What, now: int, by: str | None = None, note: str | None = None) -> IncidentChange:
    return IncidentChange(incident.key, now, what.value, by, note or "", incident.count)
