"""The faults of messages that the demo plants, and what must be found of each."""

from dataclasses import dataclass
from typing import Final

from sagascope_samples.choreography.faults import Trouble
from sagascope_samples.story import Finding

PAYMENTS: Final = 14
"""How many are sent: the planted ones, and enough others to tell them from."""

DOWN: Final = "shipping"
"""The service that is killed before the last payment."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault in one payment, and what must be found."""

    payment: str
    told: str
    """What was planted, for a person."""
    service: str
    """Whose handler fails; for the last one, who is gone."""
    trouble: Trouble | None
    """None: the service is killed."""
    expected: Finding
    says: str
    """Words of the headline without which the cause was not found."""


PLANTS: Final = (
    Plant(
        "8486",
        "The ledger acknowledges this payment's message, and forgets it.",
        "ledger",
        Trouble.LOSE,
        Finding("running", "next_step_missing", "forward", "ledger.record", "ledger"),
        "so the cause is this message",
    ),
    Plant(
        "8488",
        "The wallet publishes twice that this payment is debited.",
        "wallet",
        Trouble.TWICE,
        Finding("completed", "applied_twice", "forward", "ledger.record", "ledger"),
        "Two messages requested it, published by wallet",
    ),
    Plant(
        "8490",
        "The notification service fails on this payment's message, and JetStream delivers it again and again.",
        "notification",
        Trouble.POISON,
        Finding("running", "retrying", "forward", "notification.send", "notification"),
        "is redelivered after each failure",
    ),
    Plant(
        "8494",
        "Shipping is killed (SIGKILL) and not started again; its messages wait.",
        DOWN,
        None,
        Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
        "so the consumer may be the cause",
    ),
)


def faults_of(service: str) -> dict[str, Trouble]:
    """What is planted in one service, by payment."""
    return {plant.payment: plant.trouble for plant in PLANTS if plant.service == service and plant.trouble}
