"""Wakes the right person once, and nobody for nothing: rules, notifications, and the ways to webhooks."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sagascope_collector.alerting import messages
from sagascope_collector.alerting.rules import Alerts, Webhook
from sagascope_collector.alerting.sending import NotDelivered, Sender
from sagascope_collector.alerting.watch import Watch
from sagascope_collector.incidents import Incident

__all__ = ["Alerts", "NotDelivered", "Watch", "Webhook", "send_test"]

_NOBODY: Final = Incident(
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
    stakes=(),
    opened_at=0,
    changed_at=0,
    peak=0,
)


def send_test(webhook: Webhook, environment: Mapping[str, str]) -> None:
    """Send one notification that says it is a test.

    Raises:
        NotDelivered: it did not arrive.
    """
    now = datetime.now(UTC)
    said = messages.message("test", _NOBODY, round(now.timestamp() * 1e9), rule="", link="")
    sender = Sender(environment)
    try:
        sender.send(webhook, messages.body(webhook, said), f"test:{now.isoformat()}")
    finally:
        sender.close()
