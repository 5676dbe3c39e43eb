"""The threads that notice what is to be told, and tell it."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Final

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.deadman import DeadManSignal
from sagascope_collector.alerting.decisions import News, news, rests_on_silence
from sagascope_collector.alerting.delivery import Delivery
from sagascope_collector.alerting.firing import Firing
from sagascope_collector.alerting.rules import Alerts, Kind, Webhook
from sagascope_collector.alerting.sending import Sender
from sagascope_collector.incidents import Incident, Incidents
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import AlertRecords, AlertState, Notification

EVERY: Final = 0.5
"""Seconds between two looks while nothing happens; what lasts, is over or is tried again is found by them."""


class Watch:
    """Tells webhooks of incidents. A webhook that hangs holds up no other: each has a thread of its own."""

    def __init__(
        self,
        alerts: Alerts,
        incidents: Incidents,
        records: AlertRecords,
        *,
        environment: Mapping[str, str],
        is_well: Callable[[], bool],
        doubted: Callable[[], Collection[str]] = tuple,
        clock: Callable[[], int],
    ) -> None:
        """Know what was told before.

        Args:
            alerts: whom to tell, and when.
            incidents: what is told of.
            records: where it is noted what was told, and what waits.
            environment: holds the tokens that webhooks name.
            is_well: whether the collector takes telemetry in and judges it; else the dead-man signal stops.
            doubted: environments in which silence tells nothing now: nobody is woken for it.
            clock: now, in nanoseconds since 1970.
        """
        self._alerts = alerts
        self._incidents = incidents
        self._records = records
        self._doubted = doubted
        self._clock = clock
        self._sender = Sender(environment)
        self._known = {(each.webhook, each.incident): each for each in records.states()}
        self._looking = PeriodicTask("alerts", self.look, every=EVERY)
        self._ways = {
            each.name: PeriodicTask(f"alerts {each.name}", self._round_of(each), every=EVERY)
            for each in alerts.webhooks
        }
        self._rounds = [self._looking, *self._ways.values()]
        if alerts.dead_man:
            signal = DeadManSignal(alerts, alerts.dead_man, self._sender, is_well, clock)
            self._rounds.append(PeriodicTask("alerts dead man", signal.round, every=EVERY))
        incidents.listen(self._looking.call)

    def start(self) -> None:
        """Begin."""
        for each in self._rounds:
            each.start()

    def stop(self) -> None:
        """End; what was not delivered is delivered after the next start."""
        for each in self._rounds:
            each.stop()
        self._sender.close()

    def look(self) -> None:
        """Note what is to be told now.

        Raises:
            StorageUnavailable: nothing was noted.
        """
        now = self._clock()
        doubted = self._doubted()
        incidents = [each for each in self._incidents.all() if not rests_on_silence(each, doubted)]
        found = [(each, item) for each in incidents for item in news(self._alerts, each, self._known, now)]
        if not found:
            return
        told = [item.told for _, item in found]
        self._records.put(told, [self._notification(each, item, now) for each, item in found if item.event])
        self._known |= {(each.webhook, each.incident): each for each in told}
        for name in {each.webhook for each in told}:
            self._ways[name].call()

    def _notification(self, incident: Incident, item: News, now: int) -> Notification:
        event = item.event.value if item.event else ""
        said = messages.message(event, incident, now, rule=item.rule, link=self._alerts.link)
        return Notification(_id(item.told, event), item.told.webhook, now, event, json.dumps(said))

    def _round_of(self, webhook: Webhook) -> Callable[[], None]:
        if webhook.kind is Kind.ALERTMANAGER:
            return Firing(webhook, self._alerts, self._incidents, self._records, self._sender, self._clock).round
        return Delivery(webhook, self._records, self._sender, self._clock).round


def _id(told: AlertState, event: str) -> str:
    return ":".join(
        (told.incident, str(told.opened_at), told.webhook, event, str(told.grown) if event == "grown" else "")
    )
