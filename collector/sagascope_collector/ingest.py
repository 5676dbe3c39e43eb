"""The bounded ingest queue, and the one thread that decodes, stores and answers requests.

Many requests become one commit. A request is answered after the commit that holds its records.
"""

import asyncio
import logging
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from sagascope_collector.errors import Overloaded, SagascopeError, StorageUnavailable
from sagascope_collector.storage import Batch

QUEUE_FULL: Final = "The ingest queue is full."

_log: Final = logging.getLogger(__name__)


class Signal(StrEnum):
    """The signal that a request carries."""

    TRACES = "traces"
    LOGS = "logs"


class Encoding(StrEnum):
    """The encoding of a request."""

    PROTOBUF = "protobuf"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Payload:
    """One export request, decompressed and not decoded."""

    signal: Signal
    encoding: Encoding
    body: bytes
    received_at: int
    sender: str = ""
    """A host, or a connection from this machine; the senders share the queue fairly."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer after the commit: the number of rejected records, and why."""

    rejected: int = 0
    message: str = ""


Outcome = Receipt | SagascopeError


class PayloadSink(Protocol):
    """Accepts requests from a receiver."""

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Accepts a request; the future holds its receipt, or the error to answer.

        Raises:
            Overloaded: the queue has no room for it now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Decoded:
    """Requests that were decoded together: one batch of their valid records, and the outcome of each, in order."""

    batch: Batch
    outcomes: Sequence[Outcome]

    @property
    def rejected(self) -> int:
        """The number of rejected records in requests that were decoded."""
        return sum(each.rejected for each in self.outcomes if isinstance(each, Receipt))


REQUEST_OVERHEAD_BYTES: Final = 16 * 1024
"""Memory of a waiting request and its connection, beside the body. It bounds the number of requests."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the queue and of one commit."""

    queue_bytes: int = 256 * 1024 * 1024
    """Bytes that may wait; each request counts `REQUEST_OVERHEAD_BYTES` more than its body."""
    group_bytes: int = 4 * 1024 * 1024
    """A commit takes requests until it has this many bytes."""
    interval_seconds: float = 0.1
    """Time between the starts of two commits, so that one contains many requests: a commit costs milliseconds, whatever
    its size. The writer does not wait once all senders that the last commit answered have sent again: they send no more
    before they are answered."""
    enough_bytes: int = 1024 * 1024
    """Bytes that are committed at once."""
    is_interval_minimal: bool = False
    """Whether the writer always waits for the interval or enough bytes, because a commit is expensive."""


LAKE_LIMITS: Final = Limits(
    interval_seconds=1.0, group_bytes=16 * 1024 * 1024, enough_bytes=8 * 1024 * 1024, is_interval_minimal=True
)
"""The bounds if a commit writes files: about one commit a second, of about 20,000 records."""


class RecordSink(Protocol):
    """Stores batches."""

    def append(self, batch: Batch, *, rejected: int = 0) -> object:
        """Stores a batch, completely or not at all. It is on disk when this returns.

        Raises:
            StorageUnavailable: the same batch may be appended again.
        """
        ...


@dataclass(frozen=True, slots=True)
class _QueuedRequest:
    payload: Payload
    answer: asyncio.Future[Receipt]


class Ingest:
    """Accepts requests from event loops, and stores them from its own thread."""

    def __init__(
        self,
        records: RecordSink,
        decode: Callable[[Sequence[Payload]], Decoded],
        *,
        limits: Limits = Limits(),
        refused: Callable[[], None] = lambda: None,
        committed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Stores what `decode` returns for requests.

        Args:
            records: stores the batches.
            decode: decodes requests together; it returns a receipt or an error for each, and raises nothing.
            limits: the bounds of the queue.
            refused: called when a request is refused because of overload.
            committed: called with the seconds that each commit took.
        """
        self._records = records
        self._decode = decode
        self._limits = limits
        self._refused = refused
        self._committed = committed
        self._queue: FairQueue[_QueuedRequest] = FairQueue(limits.queue_bytes)
        self._changed = threading.Condition()
        self._closing = False
        self._storing: int | None = None
        """The time of receipt of the oldest request that is being stored; None: none is."""
        self._last_begun = -math.inf
        self._awaited: Counter[str] = Counter()
        """The senders that the last commit answered and that have not sent again, with their numbers of requests."""
        self._thread = threading.Thread(target=self._run, name="sagascope-writer", daemon=True)

    def start(self) -> None:
        """Starts the writer thread."""
        self._thread.start()

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Queues a request; the future holds its receipt once it is on disk, or the error to answer.

        Raises:
            Overloaded: the queue is full or closing; nothing was kept. The future may raise it later too, when the
                room goes to senders that use less of it.
        """
        waiting = _QueuedRequest(payload, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._closing:
                raise Overloaded("The collector is stopping.")
            taken, dropped = self._queue.offer(waiting, payload.sender, len(payload.body) + REQUEST_OVERHEAD_BYTES)
            self._sender_returned(payload.sender)
            if self._queue.length == 1 or self._should_commit():  # otherwise the writer waits for the interval
                self._changed.notify()
        if dropped or not taken:
            self._refused()
        _answer(dropped, [Overloaded(QUEUE_FULL)] * len(dropped))
        if not taken:
            raise Overloaded(QUEUE_FULL)
        return waiting.answer

    def oldest(self) -> int | None:
        """Returns the time of receipt of the oldest unanswered request; None: all are answered."""
        with self._changed:
            waiting = [each.payload.received_at for each in self._queue.peek()]
            return min(waiting if self._storing is None else [self._storing, *waiting], default=None)

    def waiting(self) -> tuple[int, int]:
        """Returns the number of waiting requests, and their bytes."""
        with self._changed:
            return self._queue.length, self._queue.cost

    def is_alive(self) -> bool:
        """Returns whether the writer thread runs."""
        return self._thread.is_alive()

    def close(self, timeout: float) -> bool:
        """Accepts nothing more, stores what waits, and stops; returns False after `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while group := self._next_group():
            outcomes = self._stored(group)
            with self._changed:
                self._storing = None
            _answer(group, outcomes)

    def _next_group(self) -> list[_QueuedRequest]:
        """Waits for requests, and returns as many as one commit may hold; none at the end."""
        group: list[_QueuedRequest] = []
        with self._changed:
            self._changed.wait_for(lambda: self._queue.length or self._closing)
            next_begins = self._last_begun + self._limits.interval_seconds
            self._changed.wait_for(self._should_commit, next_begins - time.monotonic())
            self._last_begun, taken = time.monotonic(), 0
            while taken < self._limits.group_bytes and (item := self._queue.take()):
                group.append(item.content)
                taken += len(item.content.payload.body)
            self._awaited = Counter(each.payload.sender for each in group)
            self._storing = min((each.payload.received_at for each in group), default=None)
        return group

    def _sender_returned(self, sender: str) -> None:
        self._awaited[sender] -= 1
        if self._awaited[sender] <= 0:
            del self._awaited[sender]

    def _should_commit(self) -> bool:
        """Returns whether a commit need not wait for more requests."""
        waiting = self._queue.cost - self._queue.length * REQUEST_OVERHEAD_BYTES
        is_waiting_useless = not (self._awaited or self._limits.is_interval_minimal)
        return self._closing or is_waiting_useless or waiting >= self._limits.enough_bytes

    def _stored(self, group: Sequence[_QueuedRequest]) -> Sequence[Outcome]:
        try:
            decoded = self._decode([each.payload for each in group])
            begun = time.perf_counter()
            self._records.append(decoded.batch, rejected=decoded.rejected)
            self._committed(time.perf_counter() - begun)
        except SagascopeError as error:
            self._refused()
            return [error] * len(group)
        except Exception:  # noqa: BLE001  # the writer must outlive any fault of ours
            _log.exception("A group of %d requests could not be stored.", len(group))
            self._refused()
            return [StorageUnavailable("The collector failed to store this.")] * len(group)
        return decoded.outcomes


def _answer(group: Iterable[_QueuedRequest], outcomes: Iterable[Outcome]) -> None:
    """Answers requests, with one call to each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipt], Outcome]]] = {}
    for waiting, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(waiting.answer.get_loop(), []).append((waiting.answer, outcome))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:  # the loop is closed: no caller waits
            continue


def _settle(answers: Iterable[tuple[asyncio.Future[Receipt], Outcome]]) -> None:
    for future, outcome in answers:
        if future.done():  # the sender has gone
            continue
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


T = TypeVar("T")


class Item(NamedTuple, Generic[T]):
    """A waiting item, and its cost."""

    content: T
    cost: int


class Offered(NamedTuple, Generic[T]):
    """Whether an item was queued, and the items that were removed for it."""

    taken: bool
    dropped: list[T]


@dataclass(slots=True)
class _SenderQueue(Generic[T]):
    items: deque[Item[T]] = field(default_factory=deque)
    cost: int = 0


class FairQueue(Generic[T]):
    """A queue for each sender, served round robin. Not safe for concurrent threads.

    When it is full, the longest queue loses its newest items to a sender whose queue stays shorter: longest queue drop,
    as in routers.
    """

    def __init__(self, capacity: int) -> None:
        """Creates a queue; `capacity` bounds the sum of all costs."""
        self._capacity = capacity
        self._queues: OrderedDict[str, _SenderQueue[T]] = OrderedDict()
        self.cost = 0
        """The sum of the costs of all items."""
        self.length = 0
        """The number of items."""

    def offer(self, content: T, sender: str, cost: int) -> Offered[T]:
        """Queues an item if there is room, or room can be made. If no item waits, one of any size is accepted."""
        dropped: list[T] = []
        while self.length and self.cost + cost > self._capacity:
            longest = max(self._queues, key=lambda each: self._queues[each].cost)
            held = self._queues[sender].cost if sender in self._queues else 0
            if self._queues[longest].cost <= held + cost:
                return Offered(False, dropped)
            dropped.append(self._drop_newest(longest))
        self._put(content, sender, cost)
        return Offered(True, dropped)

    def take(self) -> Item[T] | None:
        """Returns the next item; None if there is none."""
        if not self._queues:
            return None
        sender, queue = self._queues.popitem(last=False)
        item = queue.items.popleft()
        self._account(queue, -item.cost, -1)
        if queue.items:
            self._queues[sender] = queue  # at the end: the next turn is another sender's
        return item

    def peek(self) -> list[T]:
        """Returns the oldest item of each sender."""
        return [queue.items[0].content for queue in self._queues.values()]

    def _put(self, content: T, sender: str, cost: int) -> None:
        queue = self._queues.setdefault(sender, _SenderQueue())
        queue.items.append(Item(content, cost))
        self._account(queue, cost, 1)

    def _drop_newest(self, sender: str) -> T:
        queue = self._queues[sender]
        item = queue.items.pop()
        self._account(queue, -item.cost, -1)
        if not queue.items:
            del self._queues[sender]
        return item.content

    def _account(self, queue: _SenderQueue[T], cost: int, items: int) -> None:
        queue.cost += cost
        self.cost += cost
        self.length += items
