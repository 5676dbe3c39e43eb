"""What is sent to a webhook. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sagascope_collector.alerting import templates
from sagascope_collector.alerting.rules import Kind, Webhook
from sagascope_collector.client import schemas
from sagascope_collector.incidents import Incident, Scope
from sagascope_collector.storage import FailureRate

VERSION: Final = 1

HEADLINES: Final = {
    "opened": "{sagas} {are} stuck at {where}: {reason}.",
    "grown": "{sagas} {are} now stuck at {where}: {reason}.",
    "over": "No {name} is stuck at {where} any more.",
    "test": "This is a test: nothing is wrong.",
}

FAILURE_HEADLINES: Final = {
    "opened": "{failed} of {ended} {name} sagas failed or were compensated{usually}{where}.",
    "grown": "{failed} of {ended} {name} sagas have failed or been compensated{usually}{where}.",
    "over": "The share of {name} sagas that fail has returned to its baseline.",
}

FIRING_FOR: Final = timedelta(minutes=5)
"""How long Alertmanager keeps an alert that is not repeated."""


def message(event: str, incident: Incident, at: int, *, rule: str, link: str) -> dict[str, Any]:
    """The usual body: what happened, in one sentence and in fields."""
    return {
        "version": VERSION,
        "event": event,
        "headline": headline(event, incident),
        "at": _time(at),
        "rule": rule or None,
        "link": link.replace("{key}", incident.key) or None,
        "incident": {
            "key": incident.key,
            "environment": incident.environment,
            "name": incident.name,
            "step": incident.step or None,
            "service": incident.service or None,
            "phase": incident.phase,
            "reason": incident.reason,
            "scope": incident.scope.value,
            "state": incident.state.value,
            "count": incident.count,
            "peak": incident.peak,
            "since": _time(incident.since),
            "latest_at": _time(incident.latest_at),
            "error_sample": incident.error or None,
            "amount_at_risk": [
                {"currency": each.currency, "certain": str(each.certain), "possible": str(each.possible)}
                for each in incident.stakes
            ],
            "examples": list(incident.examples),
            "note": incident.note or None,
            "acknowledged_by": incident.acknowledged_by or None,
            "recommended_actions": dict(incident.recommended_actions),
            "failure_rate": _failure_rate(incident.failure_rate) if incident.failure_rate else None,
        },
    }


def _failure_rate(rate: FailureRate) -> dict[str, Any]:
    return {"failed": rate.failed, "ended": rate.ended, "baseline": rate.baseline}


def body(webhook: Webhook, said: Mapping[str, Any]) -> Any:
    """What this webhook is sent for a message."""
    if webhook.kind is Kind.ALERTMANAGER:
        return [alert(said, datetime.now(UTC) + FIRING_FOR)]
    return said if webhook.body is None else templates.fill(webhook.body, texts(said))


def alert(said: Mapping[str, Any], until: datetime) -> dict[str, Any]:
    """The message as an alert of Alertmanager: it fires until then, unless it is over."""
    incident = said["incident"]
    labels = {
        "alertname": "SagasStandStill",
        "incident": incident["key"],
        "environment": incident["environment"],
        "saga": incident["name"],
        "step": incident["step"] or "",
        "service": incident["service"] or "",
        "reason": incident["reason"],
        "phase": incident["phase"],
        "severity": "critical" if incident["scope"] == Scope.SYSTEMIC.value else "warning",
    }
    ends = said["at"] if said["event"] == "over" else schemas.rfc3339(until)
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": said["headline"], "examples": ", ".join(incident["examples"])},
        "startsAt": incident["since"],
        "endsAt": ends,
        **({"generatorURL": said["link"]} if said["link"] else {}),
    }


def texts(said: Mapping[str, Any]) -> dict[str, str]:
    """Every field of a message as a text, by the names of `templates.FIELDS`."""
    incident = said["incident"]
    flat = {
        **incident,
        **incident["recommended_actions"],
        **{name: said[name] for name in ("event", "headline", "at", "rule", "link")},
    }
    flat["examples"] = ", ".join(incident["examples"])
    flat["amount_at_risk"] = ", ".join(f"{each['certain']} {each['currency']}" for each in incident["amount_at_risk"])
    return {name: "" if flat[name] is None else str(flat[name]) for name in templates.FIELDS}


def headline(event: str, incident: Incident) -> str:
    """One sentence."""
    if incident.failure_rate and event in FAILURE_HEADLINES:
        return _failure_headline(event, incident, incident.failure_rate)
    several = incident.count != 1
    return HEADLINES[event].format(
        sagas=f"{incident.count:,} {incident.name} {'sagas' if several else 'saga'}",
        are="are" if several else "is",
        where=incident.step or incident.service or "an unknown step",
        reason=incident.reason.replace("_", " "),
        name=incident.name,
    )


def _failure_headline(event: str, incident: Incident, rate: FailureRate) -> str:
    usually = "" if rate.baseline is None else f" (usually {rate.baseline:.1%})"
    return FAILURE_HEADLINES[event].format(
        failed=f"{rate.failed:,}",
        ended=f"{rate.ended:,}",
        name=incident.name,
        usually=usually,
        where=f", most of them at {incident.step}" if incident.step else "",
    )


def _time(nanoseconds: int) -> str:
    return schemas.rfc3339(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1_000))
