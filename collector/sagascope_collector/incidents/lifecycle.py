"""The life cycle of an incident: it opens with its sagas, is resolved without them, and may reopen. Pure."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from pydantic import TypeAdapter

from sagascope_collector.incident_records import IncidentChange, IncidentGroup

RESOLVE_AFTER_NS: Final = 5_000_000_000
"""Nanoseconds without sagas after which an incident is resolved, so that a retry does not resolve and reopen it."""

MAX_EXCLUDED: Final = 50
"""Maximum number of stored earlier incidents of a failure rate, more than occur in a week."""


class State(StrEnum):
    """The state of an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Change(StrEnum):
    """The kinds of changes of an incident."""

    OPENED = "opened"
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    NOTED = "noted"
    RESOLVED = "resolved"


class Scope(StrEnum):
    """Whether a cause affects all sagas that reach the step."""

    SYSTEMIC = "systemic"
    """No other saga succeeds in that step."""
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(IncidentGroup):
    """An incident: its current sagas, and its state. Times are in nanoseconds since 1970."""

    opened_at: int
    changed_at: int
    """The time of the last change of its state."""
    peak: int
    """The maximum number of its sagas since it opened."""
    state: State = State.OPEN
    scope: Scope = Scope.ISOLATED
    note: str = ""
    acknowledged_by: str | None = None
    resolved_by: str | None = None
    """The person who resolved it, ``""`` if not named; None: it is not resolved, or the collector resolved it."""
    empty_since: int | None = None
    """The time since which it has no sagas; None while it has sagas."""
    reopened: int = 0
    """How often it was reopened."""
    excluded: tuple[tuple[int, int], ...] = ()
    """The earlier intervals of a failure-rate incident, which are excluded from the baseline."""
    baseline_from: int = 0
    """The start of the baseline of its failure rate: a person who resolves the incident accepts the rate since then."""


def advance(
    incident: Incident | None, group: IncidentGroup | None, now: int, last_success_at: int | None
) -> tuple[Incident | None, IncidentChange | None]:
    """Returns an incident as of now, and its change; None for the change if there is none.

    Args:
        incident: The previous incident; None if it is new.
        group: Its current sagas; None if it has none.
        now: The time in nanoseconds since 1970.
        last_success_at: The time of another saga's last success in its step; None if unknown.
    """
    if group is None:
        return _without_sagas(incident, now) if incident else (None, None)
    if incident is None:
        opened = Incident(
            **_current(group), opened_at=now, changed_at=now, peak=group.count, scope=scope(group, last_success_at)
        )
        return opened, _change(opened, Change.OPENED, now)
    current = _of(incident, group, last_success_at)
    if incident.state is State.RESOLVED and (incident.count == 0 or group.joined_at > incident.changed_at):
        again = replace(
            current,
            state=State.OPEN,
            opened_at=now,
            changed_at=now,
            peak=group.count,
            acknowledged_by=None,
            resolved_by=None,
            reopened=incident.reopened + 1,
        )
        return again, _change(again, Change.REOPENED, now)
    return current, None


def changed_by_person(
    incident: Incident, now: int, *, state: State | None = None, note: str | None = None, by: str | None = None
) -> tuple[Incident, IncidentChange]:
    """Returns an incident after a person has changed it, and that change."""
    changed = incident if note is None else replace(incident, note=note)
    if state is None or state is incident.state is not State.ACKNOWLEDGED:
        return changed, _change(changed, Change.NOTED, now, by, note)
    acknowledged_by = (by or "") if state is State.ACKNOWLEDGED else None
    resolved_by = (by or "") if state is State.RESOLVED else None
    accepted_from = incident.since if incident.failure_rate and state is State.RESOLVED else incident.baseline_from
    changed = replace(
        changed,
        state=state,
        changed_at=now,
        acknowledged_by=acknowledged_by,
        resolved_by=resolved_by,
        baseline_from=accepted_from,
    )
    what = {State.OPEN: Change.REOPENED, State.ACKNOWLEDGED: Change.ACKNOWLEDGED, State.RESOLVED: Change.RESOLVED}[
        state
    ]
    return changed, _change(changed, what, now, by, note)


def scope(group: IncidentGroup, last_success_at: int | None) -> Scope:
    """Returns `SYSTEMIC` if several sagas are stuck and no other saga has succeeded since half of them got stuck."""
    if group.failure_rate:
        return Scope.SYSTEMIC if group.failure_rate.is_total else Scope.ISOLATED
    is_one = group.count < 2
    others_succeed = last_success_at is not None and last_success_at > group.middle
    return Scope.ISOLATED if is_one or others_succeed else Scope.SYSTEMIC


def _without_sagas(incident: Incident, now: int) -> tuple[Incident, IncidentChange | None]:
    empty_since = incident.empty_since or now
    none = dict.fromkeys(incident.recommended_actions, 0)
    empty = replace(incident, count=0, recommended_actions=none, amounts=(), empty_since=empty_since)
    if incident.state is State.RESOLVED or now - empty_since < RESOLVE_AFTER_NS:
        return empty, None
    excluded = (*incident.excluded, (incident.since, now))[-MAX_EXCLUDED:] if incident.failure_rate else ()
    over = replace(empty, state=State.RESOLVED, changed_at=now, excluded=excluded)
    return over, _change(over, Change.RESOLVED, now)


def _current(group: IncidentGroup) -> dict[str, Any]:
    return {each.name: getattr(group, each.name) for each in fields(IncidentGroup)}


def _of(incident: Incident, group: IncidentGroup, last_success_at: int | None) -> Incident:
    """Returns the incident with its current sagas."""
    kept = {"service": group.service or incident.service, "error": group.error or incident.error}
    if not group.failure_rate:
        kept["step"] = incident.step
    peak = max(incident.peak, group.count)
    return replace(incident, **_current(group) | kept, peak=peak, scope=scope(group, last_success_at), empty_since=None)


def _change(
    incident: Incident, what: Change, now: int, by: str | None = None, note: str | None = None
) -> IncidentChange:
    return IncidentChange(incident.key, now, what.value, by, note or "", incident.count)


_STORED: Final = TypeAdapter(Incident)


def dump(incident: Incident) -> str:
    """Returns the incident as JSON."""
    return _STORED.dump_json(incident).decode()


def load(text: str) -> Incident:
    """Parses the incident in a JSON text; fields from a newer version are left out.

    Raises:
        ValueError: `dump` did not write the text.
    """
    return _STORED.validate_json(text)
