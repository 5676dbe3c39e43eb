"""How many calls read at one time, and for how long: whatever is asked, what is received goes first."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from sagascope_collector.errors import Overloaded
from sagascope_collector.storage import within

WAITING: Final = 256
"""Calls that may wait for their turn; what comes beyond them is told to come back."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What reading may take."""

    readers: int = 4
    """Calls that read at one time; the others wait, in the order in which they came."""
    seconds: float = 10.0
    """For which a call may wait, and then read."""


class Turns:
    """Gives calls their turn; on one event loop."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.readers)
        self._waiting = 0

    async def taken(self) -> AsyncIterator[None]:
        """Have a turn while a route runs, but not while its answer is sent: a dependency of the scope ``function``.

        Raises:
            Overloaded: it did not come in time, or too many wait.
        """
        await self._wait()
        try:
            with within(self._limits.seconds):
                yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= WAITING:
            raise Overloaded(f"{WAITING} calls wait already to be answered.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded("Others are reading; this call's turn did not come in time.") from error
        finally:
            self._waiting -= 1
