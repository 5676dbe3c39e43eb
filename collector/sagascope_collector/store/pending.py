"""Which sagas have facts newer than their summaries. Kept in memory; after a restart it is read from the journals."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, takewhile
from typing import NamedTuple

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import Changed


class Since(NamedTuple):
    """From the first commit with facts that no summary has seen, to the last; and when those came."""

    first: int
    last: int
    first_at: float
    """Of one that was postponed: when that was."""
    last_at: float


class Pending:
    """Saga ids in the order in which they changed first. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[SagaId, Since] = {}
        self._commits = _Commits()
        self._claims: dict[SagaId, int] = {}

    def add(self, ids: Iterable[SagaId], seq: int) -> None:
        """These have facts of the commit `seq`, which is later than any added before."""
        now = self._clock()
        with self._lock:
            for each in ids:
                known = self._since.get(each)
                if known is None:
                    self._commits.add(seq, now)
                    known = Since(seq, seq, now, now)
                self._since[each] = known._replace(last=seq, last_at=now)

    def waiting(self) -> Changed:
        """How many there are, and for how long they wait."""
        with self._lock:
            earliest = self._commits.first()
            return Changed(len(self._since), 0.0 if earliest is None else self._clock() - earliest[1])

    def claim(self, limit: int, quiet: float = 0.0, within: float = 0.0) -> Sequence[SagaId]:
        """The first of them that have been `quiet` for so long, or wait for `within` seconds or longer.

        `settle` settles what they had by now.
        """
        now = self._clock()
        with self._lock:
            # those that came later than that are not quiet either
            old = takewhile(lambda item: item[1].first_at <= now - quiet, self._since.items())
            ready = (
                (each, since.last)
                for each, since in old
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
                self._commits.remove(since.first)
                if since.last > claimed:
                    self._commits.add(claimed + 1, since.last_at)
                    self._since[each] = Since(claimed + 1, since.last, since.last_at, since.last_at)

    def postpone(self, ids: Iterable[SagaId]) -> None:
        """Let these come after all others."""
        now = self._clock()
        with self._lock:
            for each in ids:
                if since := self._since.pop(each, None):
                    self._since[each] = since._replace(first_at=now, last_at=now)

    def drop(self, ids: Iterable[SagaId]) -> None:
        """Let these not be pending any more; what was claimed of them is settled, too."""
        with self._lock:
            for each in ids:
                self._claims.pop(each, None)
                if since := self._since.pop(each, None):
                    self._commits.remove(since.first)

    def holds(self, saga: SagaId) -> bool:
        """Whether it is among them."""
        with self._lock:
            return saga in self._since

    def seen(self, seq: int) -> int:
        """The commit up to which summaries have seen everything, `seq` being the last."""
        with self._lock:
            earliest = self._commits.first()
            return seq if earliest is None else earliest[0] - 1

    def all(self) -> Mapping[SagaId, Since]:
        """Everything that is pending."""
        with self._lock:
            return dict(self._since)


class _Commits:
    """How many sagas are pending since each commit: few numbers, however many sagas."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, float]] = {}

    def add(self, seq: int, at: float) -> None:
        count, since = self._counts.get(seq, (0, at))
        self._counts[seq] = count + 1, since

    def remove(self, seq: int) -> None:
        count, since = self._counts.pop(seq)
        if count > 1:
            self._counts[seq] = count - 1, since

    def first(self) -> tuple[int, float] | None:
        """The first of them, and when it came."""
        seq = min(self._counts, default=None)
        return None if seq is None else (seq, self._counts[seq][1])
