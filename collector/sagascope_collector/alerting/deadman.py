"""A signal that keeps coming while all is well with the collector: when it stops, nobody is watching."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sagascope_collector.alerting import templates
from sagascope_collector.alerting.matching import SECOND
from sagascope_collector.alerting.rules import Alerts, DeadMan, Kind, Webhook
from sagascope_collector.alerting.sending import NotDelivered, Sender
from sagascope_collector.client import schemas

ALIVE: Final = "Sagascope takes telemetry in and judges it."

KEPT: Final = 3
"""Alertmanager keeps the signal for this many times the interval."""


class DeadManSignal:
    """Sends the signal while the collector is well."""

    def __init__(
        self, alerts: Alerts, said: DeadMan, sender: Sender, is_well: Callable[[], bool], clock: Callable[[], int]
    ) -> None:
        names = said.tell or tuple(each.name for each in alerts.webhooks)
        self._webhooks = [each for each in alerts.webhooks if each.name in names]
        self._every = said.every
        self._sender = sender
        self._is_well = is_well
        self._clock = clock
        self._sent_at = 0

    def round(self) -> None:
        """Send it if it is time, and all is well; what does not arrive is not sent again: the next one follows."""
        now = self._clock()
        if 0 <= now - self._sent_at < self._every * SECOND or not self._is_well():
            return
        self._sent_at = now
        for webhook in self._webhooks:
            try:
                self._sender.send(webhook, body(webhook, self._every), f"alive:{now}")
            except NotDelivered:
                continue


def body(webhook: Webhook, every: float) -> Any:
    """The signal as this webhook takes it."""
    now = datetime.now(UTC)
    if webhook.kind is Kind.ALERTMANAGER:
        return [
            {
                "labels": {"alertname": "SagascopeAlive", "severity": "none"},
                "annotations": {"summary": ALIVE},
                "startsAt": schemas.rfc3339(now),
                "endsAt": schemas.rfc3339(now + timedelta(seconds=every * KEPT)),
            }
        ]
    said = {"version": 1, "event": "alive", "headline": ALIVE, "at": schemas.rfc3339(now), "every": every}
    if webhook.body is None:
        return said
    known = {name: str(said[name]) for name in ("event", "headline", "at")}
    return templates.fill(webhook.body, dict.fromkeys(templates.FIELDS, "") | known)
