"""Channels that deliver notifications to receivers: one class for each type of receiver, with one protocol."""

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.messages import Message
from sagascope_collector.alerting.rules import Escape, Receiver, ReceiverType
from sagascope_collector.client import schemas
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_nanoseconds
from sagascope_collector.incident_records import AlertState, Notification, Pending
from sagascope_collector.incidents import FAILURE_RATE, Scope

MAX_REDIRECTS: Final = 3

ID_HEADER: Final = "Idempotency-Key"
"""The header with the notification's id, which is the same for every delivery attempt."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the receiver's address, which may be a secret


class NotDelivered(Exception):
    """A notification was not delivered. The text states the reason, without the address or the token."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        """Whether another attempt would fail for the same reason."""


class Sender:
    """Posts to receivers. Thread-safe."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Reads tokens from the variables of `environment` that receivers name."""
        self._environment = environment
        self._http = httpx.Client(follow_redirects=False, headers={"User-Agent": "sagascope"}, trust_env=False)

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def send(self, receiver: Receiver, body: Any, id_: str) -> None:
        """Posts a body as JSON. Returns after the receiver has accepted it.

        Raises:
            NotDelivered: The receiver has not accepted it, or its acceptance is unknown.
        """
        url = receiver.url
        for _ in range(MAX_REDIRECTS):
            response = self._post(receiver, url, body, id_)
            if response.is_success:
                return
            if response.status_code not in (httpx.codes.TEMPORARY_REDIRECT, httpx.codes.PERMANENT_REDIRECT):
                raise _refused(response)
            url = _redirect_target(url, response)
        raise NotDelivered(f"it was redirected {MAX_REDIRECTS} times")

    def _post(self, receiver: Receiver, url: str, body: Any, id_: str) -> httpx.Response:
        headers = {ID_HEADER: id_}
        if receiver.token_env:
            headers["Authorization"] = f"Bearer {self._token(receiver.token_env)}"
        try:
            return self._http.post(url, json=body, headers=headers, timeout=receiver.timeout)
        except httpx.TimeoutException:
            # without the cause: it holds the request with the address, which may be a secret
            raise NotDelivered(f"it did not answer within {receiver.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise NotDelivered(f"it could not be reached ({type(error).__name__})") from None

    def _token(self, name: str) -> str:
        token = self._environment.get(name, "").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise NotDelivered(f"the variable {name} holds no token")
        return token


def _redirect_target(url: str, response: httpx.Response) -> str:
    """Returns the target of a redirect.

    Raises:
        NotDelivered: It changes the host or gives up encryption.
    """
    target = str(httpx.URL(url).join(response.headers.get("Location", "")))
    before, after = urlsplit(url), urlsplit(target)
    if before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http"):
        raise NotDelivered("it redirects to another host: set that one as its address", is_final=True)
    return target


def _refused(response: httpx.Response) -> NotDelivered:
    status = response.status_code
    if response.is_redirect:
        return NotDelivered(f"it answered {status}, a redirect that drops the body of a POST", is_final=True)
    is_temporary = status in (408, 425, 429) or response.is_server_error
    return NotDelivered(f"it answered {status}", is_final=not is_temporary)


MIN_BACKOFF_SECONDS: Final = 1.0
MAX_BACKOFF_SECONDS: Final = 300.0

GIVE_UP_AFTER_SECONDS: Final = 24 * 3_600.0
"""Seconds after which a notification is no longer attempted."""

CLAIM_MARGIN_SECONDS: Final = 5.0
"""Seconds for which a notification is claimed beyond the longest time of an attempt: to record its outcome."""

REPEAT_INTERVAL_SECONDS: Final = 60.0
"""Seconds after which firing alerts are sent to Alertmanager again; it resolves alerts that are not repeated."""

FIRING_TIMEOUT: Final = timedelta(minutes=5)
"""Duration after which Alertmanager resolves an alert that is not repeated."""

WATCHDOG_HEADLINE: Final = "Sagascope receives and evaluates telemetry."
WATCHDOG_TIMEOUT_INTERVALS: Final = 3
"""Intervals for which Alertmanager keeps the watchdog firing."""

_log: Final = logging.getLogger(__name__)


class AlertStore(Protocol):
    """The states of receivers, and the notifications: `storage.AlertRecords`, or rows that collectors share."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Returns a transaction in which no other process changes states."""

    def states(self) -> Sequence[AlertState]:
        """Returns the states of all receivers and incidents, except incidents whose resolution was notified."""

    def put(self, states: Sequence[AlertState], notifications: Sequence[Notification]) -> None:
        """Writes both in one transaction, so that a crash neither repeats nor loses a notification."""

    def pending(self) -> Sequence[Pending]:
        """Returns the notifications to deliver, oldest first."""

    def claim(self, id_: str, seconds: float) -> bool:
        """Claims a notification for so long, in which no other process sends it; False: another has claimed it."""

    def delivered(self, id_: str, at: int) -> None:
        """Records that a notification was delivered."""

    def failed(self, id_: str, next_attempt_at: int | None, error: str) -> None:
        """Records a failed delivery and the time of the next attempt; None: no further attempt."""


class Connection(NamedTuple):
    """The access of a channel to its receiver and its notifications."""

    receiver: Receiver
    sender: Sender
    records: AlertStore
    firing: Callable[[str], Sequence[Message]]
    """Returns a message for each incident of which the receiver of this name was notified and that is not resolved."""
    clock: Callable[[], int]

    def pending(self) -> list[Pending]:
        """Returns the receiver's pending notifications, oldest first."""
        return [each for each in self.records.pending() if each.notification.receiver == self.receiver.name]


class Channel(Protocol):
    """Delivers notifications to one receiver."""

    def __init__(self, connection: Connection) -> None:
        """Stores the connection; sends nothing."""

    def deliver(self) -> None:
        """Delivers the due notifications. Failed ones stay pending."""

    @staticmethod
    def body(receiver: Receiver, message: Message) -> Any:
        """Returns one message in the receiver's format."""

    @staticmethod
    def watchdog_body(receiver: Receiver, at: datetime, interval_seconds: float) -> Any:
        """Returns the watchdog signal."""


class WebhookChannel:
    """Posts one JSON body for each notification, in order, so that a resolution never precedes its opening."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def deliver(self) -> None:
        """Delivers due notifications until one fails."""
        for each in self._connection.pending():
            wait_ns = each.next_attempt_at - self._connection.clock()
            # longer than any backoff: the clock was set back since
            if 0 < wait_ns <= MAX_BACKOFF_SECONDS * NANOSECONDS_PER_SECOND or not self._attempt(each):
                return

    def _attempt(self, pending: Pending) -> bool:
        """Attempts one notification; returns whether the next one may be delivered."""
        receiver, sender, records, _, clock = self._connection
        notification = pending.notification
        if not records.claim(notification.id, MAX_REDIRECTS * receiver.timeout + CLAIM_MARGIN_SECONDS):
            return False
        try:
            message: Message = json.loads(notification.document)
            sender.send(receiver, self.body(receiver, message), notification.id)
        except NotDelivered as error:
            return self._failed(pending, error)
        records.delivered(notification.id, clock())
        return True

    def _failed(self, pending: Pending, error: NotDelivered) -> bool:
        receiver, _, records, _, clock = self._connection
        now, notification = clock(), pending.notification
        if _is_given_up(notification, error, now):
            _log.error("Receiver %r was not notified (%s): %s.", receiver.name, notification.event, error)
            records.failed(notification.id, None, str(error))
            return True
        # one warning for each notification, not one for each attempt
        if not pending.attempts:
            _log.warning("Notifying receiver %r failed and will be retried: %s.", receiver.name, error)
        backoff_ns = round(backoff_seconds(pending.attempts) * NANOSECONDS_PER_SECOND)
        records.failed(notification.id, now + backoff_ns, str(error))
        return False

    @staticmethod
    def body(receiver: Receiver, message: Message) -> Any:
        """Returns the message, or the receiver's own body with the message's fields filled in."""
        if receiver.body is None:
            return message
        fields = messages.template_fields(message)
        return messages.fill_template(
            receiver.body, messages.escaped_for_chat(fields) if receiver.escape is Escape.CHAT else fields
        )

    @staticmethod
    def watchdog_body(receiver: Receiver, at: datetime, interval_seconds: float) -> Any:
        """Returns the signal as a message of the event ``watchdog``."""
        message = {
            "version": messages.VERSION,
            "event": "watchdog",
            "headline": WATCHDOG_HEADLINE,
            "at": schemas.rfc3339(at),
            "interval": interval_seconds,
        }
        if receiver.body is None:
            return message
        known = {name: str(message[name]) for name in ("event", "headline", "at")}
        return messages.fill_template(receiver.body, dict.fromkeys(messages.FIELDS, "") | known)


class AlertmanagerChannel:
    """Keeps the alerts of an Alertmanager up to date. Firing alerts are repeated, as its API requires."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sent_at = 0
        self._failures = 0
        self._backoff_ns = 0

    def deliver(self) -> None:
        """Sends all firing alerts if the repeat interval has passed or a notification is pending."""
        receiver, sender, records, _, clock = self._connection
        now, pending = clock(), self._connection.pending()
        since = now - self._sent_at
        wait_ns = self._backoff_ns if pending or self._backoff_ns else REPEAT_INTERVAL_SECONDS * NANOSECONDS_PER_SECOND
        if 0 <= since < wait_ns:  # it is negative after the clock was set back
            return
        # before the attempt, because the backoff after a failure counts from here
        self._sent_at = now
        alerts = self._alerts(pending)
        try:
            if alerts:
                sender.send(receiver, alerts, f"{receiver.name}:{now}")
        except NotDelivered as error:
            if not self._failures:
                _log.warning("Notifying receiver %r failed and will be retried: %s.", receiver.name, error)
            self._backoff_ns = round(backoff_seconds(self._failures) * NANOSECONDS_PER_SECOND)
            self._failures += 1
            for each in pending:
                is_last = _is_given_up(each.notification, error, now)
                records.failed(each.notification.id, None if is_last else now + self._backoff_ns, str(error))
            return
        self._failures = self._backoff_ns = 0
        for each in pending:
            records.delivered(each.notification.id, now)

    def _alerts(self, pending: Sequence[Pending]) -> list[dict[str, Any]]:
        """Returns the firing alerts and the undelivered resolved ones, one alert for each incident."""
        until = datetime.now(UTC) + FIRING_TIMEOUT
        known: list[Message] = [message for each in pending if (message := json.loads(each.notification.document))]
        known += self._connection.firing(self._connection.receiver.name)
        return list({each["incident"]["key"]: _alert(each, until) for each in known}.values())

    @staticmethod
    def body(receiver: Receiver, message: Message) -> Any:
        """Returns the message as a list of one alert."""
        return [_alert(message, datetime.now(UTC) + FIRING_TIMEOUT)]

    @staticmethod
    def watchdog_body(receiver: Receiver, at: datetime, interval_seconds: float) -> Any:
        """Returns the signal as an alert that fires until a few intervals from now."""
        return [
            {
                "labels": {"alertname": "SagascopeWatchdog", "severity": "none"},
                "annotations": {"summary": WATCHDOG_HEADLINE},
                "startsAt": schemas.rfc3339(at),
                "endsAt": schemas.rfc3339(at + timedelta(seconds=interval_seconds * WATCHDOG_TIMEOUT_INTERVALS)),
            }
        ]


CHANNELS: Final[Mapping[ReceiverType, type[Channel]]] = {
    ReceiverType.WEBHOOK: WebhookChannel,
    ReceiverType.ALERTMANAGER: AlertmanagerChannel,
}


def send_test(receiver: Receiver, environment: Mapping[str, str]) -> None:
    """Sends one notification that is marked as a test.

    Raises:
        NotDelivered: The receiver did not accept it.
    """
    now = datetime.now(UTC)
    message = messages.build_test_message(to_nanoseconds(now))
    sender = Sender(environment)
    try:
        sender.send(receiver, CHANNELS[receiver.type].body(receiver, message), f"test:{now.isoformat()}")
    finally:
        sender.close()


def _is_given_up(notification: Notification, error: NotDelivered, now: int) -> bool:
    return error.is_final or now - notification.at > GIVE_UP_AFTER_SECONDS * NANOSECONDS_PER_SECOND


def backoff_seconds(attempts: int) -> float:
    """Returns the seconds to wait after a number of failed attempts: exponential, with jitter."""
    longest = min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2.0 ** min(attempts, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret: jitter for senders that recover together


def _alert(message: Message, until: datetime) -> dict[str, Any]:
    incident = message["incident"]
    is_failure_rate = incident["reason"] == FAILURE_RATE
    labels = {
        "alertname": "SagaFailureRate" if is_failure_rate else "SagasStuck",
        "incident": incident["key"],
        "environment": incident["environment"],
        "saga": incident["name"],
        # labels identify an alert, and the step at which most sagas fail may change
        "step": (incident["failure_rate"]["step"] if is_failure_rate else incident["step"]) or "",
        "service": "" if is_failure_rate else incident["service"] or "",
        "reason": incident["reason"],
        "phase": incident["phase"],
        "severity": "critical" if incident["scope"] == Scope.SYSTEMIC.value else "warning",
    }
    ends = message["at"] if message["event"] == "resolved" else schemas.rfc3339(until)
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": message["headline"], "examples": ", ".join(incident["examples"])},
        "startsAt": incident["since"],
        "endsAt": ends,
        **({"generatorURL": message["link"]} if message["link"] else {}),
    }
