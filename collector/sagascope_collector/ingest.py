"""A bounded queue of requests as they were received, and the one thread that decodes, stores and answers them.

Many requests become one commit. Nobody is answered before the commit that holds his records.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sagascope_collector.errors import Overloaded, SagascopeError, StoreUnavailable
from sagascope_collector.store.contract import Batch, Store

_log: Final = logging.getLogger(__name__)


class Signal(StrEnum):
    """What a request carries."""

    TRACES = "traces"
    LOGS = "logs"


class Encoding(StrEnum):
    """How a request is written."""

    PROTOBUF = "protobuf"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Payload:
    """One export request: decompressed, not decoded."""

    signal: Signal
    encoding: Encoding
    body: bytes
    received_at: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender is told after the commit: records refused, and why."""

    rejected: int = 0
    message: str = ""


Outcome = Receipt | SagascopeError


@dataclass(frozen=True, slots=True)
class Decoded:
    """Requests decoded together: one batch of all that is sound, and what to answer each, in their order."""

    batch: Batch
    outcomes: Sequence[Outcome]

    @property
    def rejected(self) -> int:
        """Records refused in requests that were decodable."""
        return sum(each.rejected for each in self.outcomes if isinstance(each, Receipt))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how much is committed at once."""

    requests: int = 10_000
    bytes: int = 256 * 1024 * 1024
    group_bytes: int = 4 * 1024 * 1024
    """A commit takes requests until it holds this much; a larger one goes alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    payload: Payload
    answer: asyncio.Future[Receipt]


class Ingest:
    """Takes requests from event loops, and stores them from a thread of its own."""

    def __init__(
        self, store: Store, decode: Callable[[Sequence[Payload]], Decoded], *, limits: Limits = Limits()
    ) -> None:
        """`decode` never raises for what was received: it answers each request with a receipt or an error."""
        self._store = store
        self._decode = decode
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sagascope-writer", daemon=True)

    def start(self) -> None:
        """Begin to store."""
        self._thread.start()

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Queue a request; the future holds its receipt once it is on disk, or the error that its sender is told.

        Raises:
            Overloaded: the queue is full, or closing; nothing was kept.
        """
        waiting = _Waiting(payload, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._closing:
                raise Overloaded("The collector is stopping.")
            if not self._has_room(payload):
                raise Overloaded("The collector has as much waiting as it may hold.")
            self._queue.append(waiting)
            self._bytes += len(payload.body)
            self._changed.notify()
        return waiting.answer

    def oldest(self) -> int | None:
        """When the request that waits longest was received; None: nothing waits."""
        with self._changed:
            return self._queue[0].payload.received_at if self._queue else None

    def is_alive(self) -> bool:
        """Whether anything is stored at all."""
        return self._thread.is_alive()

    def close(self, timeout: float) -> bool:
        """Take nothing more, store what waits, and stop; False if that took longer than `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _has_room(self, payload: Payload) -> bool:
        """An empty queue takes anything, so that no single request is refused for ever."""
        if not self._queue:
            return True
        return len(self._queue) < self._limits.requests and self._bytes + len(payload.body) <= self._limits.bytes

    def _run(self) -> None:
        while group := self._next_group():
            _answer(group, self._stored(group))

    def _next_group(self) -> list[_Waiting]:
        """Wait for requests, and take as many as one commit may hold; empty: it is over."""
        group: list[_Waiting] = []
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            taken = 0
            while self._queue and (not group or taken + len(self._queue[0].payload.body) <= self._limits.group_bytes):
                group.append(self._queue.popleft())
                taken += len(group[-1].payload.body)
            self._bytes -= taken
        return group

    def _stored(self, group: Sequence[_Waiting]) -> Sequence[Outcome]:
        try:
            decoded = self._decode([each.payload for each in group])
            self._store.append(decoded.batch, rejected=decoded.rejected)
        except SagascopeError as error:
            return [error] * len(group)
        except Exception:  # noqa: BLE001  # the writer must outlive any fault of ours
            _log.exception("A group of %d requests could not be stored.", len(group))
            return [StoreUnavailable("The collector failed to store this.")] * len(group)
        return decoded.outcomes


def _answer(group: Iterable[_Waiting], outcomes: Iterable[Outcome]) -> None:
    """Tell every sender, with one call to each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipt], Outcome]]] = {}
    for waiting, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(waiting.answer.get_loop(), []).append((waiting.answer, outcome))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:  # the loop is closed: nobody waits
            continue


def _settle(answers: Iterable[tuple[asyncio.Future[Receipt], Outcome]]) -> None:
    for future, outcome in answers:
        if future.done():  # the sender has gone
            continue
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
