"""Queues ended spans and log records, bounded, and sends them to the collector from a background thread.

Also the thread and the backoff themselves, which `_in_flight` uses too.
"""

import random
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._delivery import PROCESS_ENDED, Counters, Delivery, Request, Result, Sender, Spool
from sagascope._encoder import Encoder, SagaSpan
from sagascope._errors import Guard

T = TypeVar("T")

BATCH_DELAY_SECONDS = 0.1
"""Time for which records are collected into one request. They must leave within 1 s."""

MAX_BATCH_RECORDS = 512
MAX_BACKOFF_SECONDS = 30.0

SPILL_INTERVAL_SECONDS = 0.5
"""Time between two moves of queued records to disk while the collector accepts nothing."""

_ENCODING = Guard("encoding telemetry")
_WORKING = Guard("working in the background")


# --- background threads ------------------------------------------------------------------------------

ERROR_PAUSE_SECONDS = 1.0
"""Pause after work that failed."""

INITIAL_BACKOFF_SECONDS = 0.5

JITTER = 0.5
"""Share of the backoff that is random, so that services do not retry at the same moment after an outage."""


class Pause(NamedTuple):
    """How long a background thread sleeps."""

    seconds: float | None
    """Maximum duration; None: until it is notified."""
    interruptible: bool
    """Whether new work ends the pause."""


class BackgroundThread(ABC):
    """One daemon thread. `notify` costs its caller an attribute lookup, unless the thread sleeps.

    Args:
        name: The name of the thread.
        delay: Seconds between a notification and work, so that records that arrive together are sent together.
    """

    def __init__(self, name: str, delay: float) -> None:
        self._delay = delay
        self._is_sleeping = False
        self._is_stopped = False
        self._notified = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _work(self) -> Pause:
        """Does what is to be done, and returns the pause until the next call."""

    @abstractmethod
    def _finish(self) -> None:
        """Is called once, at the end of the thread."""

    @abstractmethod
    def _is_idle(self) -> bool:
        """Returns whether there is no work."""

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        if self._is_sleeping:
            self._is_sleeping = False
            self._notified.set()

    def wake(self) -> None:
        """Ends the thread's pause, whatever its kind, so that it works now."""
        self._woken.set()
        self._notified.set()

    def stop(self) -> None:
        """Makes the thread send what is queued, and end."""
        self._is_stopped = True
        self.wake()

    def is_current(self) -> bool:
        """Returns whether this thread is the caller's."""
        return self._thread is threading.current_thread()

    def join(self, timeout: float) -> None:
        """Waits for the end of the thread, at most `timeout` seconds."""
        if self._thread.ident is not None and not self.is_current():
            self._thread.join(max(0.0, timeout))

    def _run(self) -> None:
        while True:
            self._woken.clear()  # before the check: `stop` sets both, in the other order
            if self._is_stopped:
                break
            pause = Pause(ERROR_PAUSE_SECONDS, interruptible=False)
            with _WORKING:
                pause = self._work()
            self._sleep(pause)
        with _WORKING:
            self._finish()

    def _sleep(self, pause: Pause) -> None:
        if not pause.interruptible:
            self._woken.wait(pause.seconds)
            return
        self._notified.clear()
        self._is_sleeping = True
        if self._woken.is_set():
            self._is_sleeping = False
            return
        # work that arrived before _is_sleeping was set did not notify the thread
        notified = not self._is_idle() or self._notified.wait(pause.seconds)
        self._is_sleeping = False
        if notified:
            self._woken.wait(self._delay)


class Backoff:
    """The time between two attempts while the collector accepts nothing; it doubles with each, up to a maximum."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._seconds = 0.0

    def next_seconds(self, requested: float | None = None) -> float:
        """Returns the seconds until the next attempt: as requested, within bounds, or a random part of the backoff."""
        self._seconds = min(self._max_seconds, max(INITIAL_BACKOFF_SECONDS, self._seconds * 2))
        if requested is not None:
            return min(self._max_seconds, max(INITIAL_BACKOFF_SECONDS, requested))
        return self._seconds * (1 - JITTER * random.random())  # noqa: S311 - no secret

    def reset(self) -> None:
        self._seconds = 0.0


# --- the queues ----------------------------------------------------------------------------------------


class Exporter(BackgroundThread):
    """The queues of ended spans and of log records, and the thread that sends them."""

    def __init__(
        self, encoder: Encoder, sender: Sender, counters: Counters, queue_size: int, spool: Spool | None
    ) -> None:
        super().__init__("sagascope-export", BATCH_DELAY_SECONDS)
        self._sender = sender
        self._counters = counters
        self._spool = spool
        self._spans: ExportQueue[ReadableSpan | SagaSpan] = ExportQueue(
            "traces", encoder.encode_spans, queue_size, counters
        )
        self._logs = ExportQueue("logs", encoder.encode_logs, queue_size, counters)
        self._queues: tuple[ExportQueue[Any], ...] = (self._spans, self._logs)
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)
        self._retry_at = 0.0
        self._flush_at = 0.0
        self._failed: Result | None = None

    def add_span(self, span: ReadableSpan | SagaSpan) -> None:
        if self._spans.add(span):
            self.notify()

    def add_log(self, record: ReadableLogRecord) -> None:
        if self._logs.add(record):
            self.notify()

    def queued(self) -> int:
        """Returns the number of records that are queued in memory."""
        return sum(len(queue) for queue in self._queues)

    def flush(self) -> Callable[[], bool]:
        """Makes the thread send what is queued without delay; returns a function that checks whether that is done.

        A failed request is repeated without backoff, but at most twice a second and not before the collector asked for.
        """
        targets = [queue.flush_target() for queue in self._queues]
        if self.queued():
            self._retry_at = min(self._retry_at, self._flush_at)
            self.wake()

        def is_done() -> bool:
            return not self.queued() or all(
                queue.settled >= target for queue, target in zip(self._queues, targets, strict=True)
            )

        return is_done

    def join(self, timeout: float) -> None:
        """Waits for the thread, at most `timeout` seconds. Unsent records are spooled, or dropped and counted."""
        super().join(timeout)
        self._spill()
        if unsent := self.queued():
            self._counters.count_dropped(unsent, PROCESS_ENDED)
            for queue in self._queues:
                queue.clear()
        self._counters.log_problems(0, at_end=True)

    def _is_idle(self) -> bool:
        return not self.queued()

    def _work(self) -> Pause:
        now = monotonic()
        if now >= self._retry_at:
            failed = self._send()
            if failed is None:
                self._backoff.reset()
                # with a spool it looks again without being notified: another process may have left files there
                return Pause(MAX_BACKOFF_SECONDS if self._spool else None, interruptible=True)
            self._counters.last_error = failed.reason
            failed_at = monotonic()
            self._retry_at = failed_at + self._backoff.next_seconds(failed.retry_after)
            self._flush_at = self._retry_at if failed.retry_after is not None else failed_at + INITIAL_BACKOFF_SECONDS
        self._spill()
        self._counters.log_problems(self.queued())
        return Pause(min(SPILL_INTERVAL_SECONDS, max(0.0, self._retry_at - monotonic())), interruptible=False)

    def _finish(self) -> None:
        self._send()
        self._spill()
        self._sender.close()

    def _send(self) -> Result | None:
        """Sends what is queued in memory, then what is on disk; returns the first result that asks to retry."""
        self._failed = None
        if self._send_queued() and self._spool is not None:
            self._spool.drain(self._post_spooled)
        return self._failed

    def _send_queued(self) -> bool:
        return all(queue.drain(self._post) for queue in self._queues)

    def _post(self, request: Request) -> bool:
        result = self._sender.post(request)
        if result.delivery is Delivery.RETRYABLE:
            self._failed = result
            return False
        self._counters.count_result(result, request.records)
        return True

    def _post_spooled(self, request: Request) -> bool:
        # what is queued goes first: a long spool must not delay it, nor let the queue overflow
        if not (self._send_queued() and self._post(request)):
            return False
        self._counters.count_spooled(-request.records)
        return True

    def _spill(self) -> None:
        """Moves queued records to disk if there is a spool: memory is for records that can be sent."""
        if self._spool is not None:
            for queue in self._queues:
                queue.drain(self._write_to_spool)

    def _write_to_spool(self, request: Request) -> bool:
        if self._spool is None or not self._spool.write(request):
            return False
        self._counters.count_spooled(request.records)
        return True


class ExportQueue(Generic[T]):
    """A bounded queue of the records of one signal. When it is full, the newest records are dropped and counted.

    Any thread may `add`; one thread at a time removes.
    """

    def __init__(self, signal: str, encode: Callable[[Sequence[T]], bytes], size: int, counters: Counters) -> None:
        self._signal = signal
        self._encode = encode
        self._size = size
        self._counters = counters
        self._records: deque[T] = deque()
        self._unsent: Request | None = None
        self._taken = 0
        """Records that were taken from the queue and are not delivered yet."""
        self.settled = 0
        """Records that left the queue so far: delivered, or dropped and counted."""

    def __len__(self) -> int:
        return len(self._records) + self._taken

    def add(self, record: T) -> bool:
        """Queues a record; returns False if the queue is full."""
        if len(self._records) >= self._size:  # without a lock: threads that add at once may exceed it by one each
            self._counters.count_dropped(1, "the queue is full")
            return False
        self._records.append(record)
        return True

    def flush_target(self) -> int:
        """Returns the value of `settled` by which every record that is queued now has left the queue."""
        queued = len(self)  # read first: a batch that is delivered meanwhile is counted twice, and never missed
        return queued + self.settled

    def clear(self) -> None:
        self._records.clear()
        self._settle()

    def drain(self, deliver: Callable[[Request], bool]) -> bool:
        """Passes all records in batches to `deliver`, until it returns False; returns True if none is left."""
        while (request := self._unsent or self._next()) is not None:
            self._unsent = request
            if not deliver(request):
                return False
            self._settle()
        return True

    def _settle(self) -> None:
        self.settled += self._taken
        self._unsent, self._taken = None, 0

    def _next(self) -> Request | None:
        while self._records:
            # counted before they leave the deque: `flush` must not see fewer records than there are
            taken = self._taken = min(len(self._records), MAX_BATCH_RECORDS)
            request = self._encoded([self._records.popleft() for _ in range(taken)])
            left = request.records if request is not None else 0
            self.settled += taken - left
            self._taken = left
            if request is not None:
                return request
        return None

    def _encoded(self, batch: list[T]) -> Request | None:
        """Encodes a batch. A record that cannot be encoded is dropped and counted; the others are sent."""
        try:
            return Request(self._signal, len(batch), self._encode(batch))
        except Exception:  # noqa: BLE001 - each record is tried alone, and its error reported
            for record in batch:
                with _ENCODING:
                    self._encode([record])
                    continue
                batch = [each for each in batch if each is not record]
                self._counters.count_dropped(1, "a record could not be encoded")
        return Request(self._signal, len(batch), self._encode(batch)) if batch else None
