"""The memory of requests until they wait for the database: while they arrive, and while large ones are checked."""

import asyncio
from collections.abc import Callable
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
        self.turn = asyncio.Semaphore(1)
        """Held while a thread checks and splits a large request, which takes seconds of processor time."""

    def lease(self) -> "Lease":
        """Returns a share of the budget for one request, as a context manager."""
        return Lease(self)

    def register(self, lease: "Lease") -> None:
        """Makes a lease revocable."""
        self._leases.add(lease)

    def pin(self, lease: "Lease") -> None:
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
            self.give_back(largest)
            largest.revoke()
        self._left -= amount
        lease.held += amount

    def give_back(self, lease: "Lease") -> None:
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

    def pin(self) -> None:
        """Removes the time limit, and lets no other request have these bytes: they cannot be freed now.

        Raises:
            Overloaded: the lease is revoked.
        """
        self._check()
        self._budget.pin(self)
        self._limit.reschedule(None)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs what needs the bytes in a thread, one request at a time.

        A thread cannot be cancelled: where the request is, the bytes and the turn are held until the thread ends.
        """
        await self._budget.turn.acquire()
        try:
            self.pin()
            self._work = asyncio.get_running_loop().run_in_executor(None, work)
        except BaseException:
            self._budget.turn.release()
            raise
        self._work.add_done_callback(lambda _: self._budget.turn.release())
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
            self._work.add_done_callback(lambda _: self._budget.give_back(self))
        else:
            self._budget.give_back(self)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            late = f"The request was not received and checked within {RECEIVE_SECONDS:.0f} s."
            raise Overloaded(FULL if self._is_revoked else late) from timeout
