"""The faults that the demo plants in payments on Temporal, and the expected findings.

Each process reads its own faults from its environment.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final

from sagascope_samples.chassis import Refused, Unavailable
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, REFUND, WAREHOUSE
from sagascope_samples.scenario import Finding

FAULTS_VARIABLE: Final = "SAMPLE_WORKER_FAULTS"
"""``PAYMENT/ACTIVITY=FAULT``, separated by commas."""

PAYMENTS_SENT: Final = 14
"""Payments that are sent: every planted fault, and enough payments without one to compare with."""

UNSERVED_QUEUE: Final = "night-shift"
"""A task queue without workers."""

SLOW_SECONDS: Final = 2.0


class ActivityFault(StrEnum):
    """How an activity fails."""

    FAIL = "fail"
    """Every attempt fails."""
    REFUSE = "refuse"
    """It is refused for good."""
    STALL = "stall"
    """It neither ends nor fails."""
    SLOW = "slow"
    """It succeeds slowly."""


class ProcessFault(Enum):
    """What happens to a process while a payment is in progress."""

    WORKER_KILLED = auto()
    """The worker that executes its activity is killed and restarted."""
    SERVER_RESTARTED = auto()
    """Temporal's server is killed and restarted."""


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault in one payment, and the expected finding."""

    payment: str
    description: str
    expected: Finding
    headline: str = ""
    """Words that the headline must contain, because they name the cause."""
    activity_faults: Mapping[str, ActivityFault] = field(default_factory=dict)
    """By activity."""
    warehouse: str = WAREHOUSE
    """The task queue that fulfils the payment."""
    process_fault: ProcessFault | None = None


PLANTED_FAULTS: Final = (
    PlantedFault(
        "8484",
        "The bank cannot charge this account, and Temporal retries it without end.",
        Finding("running", "retrying", "forward", CHARGE, BANK),
        "The account is locked",
        {CHARGE: ActivityFault.FAIL},
    ),
    PlantedFault(
        "8486",
        "The goods are sold out, and the refund fails: the customer was charged for nothing.",
        Finding("failed", "compensation_failed", "compensation", REFUND, BANK),
        "The card was closed",
        {FULFIL: ActivityFault.REFUSE, REFUND: ActivityFault.FAIL},
    ),
    PlantedFault(
        "8488",
        "The order goes to a task queue without workers.",
        Finding("running", "blocked", "forward", FULFIL, WAREHOUSE),
        "no worker polls",
        warehouse=UNSERVED_QUEUE,
    ),
    PlantedFault(
        "8490",
        "The warehouse's worker is killed (SIGKILL) while it fulfils this order; Temporal waits ten minutes for it.",
        Finding("running", "instance_lost", "forward", FULFIL, WAREHOUSE),
        activity_faults={FULFIL: ActivityFault.STALL},
        process_fault=ProcessFault.WORKER_KILLED,
    ),
    PlantedFault(
        "8492",
        "Temporal's server is killed and restarted during this payment: no action required.",
        Finding("completed", None, None, None, None),
        activity_faults={FULFIL: ActivityFault.SLOW},
        process_fault=ProcessFault.SERVER_RESTARTED,
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}

ACTIVITY_FAULTS: Final = {
    f"{planted.payment}/{activity}": fault
    for planted in PLANTED_FAULTS
    for activity, fault in planted.activity_faults.items()
}
"""By payment and activity: ``8484/charge``."""


async def trigger(fault: ActivityFault | None, message: str) -> None:
    """Fails as the fault says.

    Raises:
        Unavailable: `ActivityFault.FAIL`.
        Refused: `ActivityFault.REFUSE`.
    """
    match fault:
        case ActivityFault.FAIL:
            raise Unavailable(message)
        case ActivityFault.REFUSE:
            raise Refused(message)
        case ActivityFault.STALL:
            await asyncio.Event().wait()
        case ActivityFault.SLOW:
            await asyncio.sleep(SLOW_SECONDS)


def faults_from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, ActivityFault]:
    """Returns the faults of this process, by payment and activity.

    Raises:
        ValueError: A fault is unknown.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS_VARIABLE, "").split(",") if pair)
    return {target: ActivityFault(fault) for target, _, fault in pairs}


def faults_to_environment(faults: Mapping[str, ActivityFault]) -> dict[str, str]:
    """Returns the variable that `faults_from_environment` reads."""
    return {FAULTS_VARIABLE: ",".join(f"{target}={fault}" for target, fault in faults.items())}
