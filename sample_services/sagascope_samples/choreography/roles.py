"""Who takes which message, what is done then, and which message tells of it."""

from dataclasses import dataclass
from typing import Final

STREAM: Final = "payments"
"""JetStream's stream that keeps every subject of the story."""


@dataclass(frozen=True, slots=True)
class Role:
    """One service, as an event handler."""

    service: str
    takes: str
    """The subject that it reacts to."""
    step: str
    """What it does for a payment; ``""``: it only begins it."""
    gives: str
    """The subject that tells of it; ``""``: nothing comes after it."""
    seconds: float = 0.0
    """What the work would take, were there any."""


ROLES: Final = {
    role.service: role
    for role in (
        Role("checkout", "payments.requested", "", "payments.started"),
        Role("fraud", "payments.started", "fraud.check", "payments.checked", 0.02),
        Role("wallet", "payments.checked", "wallet.debit", "payments.debited", 0.03),
        Role("ledger", "payments.debited", "ledger.record", "payments.recorded", 0.05),
        Role("shipping", "payments.recorded", "shipping.book", "payments.shipped", 0.08),
        Role("notification", "payments.shipped", "notification.send", "", 0.03),
    )
}
