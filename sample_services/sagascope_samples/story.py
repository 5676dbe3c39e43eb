"""The story that the demo plays: a stream of payments, the faults planted in it, and what must be found of each.

It is seeded: the same seed gives the same payments, with the same faults at the same places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from random import Random

from sagascope_samples.chassis import Order
from sagascope_samples.faults import Fault, Kind

SEED = 8492
SAGA = "payment"
FIRST_ID = 8481
HEADLESS_PAYMENTS = 25
"""How many are sent when nobody watches: every planted one, and enough others to tell them from."""

CUSTOMERS = (
    "Blue Kettle", "Copper Fern", "Paper Moon", "Salt & Pine", "Quiet Harbour", "Tin Sparrow", "Amber Lane",
    "North Pier", "Velvet Crow", "Little Atlas", "Green Lamp Books", "Stone Orchard",
)  # fmt: skip
"""Invented shops."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How the collector sees a saga: the fields of its summary, as far as the story speaks of them."""

    status: str
    attention: str | None
    phase: str | None
    step: str | None
    service: str | None


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault in one payment: where it is switched on, and what must be found."""

    payment: str
    told: str
    """What was planted, for a person."""
    service: str
    """Where the fault is switched on."""
    step: str
    fault: Fault
    expected: Finding
    killed: bool = False
    """The service's process is killed while it works on the payment, and started again."""
    says: str = ""
    """Words of the headline without which the cause was not found."""


PLANTS = (
    Plant(
        "8492",
        "The ledger is killed (SIGKILL) while it records this payment, and started again; its call back never comes.",
        "ledger",
        "ledger.record",
        Fault(Kind.STALL),
        Finding("running", "instance_lost", "forward", "ledger.record", "ledger"),
        killed=True,
    ),
    Plant(
        "8495",
        "Shipping has asked the carrier, and waits for an answer that does not come.",
        "shipping",
        "shipping.book",
        Fault(Kind.STALL),
        Finding("running", "hung", "forward", "shipping.book", "shipping"),
    ),
    Plant(
        "8497",
        "The account is locked, and the wallet tries the debit again and again.",
        "wallet",
        "wallet.debit",
        Fault(Kind.FAIL, "The account is locked by the end-of-day run"),
        Finding("running", "retrying", "forward", "wallet.debit", "wallet"),
    ),
    Plant(
        "8500",
        "The orchestrator forgets to go on to shipping.",
        "orchestrator",
        "shipping.book",
        Fault(Kind.STALL),
        Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
    ),
    Plant(
        "8502",
        "The ledger refuses this payment, and what had been done is undone: nobody is needed.",
        "ledger",
        "ledger.record",
        Fault(Kind.REFUSE, "The books of this month are closed"),
        Finding("compensated", None, None, None, None),
    ),
)

PLANTED = {plant.payment: plant for plant in PLANTS}


def payments(seed: int = SEED) -> Iterator[Order]:
    """Payments without end, ids ascending from `FIRST_ID`."""
    chance = Random(seed)  # noqa: S311  the story must repeat; nothing here is a secret
    for number in count(FIRST_ID):
        yield Order(
            payment=str(number),
            order_id=f"ord-{chance.randrange(10_000, 100_000)}",
            customer=chance.choice(CUSTOMERS),
            currency=chance.choice(("EUR", "EUR", "GBP", "USD")),
            amount=Decimal(chance.randrange(450, 25_000)).scaleb(-2),
        )
