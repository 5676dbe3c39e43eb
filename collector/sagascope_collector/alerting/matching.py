"""Which rule, if any, is about an incident, and whom it tells. Pure."""

from collections.abc import Sequence
from decimal import Decimal

from sagascope_collector.alerting.rules import Alerts, Rule
from sagascope_collector.incidents import Incident

SECOND = 1_000_000_000


def recipients(alerts: Alerts, incident: Incident, now: int) -> dict[str, str]:
    """The webhooks that are to know of this incident, each with the first rule that says so."""
    everybody = [each.name for each in alerts.webhooks]
    found: dict[str, str] = {}
    for rule in alerts.rules:
        if holds(rule, incident, now):
            for webhook in rule.tell or everybody:
                found.setdefault(webhook, rule.name)
    return found


def holds(rule: Rule, incident: Incident, now: int) -> bool:
    """Whether all that the rule says holds of the incident."""
    return (
        _is_about(rule, incident)
        and incident.count >= rule.sagas
        and now - min(incident.since, incident.opened_at) >= rule.standing * SECOND
        and (not rule.amount_at_risk or _is_worth(rule, incident))
    )


def _is_about(rule: Rule, incident: Incident) -> bool:
    match = rule.match
    wanted: tuple[tuple[Sequence[str] | None, str], ...] = (
        (match.environment, incident.environment),
        (match.name, incident.name),
        (match.step, incident.step),
        (match.service, incident.service),
        (match.reason, incident.reason),
        (match.phase, incident.phase),
        (match.scope, incident.scope.value),
    )
    return all(allowed is None or said in allowed for allowed, said in wanted)


def _is_worth(rule: Rule, incident: Incident) -> bool:
    at_stake = {each.currency: each.certain + each.possible for each in incident.stakes}
    return any(at_stake.get(currency, Decimal(-1)) >= least for currency, least in rule.amount_at_risk.items())
