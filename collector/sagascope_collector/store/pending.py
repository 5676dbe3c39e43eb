"""Which sagas have facts newer than their summaries. Kept in memory; after a restart it is read from the journals."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from sagascope_collector.records import SagaId


class Since(NamedTuple):
    """From the first commit with facts that no summary has seen, to the last."""

    first: int
    last: int


class Pending:
    """Saga ids in the order in which they changed first. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[SagaId, Since] = {}
        self._claims: dict[SagaId, int] = {}

    def add(self, ids: Iterable[SagaId], seq: int) -> None:
        """These have facts of the commit `seq`, which is later than any added before."""
        with self._lock:
            for each in ids:
                known = self._since.get(each)
                self._since[each] = Since(known.first if known else seq, seq)

    def claim(self, limit: int) -> Sequence[SagaId]:
        """The first of them; `settle` settles what they had by now."""
        with self._lock:
            self._claims = {each: since.last for each, since in islice(self._since.items(), limit)}
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
                    self._since[each] = Since(claimed + 1, since.last)

    def seen(self, seq: int) -> int:
        """The commit up to which summaries have seen everything, `seq` being the last."""
        with self._lock:
            return min((since.first - 1 for since in islice(self._since.values(), 1)), default=seq)

    def all(self) -> Mapping[SagaId, Since]:
        """Everything that is pending."""
        with self._lock:
            return dict(self._since)
