"""The concurrency limit of reads, and their time limit: ingest comes first, whatever is queried."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from sagascope_collector.errors import Overloaded
from sagascope_collector.storage import within

MAX_WAITING_CALLS: Final = 256
"""Calls that may wait for a slot; others are refused with a time to retry."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How many calls may read, and how long."""

    readers: int = 4
    """Calls that read at one time; the others wait, in the order in which they came."""
    seconds: float = 10.0
    """For which a call may wait, and then read."""


class ReadSlots:
    """Assigns read slots to calls; on one event loop."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.readers)
        self._waiting = 0

    async def taken(self) -> AsyncIterator[None]:
        """Holds a slot while a route runs, but not while its answer is sent: a dependency of the scope ``function``.

        Raises:
            Overloaded: no slot was free in time, or too many calls wait.
        """
        await self._wait()
        try:
            with within(self._limits.seconds):
                yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= MAX_WAITING_CALLS:
            raise Overloaded(f"{MAX_WAITING_CALLS} calls wait already to be answered.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded("Others are reading; this call's turn did not come in time.") from error
        finally:
            self._waiting -= 1
