"""Which sagas have facts newer than their summaries. Kept in memory; after a restart it is read from the journals."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import Changed


class Since(NamedTuple):
    """From the first commit with facts that no summary has seen, to the last; and when those came."""

    first: int
    last: int
    came_at: float
    first_at: float
    """Likewise, but of one that was postponed when that was."""
    last_at: float


class Pending:
    """Saga ids in the order in which they changed first. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[SagaId, Since] = {}
        self._claims: dict[SagaId, int] = {}

    def add(self, ids: Iterable[SagaId], seq: int) -> None:
        """These have facts of the commit `seq`, which is later than any added before."""
        now = self._clock()
        with self._lock:
            for each in ids:
                known = self._since.get(each)
                self._since[each] = (
                    Since(seq, seq, now, now, now) if known is None else known._replace(last=seq, last_at=now)
                )

    def waiting(self) -> Changed:
        """How many there are, and for how long they wait."""
        with self._lock:
            earliest = min((since.came_at for since in self._since.values()), default=None)
            return Changed(len(self._since), 0.0 if earliest is None else self._clock() - earliest)

    def claim(self, limit: int, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """The first of them that have been `quiet` for so long, or wait for `within` seconds or longer.

        `settle` settles what they had by now.
        """
        now = self._clock()
        with self._lock:
            ready = (
                (each, since.last)
                for each, since in self._since.items()
                if since.last_at <= now - quiet or since.first_at <= now - within
            )
            self._claims = dict(islice(ready, limit))
            return list(self._claims)

    def settle(self, ids: Iterable[SagaId]) -> None:
        """Summaries of these have seen what was claimed; what has come since goes to the end."""
        with self._lock:
            for each in ids:
                claimed, since = self._claims.pop(each, -1), self._since.get(each)
                if since is None or claimed < 0:
                    continue
                del self._since[each]
                if since.last > claimed:
                    self._since[each] = Since(claimed + 1, since.last, *[since.last_at] * 3)

    def postpone(self, ids: Iterable[SagaId]) -> None:
        """Let these come after all others."""
        now = self._clock()
        with self._lock:
            for each in ids:
                if since := self._since.pop(each, None):
                    self._since[each] = since._replace(first_at=now, last_at=now)

    def seen(self, seq: int) -> int:
        """The commit up to which summaries have seen everything, `seq` being the last."""
        with self._lock:
            return min((since.first - 1 for since in self._since.values()), default=seq)

    def all(self) -> Mapping[SagaId, Since]:
        """Everything that is pending."""
        with self._lock:
            return dict(self._since)
