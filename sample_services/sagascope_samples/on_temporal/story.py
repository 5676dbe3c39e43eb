"""The faults that the demo plants in payments on Temporal, and what must be found of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from sagascope_samples.on_temporal.faults import Trouble
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, REFUND, WAREHOUSE
from sagascope_samples.story import Finding

PAYMENTS: Final = 14
"""How many are sent: the planted ones, and enough others to tell them from."""

NIGHT: Final = "night-shift"
"""A task queue from which no worker takes anything."""


class Blow(Enum):
    """What is done to a process while a payment is under way."""

    WORKER_KILLED = auto()
    """The worker that has its activity is killed, and started again."""
    SERVER_RESTARTED = auto()
    """Temporal's server is killed, and started again."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault in one payment, and what must be found."""

    payment: str
    told: str
    """What was planted, for a person."""
    expected: Finding
    says: str = ""
    """Words of the headline without which the cause was not found."""
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    """What goes wrong, by activity."""
    warehouse: str = WAREHOUSE
    """The task queue that is to fulfil it."""
    blow: Blow | None = None


PLANTS: Final = (
    Plant(
        "8484",
        "The bank cannot charge this account, and Temporal has it tried again for ever.",
        Finding("running", "retrying", "forward", CHARGE, BANK),
        "The account is locked",
        {CHARGE: Trouble.FAIL},
    ),
    Plant(
        "8486",
        "The goods are sold out, and the refund fails: the money is kept for nothing.",
        Finding("failed", "compensation_failed", "compensation", REFUND, BANK),
        "The card was closed",
        {FULFIL: Trouble.REFUSE, REFUND: Trouble.FAIL},
    ),
    Plant(
        "8488",
        "The order goes to the task queue of the night shift, for which no worker runs.",
        Finding("running", "blocked", "forward", FULFIL, WAREHOUSE),
        "no worker polls",
        warehouse=NIGHT,
    ),
    Plant(
        "8490",
        "The warehouse's worker is killed (SIGKILL) while it fulfils this order; Temporal waits ten minutes for it.",
        Finding("running", "instance_lost", "forward", FULFIL, WAREHOUSE),
        troubles={FULFIL: Trouble.STALL},
        blow=Blow.WORKER_KILLED,
    ),
    Plant(
        "8492",
        "Temporal's server is killed and started again in the middle of this payment: nobody is needed.",
        Finding("completed", None, None, None, None),
        troubles={FULFIL: Trouble.SLOW},
        blow=Blow.SERVER_RESTARTED,
    ),
)

PLANTED: Final = {plant.payment: plant for plant in PLANTS}

FAULTS: Final = {f"{plant.payment}/{name}": trouble for plant in PLANTS for name, trouble in plant.troubles.items()}
"""What goes wrong, by payment and activity."""
