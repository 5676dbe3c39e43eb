"""Decides which receivers an incident notifies: when it opens, grows or is resolved. Pure."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from sagascope_collector.alerting.rules import Alerts, Rule
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.incidents import Incident, State
from sagascope_collector.storage import AlertState


class Event(StrEnum):
    """What a notification reports."""

    OPENED = "opened"
    GROWN = "grown"
    RESOLVED = "resolved"


class Decision(NamedTuple):
    """A change of a receiver's state for an incident."""

    state: AlertState
    event: Event | None
    """None: the receiver is not notified."""
    rule: str


ABSENCE_REASONS: Final = frozenset(
    {"instance_lost", "hung", "next_step_missing", "never_closed", "in_doubt", "uncompensated"}
)
"""Reasons that may rest on telemetry that was not received."""

States = Mapping[tuple[str, str], AlertState]
"""The states of receivers, by (receiver, incident)."""


def decide(alerts: Alerts, incident: Incident, states: States, now: int) -> list[Decision]:
    """Returns the current changes for all receivers of one incident; empty if nothing changes."""
    rules = {} if incident.state is State.RESOLVED else recipients(alerts, incident, now)
    names = [each.name for each in alerts.receivers]
    found = (
        _decision(alerts, incident, states.get((name, incident.key)), name, rules.get(name), now) for name in names
    )
    return [each for each in found if each]


def rests_on_absence(incident: Incident, doubted: Collection[str]) -> bool:
    """Returns whether an incident may exist only because telemetry is missing in an environment of `doubted`."""
    return (
        incident.environment in doubted and incident.reason in ABSENCE_REASONS and incident.state is not State.RESOLVED
    )


def recipients(alerts: Alerts, incident: Incident, now: int) -> dict[str, str]:
    """Returns the receivers that an incident notifies, each with the name of the first matching rule."""
    all_ = [each.name for each in alerts.receivers]
    found: dict[str, str] = {}
    for rule in alerts.rules:
        if _applies(rule, incident, now):
            for receiver in rule.receivers or all_:
                found.setdefault(receiver, rule.name)
    return found


def _applies(rule: Rule, incident: Incident, now: int) -> bool:
    return (
        _matches(rule, incident)
        and incident.count >= rule.sagas
        and now - min(incident.since, incident.opened_at) >= rule.for_ * NANOSECONDS_PER_SECOND
        and (not rule.amount_at_risk or _has_amount(rule, incident))
    )


def _matches(rule: Rule, incident: Incident) -> bool:
    match = rule.match
    conditions: tuple[tuple[Sequence[str] | None, str], ...] = (
        (match.environment, incident.environment),
        (match.name, incident.name),
        (match.step, incident.step),
        (match.service, incident.service),
        (match.reason, incident.reason),
        (match.phase, incident.phase),
        (match.scope, incident.scope.value),
    )
    return all(allowed is None or value in allowed for allowed, value in conditions)


def _has_amount(rule: Rule, incident: Incident) -> bool:
    at_risk = {each.currency: each.certain + each.possible for each in incident.amounts}
    return any(at_risk.get(currency, Decimal(-1)) >= least for currency, least in rule.amount_at_risk.items())


def _decision(
    alerts: Alerts, incident: Incident, state: AlertState | None, receiver: str, rule: str | None, now: int
) -> Decision | None:
    if state is None or state.is_resolved:
        return None if rule is None else _opened(alerts, incident, receiver, rule, now)
    if incident.state is State.RESOLVED:
        return _resolved(alerts, state, now)
    step = _growth_step(alerts, incident.count)
    if step > state.growth_step:
        return Decision(state._replace(growth_step=step, resolved_since=None), Event.GROWN, rule or "")
    if state.resolved_since is not None:
        return Decision(state._replace(resolved_since=None), None, "")
    return None


def _opened(alerts: Alerts, incident: Incident, receiver: str, rule: str, now: int) -> Decision:
    step = _growth_step(alerts, incident.count)
    state = AlertState(receiver, incident.key, now, step, is_resolved=False, resolved_since=None)
    return Decision(state, Event.OPENED, rule)


def _resolved(alerts: Alerts, state: AlertState, now: int) -> Decision | None:
    if state.resolved_since is None and alerts.resolve_after > 0:
        return Decision(state._replace(resolved_since=now), None, "")
    if now - (state.resolved_since or 0) < alerts.resolve_after * NANOSECONDS_PER_SECOND:
        return None
    return Decision(state._replace(is_resolved=True), Event.RESOLVED, "")


def _growth_step(alerts: Alerts, count: int) -> int:
    """Returns the largest growth step that this number of sagas has reached; 0 if none."""
    return max((step for step in alerts.growth_steps if count >= step), default=0)
