"""Messages that a broker gave up: dead-lettered, expired, unroutable, or delivered too often.

    async def on_dead_letter(message) -> None:
        report_dead_letter(message.headers, queue="payments.dead", system="rabbitmq")

The headers still name the saga of the message, so that the saga is reported as blocked, with the broker's reason.
"""

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import get_current

from sagascope import _runtime, semconv
from sagascope._errors import Guard
from sagascope._propagation import Carrier, extract, first_value, header_pairs, header_text

_REPORTING = Guard("reporting a dead letter")

REASONS: Final[Mapping[str, str]] = {
    "rejected": "was rejected by a consumer and not requeued",
    "expired": "expired before it was acknowledged",
    "maxlen": "was dropped from a full queue",
    "delivery_limit": "reached the limit of deliveries",
    "max_deliver": "reached the limit of deliveries",
    "terminated": "was terminated by a consumer",
    "unroutable": "was returned as unroutable",
}
"""What happened to a message, by the reason that RabbitMQ's ``x-death`` and NATS's advisories give."""

SOURCE_HEADERS: Final = ("kafka_dlt-original-topic", "__connect.errors.topic")
"""Headers with the topic of a message in a dead-letter topic, of Spring and of Kafka Connect."""

ERROR_HEADERS: Final = ("kafka_dlt-exception-message", "__connect.errors.exception.message")
"""Headers with the error for which the message was moved there."""


def report_dead_letter(
    headers: Carrier, *, reason: str = "", source: str = "", queue: str = "", deliveries: int = 0, system: str = ""
) -> bool:
    """Reports that no consumer gets a message any more, and returns whether its headers name a saga.

    The saga is blocked until a consumer continues it: have the message delivered again with its headers.

    Args:
        headers: The message's headers. ``x-death`` of RabbitMQ, and the headers of Spring and Kafka Connect, give the
            reason and the source where these arguments are left out.
        reason: Why: one of `REASONS`, or the error.
        source: The queue, subject or topic that the message left.
        queue: Where the message is now, if it is kept.
        deliveries: How many times it was delivered, if the broker counts.
        system: The broker, as OpenTelemetry names it.
    """
    with _REPORTING:
        incoming = extract(headers)
        if _runtime.active is None or incoming.saga_id is None:
            return False
        found = {header_text(name).lower(): value for name, value in header_pairs(headers)}
        death = _latest_death(found)
        reason = reason or _text(death, "reason") or _first(found, ERROR_HEADERS)
        source = source or _text(death, "queue") or _first(found, SOURCE_HEADERS)
        attributes = {
            semconv.DEAD_LETTER_REASON: reason,
            semconv.DEAD_LETTER_QUEUE: queue,
            semconv.MESSAGING_DESTINATION: source,
            semconv.MESSAGING_SYSTEM: system,
        }
        attributes = {name: value for name, value in attributes.items() if value}
        with incoming:
            _runtime.active.emit_log(
                _sentence(reason, source, queue, deliveries),
                get_current(),
                {semconv.BLOCKED_CAUSE: "dead_letter", **attributes},
                event_name=semconv.EVENT_WAITING,
            )
        return True
    return False


def delivery_number(message: Any) -> int:
    """Returns how often a message was delivered, this time included, for ``step(..., attempt=...)``.

    JetStream and RabbitMQ's quorum queues count. Its classic queues only tell a second delivery from the first one.
    """
    counted = getattr(getattr(message, "metadata", None), "num_delivered", None)
    if isinstance(counted, int):
        return counted
    counted = (getattr(message, "headers", None) or {}).get("x-delivery-count")
    return counted + 1 if isinstance(counted, int) else 1 + bool(getattr(message, "redelivered", False))


def _sentence(reason: str, source: str, queue: str, deliveries: int) -> str:
    """Half a sentence about the message, as the broker reports it."""
    what = REASONS.get(reason) or (f"was moved to a dead-letter queue ({reason})" if reason else "was given up")
    parts = (
        f"the message on {source} {what}" if source else f"a message {what}",
        f" after {deliveries} deliveries" if deliveries > 1 else "",
        f"; it is in {queue}" if queue else "",
    )
    return "".join(parts)


def _latest_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The latest entry of RabbitMQ's ``x-death``, which lists the latest first."""
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else None
    return latest if isinstance(latest, Mapping) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    return header_text(values[name]) if values.get(name) else ""


def _first(headers: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((first_value(headers[name]) for name in names if headers.get(name)), "")
