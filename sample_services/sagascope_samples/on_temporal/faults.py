"""What goes wrong in a worker: which payment, and how. Read from the environment, for each process its own."""

import asyncio
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sagascope_samples.chassis import Refused, Unavailable

FAULTS: Final = "SAMPLE_WORKER_FAULTS"
"""``PAYMENT/ACTIVITY=TROUBLE``, separated by commas."""

SLOW_SECONDS: Final = 2.0


class Trouble(StrEnum):
    """How an activity goes wrong."""

    FAIL = "fail"
    """It fails, each time that it is tried."""
    REFUSE = "refuse"
    """It is refused, for good."""
    STALL = "stall"
    """It neither ends nor fails."""
    SLOW = "slow"
    """It takes its time, and ends well."""


async def strike(trouble: Trouble | None, why: str) -> None:
    """Go wrong, if it is to.

    Raises:
        Unavailable: `Trouble.FAIL`.
        Refused: `Trouble.REFUSE`.
    """
    match trouble:
        case Trouble.FAIL:
            raise Unavailable(why)
        case Trouble.REFUSE:
            raise Refused(why)
        case Trouble.STALL:
            await asyncio.Event().wait()
        case Trouble.SLOW:
            await asyncio.sleep(SLOW_SECONDS)


def planted(environment: Mapping[str, str] = os.environ) -> dict[str, Trouble]:
    """The faults of this process, by payment and activity: ``8484/charge``.

    Raises:
        ValueError: a trouble that does not exist.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS, "").split(",") if pair)
    return {where: Trouble(trouble) for where, _, trouble in pairs}


def written(faults: Mapping[str, Trouble]) -> dict[str, str]:
    """The variable that `planted` reads back."""
    return {FAULTS: ",".join(f"{where}={trouble}" for where, trouble in faults.items())}
