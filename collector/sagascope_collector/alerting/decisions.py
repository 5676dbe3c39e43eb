"""When a webhook is told of an incident: once as it opens, as it grows past a step, and as it is over. Pure."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from sagascope_collector.alerting.matching import SECOND, recipients
from sagascope_collector.alerting.rules import Alerts
from sagascope_collector.incidents import Incident, State
from sagascope_collector.storage import AlertState


class Event(StrEnum):
    """What is told of an incident."""

    OPENED = "opened"
    GROWN = "grown"
    OVER = "over"


class News(NamedTuple):
    """Something that a webhook is to be told, and what it knows then."""

    told: AlertState
    event: Event | None
    """None: it is told nothing, only noted."""
    rule: str


SILENT: Final = frozenset({"instance_lost", "hung", "next_step_missing", "never_closed", "in_doubt", "uncompensated"})
"""Reasons that may rest on what was not heard."""

Known = Mapping[tuple[str, str], AlertState]
"""What each webhook was told, by (webhook, incident)."""


def news(alerts: Alerts, incident: Incident, known: Known, now: int) -> list[News]:
    """What is to be told of one incident now."""
    rules = {} if incident.state is State.RESOLVED else recipients(alerts, incident, now)
    webhooks = [each.name for each in alerts.webhooks]
    found = (_news(alerts, incident, known.get((name, incident.key)), name, rules.get(name), now) for name in webhooks)
    return [each for each in found if each]


def rests_on_silence(incident: Incident, doubted: Collection[str]) -> bool:
    """Whether an incident goes on for want of telemetry, perhaps: in an environment where silence is doubted."""
    return incident.environment in doubted and incident.reason in SILENT and incident.state is not State.RESOLVED


def _news(
    alerts: Alerts, incident: Incident, told: AlertState | None, webhook: str, rule: str | None, now: int
) -> News | None:
    if told is None or told.is_over:
        return None if rule is None else _opened(alerts, incident, webhook, rule, now)
    if incident.state is State.RESOLVED:
        return _over(alerts, told, now)
    step = _step(alerts, incident.count)
    if step > told.grown:
        return News(told._replace(grown=step, over_since=None), Event.GROWN, rule or "")
    if told.over_since is not None:
        return News(told._replace(over_since=None), None, "")
    return None


def _opened(alerts: Alerts, incident: Incident, webhook: str, rule: str, now: int) -> News:
    told = AlertState(webhook, incident.key, now, _step(alerts, incident.count), is_over=False, over_since=None)
    return News(told, Event.OPENED, rule)


def _over(alerts: Alerts, told: AlertState, now: int) -> News | None:
    if told.over_since is None and alerts.over_after > 0:
        return News(told._replace(over_since=now), None, "")
    if now - (told.over_since or 0) < alerts.over_after * SECOND:
        return None
    return News(told._replace(is_over=True), Event.OVER, "")


def _step(alerts: Alerts, count: int) -> int:
    """The greatest of the steps that this many sagas have reached; 0: none."""
    return max((step for step in alerts.grown if count >= step), default=0)
