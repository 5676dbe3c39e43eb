"""Chooses what is to be removed: of sagas that ended and need nobody the oldest, when they are too old or too many."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import Keep
from sagascope_collector.store.database import Database
from sagascope_collector.store.resting import AFTER, Resting
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers

_log = logging.getLogger(__name__)

SECOND: Final = 1_000_000_000

AT_ONCE: int = 100_000
"""Sagas that are removed together: a chunk that holds others too is written anew each time."""

EVERY: float = 60.0
"""Seconds between two looks when nothing is over."""

ENOUGH: Final = 0.95
"""Part of the room allowed that may be taken after it was exceeded."""

Remove = Callable[[Sequence[SagaId], int], int]
"""Takes out sagas, but for those that were heard of just now; how many. Records in no saga may go with them where a
chunk is all from before a time."""


@dataclass(slots=True)
class _Room:
    """How the work to get below the size allowed stands."""

    is_exceeded: bool = False
    searched: int = 0
    """Before this moment nothing is left that may be removed."""


class Retention:
    """Looks for what is over. One thread at a time."""

    def __init__(self, keep: Keep, database: Database, tiers: Tiers, resting: Resting, remove: Remove) -> None:
        self._keep = keep
        self._database = database
        self._tiers = tiers
        self._resting = resting
        self._remove = remove
        self._next = 0.0
        self._room = _Room()

    def step(self, now: int) -> bool:
        """Remove a part of what is over; False: nothing is, or that was seen just now.

        Raises:
            StoreUnavailable: it is still to be done.
        """
        if self._keep == Keep() or time.monotonic() < self._next:
            return False
        if self._part(self._too_old(now)) or self._free(now):
            return True
        self._next = time.monotonic() + EVERY
        return False

    def _too_old(self, now: int) -> int:
        """The moment before which what was heard last is too old."""
        return 0 if self._keep.seconds is None else now - max(round(self._keep.seconds * SECOND), AFTER)

    def _free(self, now: int) -> bool:
        """Remove a part of what is too much; False: there is nothing that may be removed, or need be."""
        excess = self._excess()
        if excess <= 0:
            self._room = _Room()
            return False
        self._room.is_exceeded = True
        horizon = min(self._of_oldest(excess), now - AFTER)
        if self._part(horizon):
            return True
        if horizon > self._room.searched and horizon < now - AFTER:
            self._room.searched = horizon
            return True
        _log.warning("The store takes %.0f MB more than it may: what is left is young, or needs someone.", excess / 1e6)
        self._room.searched = 0
        return False

    def _excess(self) -> float:
        """Bytes that are to be freed."""
        if self._keep.bytes is None:
            return 0.0
        return self._tiers.size_bytes() - self._keep.bytes * (ENOUGH if self._room.is_exceeded else 1.0)

    def _of_oldest(self, excess: float) -> int:
        """The moment before which lie the oldest chunks that have so many bytes."""
        horizon = self._room.searched
        for each in sorted(self._tiers.view.chunks, key=lambda each: each.entry.latest):
            if excess <= 0:
                break
            if each.entry.latest >= self._room.searched:
                excess, horizon = excess - each.entry.bytes, each.entry.latest + 1
        return horizon

    def _part(self, before: int) -> bool:
        """Remove some sagas of which nothing was heard since; False: there are none."""
        if before <= 0:
            return False
        ids = self._resting.over(before, AT_ONCE)
        if not ids:
            values = {"before": before, "limit": AT_ONCE}
            ids = [SagaId(*row) for row in self._database.rows(Query.SELECT_RESTING, values)]
        return self._remove(ids, before) > 0
