"""What a demo consists of, whatever its services run on: its processes, its faults, and its player."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sagascope_samples.demo.report import Inspector, PlantedFault
from sagascope_samples.demo.supervisor import ProcessSpec, Supervisor

POLL_INTERVAL_SECONDS: Final = 0.1
PROGRESS_TIMEOUT_SECONDS: Final = 30.0


class NoProgress(Exception):
    """The scenario cannot continue, although no process died. The message says what it waits for."""


class Player(Protocol):
    """Sends payments, and plants the faults."""

    sent: list[str]
    """Payments sent so far, in order."""

    async def play(self, payments_sent: int | None = None) -> None:
        """Sends this number of payments; None sends payments without end."""
        ...


FaultReporter = Callable[[PlantedFault], None]
"""Reports to a person that a fault was planted."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of demo."""

    planted_faults: Sequence[PlantedFault]
    payments: int
    """Payments of a headless run."""
    services: Sequence[ProcessSpec]
    """Processes that must be ready before the player starts."""
    player: Callable[[Supervisor, Inspector, FaultReporter], Player]
    collector_options: Sequence[str] = ()
    """Further command-line options of the collector."""


async def wait_until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Waits until the condition is true.

    Raises:
        NoProgress: It is not true in time.
    """
    deadline = asyncio.get_running_loop().time() + PROGRESS_TIMEOUT_SECONDS
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise NoProgress(f"No progress for {PROGRESS_TIMEOUT_SECONDS:.0f} s: {otherwise}.")
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
