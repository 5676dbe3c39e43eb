"""Background threads that turn changes of incidents into notifications and deliver them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.channels import CHANNELS, AlertStore, Connection, NotDelivered, Sender
from sagascope_collector.alerting.messages import Message
from sagascope_collector.alerting.rules import Alerts, Decision, Receiver, Watchdog, decide, rests_on_absence
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import NotFound
from sagascope_collector.incident_records import AlertState, Notification
from sagascope_collector.incidents import Incident, Incidents
from sagascope_collector.periodic import PeriodicTask

INTERVAL_SECONDS: Final = 0.5
"""Seconds between two evaluations without a change of incidents; they detect elapsed durations and due retries."""


class Alerter:
    """Notifies receivers of incidents. Each receiver has a thread of its own, so one that hangs delays no other."""

    def __init__(
        self,
        alerts: Alerts,
        incidents: Incidents,
        records: AlertStore,
        *,
        environment: Mapping[str, str],
        is_healthy: Callable[[], bool],
        unreliable: Callable[[], Collection[str]] = tuple,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], int],
    ) -> None:
        """Creates the threads; they do not run before `start`.

        Args:
            alerts: The receivers and rules.
            incidents: The incidents.
            records: The stored states of receivers and the pending notifications.
            environment: The environment variables with the tokens that receivers name.
            is_healthy: Returns whether the collector receives and evaluates telemetry; if not, no watchdog is sent.
            unreliable: Returns the environments that may lack telemetry; incidents based on its absence send nothing.
            leads: Returns whether this collector is the one that sends, of those that share the records.
            clock: Returns the time in nanoseconds since 1970.
        """
        self._alerts = alerts
        self._incidents = incidents
        self._records = records
        self._unreliable = unreliable
        self._clock = clock
        self._leads = leads
        self._sender = Sender(environment)
        self._deciding = PeriodicTask("alerts", self.decide, interval_seconds=INTERVAL_SECONDS)
        self._delivering = {each.name: self._delivery(each) for each in alerts.receivers}
        self._tasks = [self._deciding, *self._delivering.values()]
        if alerts.watchdog:
            watchdog = WatchdogSignal(alerts, alerts.watchdog, self._sender, lambda: leads() and is_healthy(), clock)
            self._tasks.append(PeriodicTask("alerts watchdog", watchdog.send, interval_seconds=INTERVAL_SECONDS))
        incidents.listen(self._deciding.trigger)

    def _delivery(self, receiver: Receiver) -> PeriodicTask:
        connection = Connection(receiver, self._sender, self._records, self._firing, self._clock)
        channel = CHANNELS[receiver.type](connection)

        def deliver() -> None:
            if self._leads():
                channel.deliver()

        return PeriodicTask(f"alerts {receiver.name}", deliver, interval_seconds=INTERVAL_SECONDS)

    def start(self) -> None:
        """Starts the threads."""
        for each in self._tasks:
            each.start()

    def stop(self) -> None:
        """Stops the threads. Pending notifications are delivered after the next start."""
        for each in self._tasks:
            each.stop()
        self._sender.close()

    def decide(self) -> None:
        """Stores the due notifications and the resulting states of the receivers, in one transaction.

        Raises:
            StorageUnavailable: Nothing was stored.
        """
        # most evaluations change nothing, and need no transaction
        if not (self._leads() and self._decisions(self._clock())):
            return
        with self._records.exclusive():  # another collector may have led a moment ago
            now = self._clock()
            found = self._decisions(now)
            states = [decision.state for _, decision in found]
            self._records.put(states, [self._notification(*each, now) for each in found if each[1].event])
        for name in {each.receiver for each in states}:
            self._delivering[name].trigger()

    def _decisions(self, now: int) -> list[tuple[Incident, Decision]]:
        unreliable = self._unreliable()
        states = {(each.receiver, each.incident): each for each in self._records.states()}
        incidents = [each for each in self._incidents.all() if not rests_on_absence(each, unreliable)]
        return [(each, decision) for each in incidents for decision in decide(self._alerts, each, states, now)]

    def _notification(self, incident: Incident, decision: Decision, now: int) -> Notification:
        event = decision.event.value if decision.event else ""
        message = messages.build_message(event, incident, now, rule=decision.rule, link=self._alerts.link)
        id_ = _notification_id(decision.state, event)
        return Notification(id_, decision.state.receiver, now, event, json.dumps(message))

    def _firing(self, receiver: str) -> Sequence[Message]:
        """Returns a message for each incident that the receiver was notified of and that is not resolved."""
        now, found = self._clock(), []
        for state in self._records.states():
            if state.receiver == receiver:
                try:
                    incident = self._incidents.one(state.incident)
                # resolved so long ago that it is no longer in memory
                except NotFound:
                    continue
                found.append(messages.build_message("opened", incident, now, rule="", link=self._alerts.link))
        return found


class WatchdogSignal:
    """Sends a signal at intervals while the collector is healthy. If it stops, sagas are not monitored."""

    def __init__(
        self,
        alerts: Alerts,
        watchdog: Watchdog,
        sender: Sender,
        is_healthy: Callable[[], bool],
        clock: Callable[[], int],
    ) -> None:
        names = watchdog.receivers or tuple(each.name for each in alerts.receivers)
        self._receivers = [each for each in alerts.receivers if each.name in names]
        self._interval_seconds = watchdog.interval
        self._sender = sender
        self._is_healthy = is_healthy
        self._clock = clock
        self._sent_at = 0

    def send(self) -> None:
        """Sends the signal if it is due. A failed delivery is not retried, because the next signal follows."""
        now = self._clock()
        is_due = not 0 <= now - self._sent_at < self._interval_seconds * NANOSECONDS_PER_SECOND
        if not is_due or not self._is_healthy():
            return
        self._sent_at = now
        for receiver in self._receivers:
            body = CHANNELS[receiver.type].watchdog_body(receiver, datetime.now(UTC), self._interval_seconds)
            try:
                self._sender.send(receiver, body, f"watchdog:{now}")
            except NotDelivered:
                continue


def _notification_id(state: AlertState, event: str) -> str:
    step = str(state.growth_step) if event == "grown" else ""
    return ":".join((state.incident, str(state.opened_at), state.receiver, event, step))
