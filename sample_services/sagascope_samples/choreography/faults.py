"""What goes wrong with messages: which payment, and how. Read from the environment, for each process its own."""

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

FAULTS: Final = "SAMPLE_MESSAGE_FAULTS"
"""``PAYMENT=TROUBLE``, separated by commas."""


class Trouble(StrEnum):
    """How a handler fails a message."""

    LOSE = "lose"
    """It acknowledges the message, and forgets it."""
    POISON = "poison"
    """It fails on it, at each delivery."""
    TWICE = "twice"
    """It publishes what it has to tell twice."""


def planted(environment: Mapping[str, str] = os.environ) -> dict[str, Trouble]:
    """The faults of this process, by payment.

    Raises:
        ValueError: a trouble that does not exist.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS, "").split(",") if pair)
    return {payment: Trouble(trouble) for payment, _, trouble in pairs}


def written(faults: Mapping[str, Trouble]) -> dict[str, str]:
    """The variable that `planted` reads back."""
    return {FAULTS: ",".join(f"{payment}={trouble}" for payment, trouble in faults.items())}
