"""A bounded queue of the records of one signal."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from sagascope._guard import Guard
from sagascope._sender import Answer, Fate, Sender
from sagascope._tally import Tally

T = TypeVar("T")

_ENCODING = Guard("encoding telemetry")

BATCH = 512
"""Records in one request."""


class Request(NamedTuple):
    """An encoded request, and how many records are in it."""

    records: int
    body: bytes


class Lane(Generic[T]):
    """What waits for sending, in memory. When it is full the newest are dropped, and counted.

    Any thread may `put`; one thread at a time takes out.
    """

    def __init__(self, name: str, encode: Callable[[Sequence[T]], bytes], size: int, tally: Tally) -> None:
        self.name = name
        self._encode = encode
        self._size = size
        self._tally = tally
        self._waiting: deque[T] = deque()
        self._in_hand: Request | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (self._in_hand.records if self._in_hand else 0)

    def put(self, record: T) -> bool:
        """Queue a record; False when there was no room."""
        if len(self._waiting) >= self._size:
            self._tally.lost_some(1, "the queue is full")
            return False
        self._waiting.append(record)
        return True

    def forget(self, tally: Tally) -> None:
        """Forget what waits, and count anew."""
        self._tally = tally
        self._waiting.clear()
        self._in_hand = None

    def send(self, sender: Sender) -> Answer | None:
        """Send what waits, batch by batch; None when all is sent, else the answer that says to try later."""
        while (request := self._in_hand or self._next()) is not None:
            self._in_hand = request
            answer = sender.post(f"/v1/{self.name}", request.body)
            if answer.fate is Fate.LATER:
                return answer
            self._in_hand = None
            settle(answer, request.records, self._tally)
        return None

    def spill(self, keep: Callable[[str, int, bytes], bool]) -> None:
        """Hand what waits to `keep` (lane, records, body), until it takes no more."""
        while (request := self._in_hand or self._next()) is not None:
            self._in_hand = request
            if not keep(self.name, *request):
                return
            self._in_hand = None

    def _next(self) -> Request | None:
        while batch := self._batch():
            request = self._encoded(batch)
            if request is not None:
                return request
        return None

    def _batch(self) -> list[T]:
        batch: list[T] = []
        while self._waiting and len(batch) < BATCH:
            batch.append(self._waiting.popleft())
        return batch

    def _encoded(self, batch: list[T]) -> Request | None:
        """The batch as a request. One record that cannot be encoded does not take the others with it."""
        try:
            return Request(len(batch), self._encode(batch))
        except Exception:  # noqa: BLE001 - each is tried again alone, and then reported
            for record in batch:
                with _ENCODING:
                    self._encode([record])
                    continue
                batch = [each for each in batch if each is not record]
                self._tally.lost_some(1, "a record could not be encoded")
        return Request(len(batch), self._encode(batch)) if batch else None


def settle(answer: Answer, records: int, tally: Tally) -> None:
    """Count the records of a request that was taken, or refused for good."""
    if answer.fate is Fate.REFUSED:
        tally.lost_some(records, answer.why)
        return
    rejected = min(records, answer.rejected)
    tally.sent_some(records - rejected)
    if rejected:
        tally.lost_some(rejected, answer.why)
