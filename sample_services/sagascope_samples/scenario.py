"""The scenario of the demo: a stream of payments, the faults planted in it, and the expected findings.

The payments come from a seeded generator: the same seed gives the same payments, with faults in the same places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from random import Random

from sagascope_samples.chassis import Order
from sagascope_samples.faults import Fault, FaultKind

SEED = 8492
SAGA = "payment"
FIRST_ID = 8481
HEADLESS_PAYMENTS = 25
"""Payments of a headless run: every planted fault, and enough payments without one to compare with."""

CUSTOMERS = (
    "Blue Kettle", "Copper Fern", "Paper Moon", "Salt & Pine", "Quiet Harbour", "Tin Sparrow", "Amber Lane",
    "North Pier", "Velvet Crow", "Little Atlas", "Green Lamp Books", "Stone Orchard",
)  # fmt: skip
"""Invented shops."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the collector reports of a saga: the fields of its summary that the scenario checks."""

    status: str
    attention: str | None
    phase: str | None
    step: str | None
    service: str | None


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault in one payment, and the expected finding."""

    payment: str
    description: str
    service: str
    """The service in which the fault is planted."""
    step: str
    fault: Fault
    expected: Finding
    kills_service: bool = False
    """Whether the service's process is killed while it works on the payment, and restarted."""
    headline: str = ""
    """Words that the headline must contain, because they name the cause."""


PLANTED_FAULTS = (
    PlantedFault(
        "8492",
        "The ledger is killed (SIGKILL) while it records this payment, and restarted; its callback never arrives.",
        "ledger",
        "ledger.record",
        Fault(FaultKind.STALL),
        Finding("running", "instance_lost", "forward", "ledger.record", "ledger"),
        kills_service=True,
    ),
    PlantedFault(
        "8495",
        "Shipping waits for a response of the carrier that never arrives.",
        "shipping",
        "shipping.book",
        Fault(FaultKind.STALL),
        Finding("running", "hung", "forward", "shipping.book", "shipping"),
    ),
    PlantedFault(
        "8497",
        "The account is locked, and the wallet retries the debit again and again.",
        "wallet",
        "wallet.debit",
        Fault(FaultKind.FAIL, "The account is locked by the end-of-day run"),
        Finding("running", "retrying", "forward", "wallet.debit", "wallet"),
    ),
    PlantedFault(
        "8500",
        "The orchestrator does not start the next step, shipping.",
        "orchestrator",
        "shipping.book",
        Fault(FaultKind.STALL),
        Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
    ),
    PlantedFault(
        "8502",
        "The ledger refuses this payment, and its committed steps are compensated: no action required.",
        "ledger",
        "ledger.record",
        Fault(FaultKind.REFUSE, "The books of this month are closed"),
        Finding("compensated", None, None, None, None),
    ),
)

FAULT_BY_PAYMENT = {planted.payment: planted for planted in PLANTED_FAULTS}


def payments(seed: int = SEED) -> Iterator[Order]:
    """Yields payments without end, with ids ascending from `FIRST_ID`."""
    random = Random(seed)  # noqa: S311  the scenario must repeat; nothing here is a secret
    for number in count(FIRST_ID):
        yield Order(
            payment=str(number),
            order_id=f"ord-{random.randrange(10_000, 100_000)}",
            customer=random.choice(CUSTOMERS),
            currency=random.choice(("EUR", "EUR", "GBP", "USD")),
            amount=Decimal(random.randrange(450, 25_000)).scaleb(-2),
        )
