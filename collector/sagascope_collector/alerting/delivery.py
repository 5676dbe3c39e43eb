"""Brings what waits to its webhooks, each in the order in which it happened, again and again until it arrives."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Final

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.matching import SECOND
from sagascope_collector.alerting.rules import Webhook
from sagascope_collector.alerting.sending import NotDelivered, Sender
from sagascope_collector.storage import AlertRecords, Pending

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 300.0
TRIED_FOR: Final = 24 * 3_600.0
"""Seconds after which a notification is given up."""

_log: Final = logging.getLogger(__name__)


class Delivery:
    """The way to one webhook."""

    def __init__(self, webhook: Webhook, records: AlertRecords, sender: Sender, clock: Callable[[], int]) -> None:
        self._webhook = webhook
        self._records = records
        self._sender = sender
        self._clock = clock

    def round(self) -> None:
        """Deliver what is due; one that fails holds up those behind it: no end is told before its beginning."""
        for waiting in self._records.pending():
            if waiting.notification.webhook == self._webhook.name and not self._passed_on(waiting):
                return

    def _passed_on(self, waiting: Pending) -> bool:
        """Whether the next one may be delivered."""
        notification, now = waiting.notification, self._clock()
        if waiting.next_attempt_at > now:
            return False
        try:
            said: Mapping[str, object] = json.loads(notification.document)
            self._sender.send(self._webhook, messages.body(self._webhook, said), notification.id)
        except NotDelivered as error:
            return self._failed(waiting, error)
        self._records.delivered(notification.id, self._clock())
        return True

    def _failed(self, waiting: Pending, error: NotDelivered) -> bool:
        now, notification = self._clock(), waiting.notification
        if error.is_final or now - notification.at > TRIED_FOR * SECOND:
            _log.error(
                "Webhook %r was not told that an incident is %s: %s.", self._webhook.name, notification.event, error
            )
            self._records.failed(notification.id, None, str(error))
            return True
        if not waiting.attempts:
            _log.warning("Webhook %r is tried again: %s.", self._webhook.name, error)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(waiting.attempts, 20))
        self._records.failed(notification.id, now + round(wait * SECOND), str(error))
        return False
