"""The memory of requests until they wait for the database: while they arrive, and while large ones are checked."""

import asyncio
from types import TracebackType
from typing import Final, Self

from sagascope_collector.errors import Overloaded

RECEIVE_SECONDS: Final = 60.0
"""A request that has not arrived by then is refused: slow senders may not hold memory for long."""


class Budget:
    """Bytes that all requests together may hold; one that is alone may hold more.

    Where they do not suffice, the request that holds most loses to one that holds less. Otherwise a few requests that
    never end would keep out all others.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = self._left = capacity
        self._leases: set[Lease] = set()
        """The leases that can be revoked."""
        self.preparing = asyncio.Semaphore(1)
        """Held while a large request is checked and split, which takes seconds of processor time."""

    def lease(self) -> "Lease":
        """Returns a share of the budget for one request, as a context manager."""
        return Lease(self)

    def open(self, lease: "Lease") -> None:
        """Makes a lease revocable."""
        self._leases.add(lease)

    def keep(self, lease: "Lease") -> None:
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
                raise Overloaded("The collector is receiving as much at one time as it may hold.")
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
    """The bytes that one request holds; they are returned when the block ends.

    Raises:
        Overloaded: at the end of the block: it took longer than `RECEIVE_SECONDS`, or the bytes went to others.
    """

    __slots__ = ("_budget", "_is_revoked", "_limit", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._limit = asyncio.timeout(RECEIVE_SECONDS)
        self._is_revoked = False
        self.held = 0

    def take(self, amount: int) -> None:
        """Takes a number of bytes; raises `Overloaded` as `Budget.take` does."""
        self._budget.take(self, amount)

    def revoke(self) -> None:
        """Ends the block at its next wait."""
        self._is_revoked = True
        self._limit.reschedule(asyncio.get_running_loop().time())

    def keep(self) -> None:
        """Removes the time limit, and lets no other request have these bytes: they cannot be freed now."""
        self._budget.keep(self)
        self._limit.reschedule(None)

    async def __aenter__(self) -> Self:
        self._budget.open(self)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            reason = "The collector is receiving as much at one time as it may hold."
            if not self._is_revoked:
                reason = f"The request did not arrive within {RECEIVE_SECONDS:.0f} s."
            raise Overloaded(reason) from timeout
