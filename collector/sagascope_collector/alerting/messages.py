"""The content of notifications: a JSON message, and templates filled with its fields. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from sagascope_collector.client import schemas
from sagascope_collector.config_file import Template
from sagascope_collector.durations import to_datetime
from sagascope_collector.incident_records import FailureRate
from sagascope_collector.incidents import Incident

VERSION: Final = 1

HEADLINES: Final = {
    "opened": "{sagas} {are} stuck at {where}: {reason}.",
    "grown": "{sagas} {are} now stuck at {where}: {reason}.",
    "resolved": "No {name} saga is stuck at {where} for this cause any more: {reason}.",
    "resolved by a person": "{by} resolved this incident, but {sagas} {are} still stuck at {where}: {reason}.",
}
FAILURE_RATE_HEADLINES: Final = {
    "opened": "{failed} of {ended} {name} sagas failed or were compensated{usually}{where}.",
    "grown": "{failed} of {ended} {name} sagas have failed or been compensated{usually}{where}.",
    "resolved": "The share of {name} sagas that fail no longer exceeds its baseline.",
    "resolved by a person": "{by} accepted the share of {name} sagas that fail as their new baseline.",
}
STEP_FAILURE_RATE_HEADLINES: Final = {
    "opened": "{failed} of {ended} {name} sagas had an error at {step}{usually}.",
    "grown": "{failed} of {ended} {name} sagas have had an error at {step}{usually}.",
    "resolved": "The share of {name} sagas with errors at {step} no longer exceeds its baseline.",
    "resolved by a person": "{by} accepted the share of {name} sagas with errors at {step} as their new baseline.",
}
TEST_HEADLINE: Final = "This is a test: nothing is wrong."

FIELDS: Final = (
    "event", "headline", "key", "environment", "name", "step", "service", "phase", "reason", "scope", "count", "peak",
    "since", "latest_at", "at", "error_sample", "amount_at_risk", "examples", "state", "note", "acknowledged_by",
    "link", "resume", "compensate", "verify_first", "rule",
)  # fmt: skip
"""The fields that a template may name."""

MAX_TEMPLATE_DEPTH: Final = 20

ZERO_WIDTH_SPACE: Final = "\u200b"

_MENTION: Final = re.compile(r"@(?=\w)")

_WITHIN_ADDRESS: Final = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""The places in addresses at which a space keeps chats from making links of them."""

Message = Mapping[str, Any]
"""The default body of a notification."""


def build_message(event: str, incident: Incident, at: int, *, rule: str, link: str) -> dict[str, Any]:
    """Describes an event of an incident as a sentence and as fields; `at` is in nanoseconds since 1970."""
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
                for each in incident.amounts
            ],
            "examples": list(incident.examples),
            "note": incident.note or None,
            "acknowledged_by": incident.acknowledged_by or None,
            "recommended_actions": dict(incident.recommended_actions),
            "failure_rate": _failure_rate(incident.failure_rate) if incident.failure_rate else None,
        },
    }


def build_test_message(at: int) -> dict[str, Any]:
    """Returns a test message that is about no incident."""
    incident = Incident(
        key="test",
        environment="",
        name="test",
        step="test",
        service="test",
        phase="forward",
        reason="hung",
        fingerprint="",
        error="",
        count=0,
        since=0,
        latest_at=0,
        examples=(),
        recommended_actions={"resume": 0, "compensate": 0, "verify_first": 0},
        amounts=(),
        opened_at=0,
        changed_at=0,
        peak=0,
    )
    return build_message("opened", incident, at, rule="", link="") | {"event": "test", "headline": TEST_HEADLINE}


def headline(event: str, incident: Incident) -> str:
    """Describes an event of an incident in one sentence.

    A resolution by a person says so: the sagas may still be stuck, and the failure rate may be as high as before.
    """
    if incident.failure_rate:
        return _failure_rate_headline(event, incident, incident.failure_rate)
    is_one = incident.count == 1
    return HEADLINES[_template(event, is_by_person=incident.count > 0)].format(
        by=_person(incident),
        sagas=f"{incident.count:,} {incident.name} {'saga' if is_one else 'sagas'}",
        are="is" if is_one else "are",
        where=incident.step or incident.service or "an unknown step",
        reason=incident.reason.replace("_", " "),
        name=incident.name,
    )


def _failure_rate_headline(event: str, incident: Incident, rate: FailureRate) -> str:
    headlines = STEP_FAILURE_RATE_HEADLINES if rate.step else FAILURE_RATE_HEADLINES
    return headlines[_template(event, is_by_person=incident.resolved_by is not None)].format(
        by=_person(incident),
        failed=f"{rate.failed:,}",
        ended=f"{rate.ended:,}",
        name=incident.name,
        usually="" if rate.baseline is None else f" (usually {rate.baseline:.1%})",
        where=f", most of them at {incident.step}" if incident.step else "",
        step=rate.step,
    )


def _template(event: str, *, is_by_person: bool) -> str:
    return "resolved by a person" if event == "resolved" and is_by_person else event


def _person(incident: Incident) -> str:
    return incident.resolved_by or "A person"


def _failure_rate(rate: FailureRate) -> dict[str, Any]:
    return {"failed": rate.failed, "ended": rate.ended, "baseline": rate.baseline, "step": rate.step or None}


def template_fields(message: Message) -> dict[str, str]:
    """Returns every field of a message as text, by its name in `FIELDS`."""
    incident = message["incident"]
    flat = {
        **incident,
        **incident["recommended_actions"],
        **{name: message[name] for name in ("event", "headline", "at", "rule", "link")},
    }
    flat["examples"] = ", ".join(incident["examples"])
    flat["amount_at_risk"] = "; ".join(schemas.AmountAtRisk(**each).text for each in incident["amount_at_risk"])
    return {name: "" if flat[name] is None else str(flat[name]) for name in FIELDS}


def check_template(template: Any) -> Any:
    """Returns a template after checking that all its fields exist.

    Raises:
        ValueError: The template names an unknown field, or is nested too deeply.
    """
    fill_template(template, {})
    return template


def fill_template(template: Any, values: Mapping[str, str], depth: int = MAX_TEMPLATE_DEPTH) -> Any:
    """Returns the JSON template with its fields filled in. Values cannot change the structure of the JSON."""
    if depth < 0:
        raise ValueError("the body is nested too deep")
    if isinstance(template, str):
        return Template.parse(template, _check_field).filled(values)
    if isinstance(template, Mapping):
        return {key: fill_template(value, values, depth - 1) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill_template(each, values, depth - 1) for each in template]
    return template


def escaped_for_chat(values: Mapping[str, str]) -> dict[str, str]:
    """Returns the fields escaped for chats, except the link, which comes from the alerts file."""
    return {name: value if name == "link" else escape_for_chat(value) for name, value in values.items()}


def escape_for_chat(text: str) -> str:
    """Escapes a text for chats: without links and mentions, and with a space for each control character.

    Slack and Mattermost read ``<...>`` as links and mentions, others ``@name``, ``[text](address)`` and bare addresses.
    """
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in text)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MENTION.sub(f"@{ZERO_WIDTH_SPACE}", shown).replace("](", f"]{ZERO_WIDTH_SPACE}(")
    return _WITHIN_ADDRESS.sub(ZERO_WIDTH_SPACE, shown)


def _check_field(name: str) -> None:
    if name not in FIELDS:
        raise ValueError(f"there is no field {name!r}; there are {', '.join(FIELDS)}")


def _time(nanoseconds: int) -> str:
    return schemas.rfc3339(to_datetime(nanoseconds))
