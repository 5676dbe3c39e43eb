"""Keeps Alertmanager's alerts in step: it forgets what is not repeated, and makes one notification of the repeats."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.delivery import FIRST_WAIT, LONGEST_WAIT
from sagascope_collector.alerting.matching import SECOND
from sagascope_collector.alerting.rules import Alerts, Webhook
from sagascope_collector.alerting.sending import NotDelivered, Sender
from sagascope_collector.errors import NotFound
from sagascope_collector.incidents import Incidents
from sagascope_collector.storage import AlertRecords, Pending

REPEATED: Final = 60 * SECOND
"""Nanoseconds between two tellings of what goes on; `messages.FIRING_FOR` is some of them."""


class Firing:
    """The way to one Alertmanager."""

    def __init__(
        self,
        webhook: Webhook,
        alerts: Alerts,
        incidents: Incidents,
        records: AlertRecords,
        sender: Sender,
        clock: Callable[[], int],
    ) -> None:
        self._webhook = webhook
        self._alerts = alerts
        self._incidents = incidents
        self._records = records
        self._sender = sender
        self._clock = clock
        self._sent_at = 0
        self._wait = 0.0

    def round(self) -> None:
        """Tell everything that goes on, if it is time or something happened."""
        now = self._clock()
        waiting = [each for each in self._records.pending() if each.notification.webhook == self._webhook.name]
        since = now - self._sent_at
        if since < self._wait * SECOND or (not waiting and 0 <= since < REPEATED):
            return
        self._sent_at = now
        alerts = self._alerts_of(waiting, now)
        try:
            if alerts:
                self._sender.send(self._webhook, list(alerts.values()), f"{self._webhook.name}:{now}")
        except NotDelivered as error:
            self._wait = min(LONGEST_WAIT, max(FIRST_WAIT, self._wait * 2))
            for each in waiting:
                self._records.failed(each.notification.id, now + round(self._wait * SECOND), str(error))
            return
        self._wait = 0.0
        for each in waiting:
            self._records.delivered(each.notification.id, now)

    def _alerts_of(self, waiting: list[Pending], now: int) -> dict[str, dict[str, Any]]:
        """What goes on, and what ended and was not told yet, by incident."""
        until = datetime.now(UTC) + messages.FIRING_FOR
        said: list[Mapping[str, Any]] = [json.loads(each.notification.document) for each in waiting]
        said += [
            self._message(told.incident, now) for told in self._records.states() if told.webhook == self._webhook.name
        ]
        return {each["incident"]["key"]: messages.alert(each, until) for each in said if each}

    def _message(self, key: str, now: int) -> dict[str, Any]:
        try:
            incident = self._incidents.one(key)
        except NotFound:
            return {}
        return messages.message("opened", incident, now, rule="", link=self._alerts.link)
