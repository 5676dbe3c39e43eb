"""Bounds the memory of requests before they are queued: while they arrive, and while large ones are checked."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sagascope_collector.errors import Overloaded

RECEIVE_SECONDS: Final = 60.0
"""A request that has not arrived by then, or still waits to be checked, is refused: slow senders may not hold memory
for long."""

FULL: Final = "The collector is receiving as much at one time as it may hold."

Result = TypeVar("Result")


class Budget:
    """Bytes that all requests together may hold; one that is alone may hold more.

    Where they do not suffice, the request that holds most loses to one that holds less. Otherwise a few requests that
    never end would keep out all others.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = self._left = capacity
        self._leases: set[Lease] = set()
        """The leases that can be revoked."""
        self.slot = asyncio.Semaphore(1)
        """Held while a thread checks and splits a large request, which takes seconds of processor time."""

    def lease(self) -> "Lease":
        """Returns a share of the budget for one request, as a context manager."""
        return Lease(self)

    def register(self, lease: "Lease") -> None:
        """Makes a lease revocable."""
        self._leases.add(lease)

    def make_irrevocable(self, lease: "Lease") -> None:
        """Makes a lease irrevocable."""
        self._leases.discard(lease)

    def take(self, lease: "Lease", amount: int) -> None:
        """Takes a number of bytes.

        Raises:
            Overloaded: too few are left, and the other requests hold less.
        """
        while amount > self._left < self._capacity - lease.held:
            largest = max(self._leases, key=lambda each: each.held, default=lease)
            if largest.held <= lease.held + amount:
                raise Overloaded(FULL)
            self.release(largest)
            largest.revoke()
        self._left -= amount
        lease.held += amount

    def release(self, lease: "Lease") -> None:
        """Returns all bytes of a lease."""
        self._leases.discard(lease)
        self._left += lease.held
        lease.held = 0


class Lease:
    """The bytes that one request holds; they are returned when the block and its thread end.

    Raises:
        Overloaded: at the end of the block: it took longer than `RECEIVE_SECONDS`, or the bytes went to others.
    """

    __slots__ = ("_budget", "_is_revoked", "_limit", "_work", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._limit = asyncio.timeout(RECEIVE_SECONDS)
        self._is_revoked = False
        self._work: asyncio.Future[Any] | None = None
        self.held = 0

    def take(self, amount: int) -> None:
        """Takes a number of bytes; raises `Overloaded` as `Budget.take` does, or if the lease is revoked."""
        self._check()
        self._budget.take(self, amount)

    def revoke(self) -> None:
        """Ends the block at its next wait."""
        self._is_revoked = True
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def make_irrevocable(self) -> None:
        """Removes the time limit, and lets no other request have these bytes: they cannot be freed now.

        Raises:
            Overloaded: the lease is revoked.
        """
        self._check()
        self._budget.make_irrevocable(self)
        self._limit.reschedule(None)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs work that needs the bytes in a thread, one request at a time.

        A thread cannot be cancelled: where the request is, the bytes and the slot are held until the thread ends.
        """
        await self._budget.slot.acquire()
        try:
            self.make_irrevocable()
            self._work = asyncio.get_running_loop().run_in_executor(None, work)
        except BaseException:
            self._budget.slot.release()
            raise
        self._work.add_done_callback(lambda _: self._budget.slot.release())
        # cancelling the request must not cancel the future: its end is when the thread no longer uses the bytes
        return await asyncio.shield(self._work)

    def _check(self) -> None:
        if self._is_revoked:
            raise Overloaded(FULL)

    async def __aenter__(self) -> Self:
        self._budget.register(self)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work and not self._work.done():
            self._work.add_done_callback(lambda _: self._budget.release(self))
        else:
            self._budget.release(self)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            late = f"The request was not received and checked within {RECEIVE_SECONDS:.0f} s."
            raise Overloaded(FULL if self._is_revoked else late) from timeout


# --- arrival over gRPC -------------------------------------------------------------------------------
#
# grpcio reports the size of a request only when it is complete, and has no limit for all requests together. So the
# memory of the process is measured while requests arrive, and those that have been arriving longest are ended.

CHECK_INTERVAL_SECONDS: Final = 0.05
"""The interval at which memory is measured while requests are arriving; most requests arrive in less."""

MIN_GROWTH_BYTES: Final = 16 * 1024 * 1024
"""The minimum of the allowed growth: the process may grow by less for other reasons."""

MEMORY_FILE: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Returns the resident memory of this process; 0 where the system does not report it."""
    try:
        return int(MEMORY_FILE.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Arrivals:
    """Requests that are arriving over gRPC. One that is alone may hold as much as a request may."""

    def __init__(self, max_growth_bytes: int, resident: Callable[[], int] = resident_bytes) -> None:
        """`max_growth_bytes` is how much the process may grow while more than one request is arriving."""
        self._max_growth_bytes = max(max_growth_bytes, MIN_GROWTH_BYTES)
        self._resident = resident
        self._arriving: dict[asyncio.Timeout, int | None] = {}
        """The requests from the one that has been arriving longest, and the memory at the first check of each."""
        self._ended: set[asyncio.Timeout] = set()
        self._check: asyncio.TimerHandle | None = None

    async def receive(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """Returns the request that `read` returns.

        Raises:
            Overloaded: it took too long, or too much was arriving at one time.
        """
        limit = asyncio.timeout(RECEIVE_SECONDS)
        try:
            async with limit:
                self._arriving[limit] = None
                if self._check is None:
                    self._check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_SECONDS, self._end_some)
                return await read()
        except TimeoutError as error:
            late = f"The request was not received within {RECEIVE_SECONDS:.0f} s."
            raise Overloaded(FULL if limit in self._ended else late) from error
        finally:
            self._arriving.pop(limit, None)
            self._ended.discard(limit)

    def _end_some(self) -> None:
        self._check = None
        if not self._arriving:
            return
        loop, resident = asyncio.get_running_loop(), self._resident()
        for limit, before in list(self._arriving.items()):
            if before is None:
                self._arriving[limit] = resident
            elif resident - before > self._max_growth_bytes and len(self._arriving) > 1:
                del self._arriving[limit]
                self._ended.add(limit)
                limit.reschedule(loop.time())
        self._check = loop.call_later(CHECK_INTERVAL_SECONDS, self._end_some)
