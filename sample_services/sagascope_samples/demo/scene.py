"""What a demo plays, whatever its services run on: the processes, the faults, and who plays it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sagascope_samples.demo.inspection import Inspector
from sagascope_samples.demo.supervisor import Part, Supervisor
from sagascope_samples.story import Finding

LOOK: Final = 0.1
"""Seconds between two looks at something that is waited for."""

PATIENCE: Final = 30.0
"""Seconds that something is waited for."""


class NoProgress(Exception):
    """The story cannot go on, though nothing has died. The text says what it waits for."""


class Planted(Protocol):
    """A fault in one payment."""

    @property
    def payment(self) -> str:
        """Which."""
        ...

    @property
    def told(self) -> str:
        """What was planted, for a person."""
        ...

    @property
    def expected(self) -> Finding:
        """What must be found."""
        ...

    @property
    def says(self) -> str:
        """Words of the headline without which the cause was not found."""
        ...


class Player(Protocol):
    """Sends payments, and makes the planted ones go wrong."""

    sent: list[str]
    """Payments sent so far, in order."""

    async def play(self, most: int | None = None) -> None:
        """Send payments, `most` of them or without end."""
        ...


Tell = Callable[[Planted], None]
"""Says to a person that a fault was planted."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of demo."""

    plants: Sequence[Planted]
    payments: int
    """How many are sent when nobody watches."""
    services: Sequence[Part]
    """What is started, and answers, before the play begins."""
    player: Callable[[Supervisor, Inspector, Tell], Player]
    collector: Sequence[str] = ()
    """Further words of the collector's command."""


async def until(holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Return when it holds.

    Raises:
        NoProgress: it did not in time.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            raise NoProgress(f"{otherwise}, {PATIENCE:.0f} s after it should have been so.")
        await asyncio.sleep(LOOK)
