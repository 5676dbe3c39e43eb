"""Queues ended spans and log records, bounded, and sends them to the collector from a background thread."""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._delivery import PROCESS_ENDED, Counters, Delivery, Request, Result, Sender, Spool
from sagascope._encoder import Encoder
from sagascope._guard import Guard
from sagascope._worker import Backoff, Pause, Worker

T = TypeVar("T")

BATCH_DELAY_SECONDS = 0.1
"""Time for which records are collected into one request. They must leave within 1 s."""

MAX_BATCH_RECORDS = 512
MAX_BACKOFF_SECONDS = 30.0

SPILL_INTERVAL_SECONDS = 0.5
"""Time between two moves of queued records to disk while the collector accepts nothing."""

_ENCODING = Guard("encoding telemetry")


class Exporter:
    """The queues of ended spans and of log records, and the thread that sends them."""

    def __init__(
        self, encoder: Encoder, sender: Sender, counters: Counters, queue_size: int, spool: Spool | None
    ) -> None:
        self._sender = sender
        self._counters = counters
        self._spool = spool
        self._spans: ExportQueue[ReadableSpan] = ExportQueue("traces", encoder.encode_spans, queue_size, counters)
        self._logs: ExportQueue[ReadableLogRecord] = ExportQueue("logs", encoder.encode_logs, queue_size, counters)
        self._queues: tuple[ExportQueue[Any], ...] = (self._spans, self._logs)
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)
        self._retry_at = 0.0
        self._failed: Result | None = None
        self._worker = Worker("sagascope-export", self._work, self._finish, self._is_idle, BATCH_DELAY_SECONDS)

    def start(self) -> None:
        self._worker.start()

    def add_span(self, span: ReadableSpan) -> None:
        if self._spans.add(span):
            self._worker.notify()

    def add_log(self, record: ReadableLogRecord) -> None:
        if self._logs.add(record):
            self._worker.notify()

    def queued(self) -> int:
        """Returns the number of records that are queued in memory."""
        return sum(len(queue) for queue in self._queues)

    def stop(self) -> None:
        """Makes the thread send what is queued, and end."""
        self._worker.stop()

    def join(self, timeout: float) -> None:
        """Waits for the thread, at most `timeout` seconds. Unsent records are spooled, or dropped and counted."""
        self._worker.join(timeout)
        self._spill()
        if unsent := self.queued():
            self._counters.count_dropped(unsent, PROCESS_ENDED)
            for queue in self._queues:
                queue.clear()
        self._counters.log_problems(0)

    def _is_idle(self) -> bool:
        return not self.queued()

    def _work(self) -> Pause:
        now = monotonic()
        if now >= self._retry_at:
            failed = self._send()
            if failed is None:
                self._backoff.reset()
                return Pause(MAX_BACKOFF_SECONDS if self._spool else None, interruptible=True)
            self._counters.last_error = failed.reason
            self._retry_at = now + self._backoff.next_seconds(failed.retry_after)
        self._spill()
        self._counters.log_problems(self.queued())
        return Pause(min(SPILL_INTERVAL_SECONDS, max(0.0, self._retry_at - now)), interruptible=False)

    def _finish(self) -> None:
        self._send()
        self._spill()
        self._sender.close()

    def _send(self) -> Result | None:
        """Sends what is queued in memory, then what is on disk; returns the first result that asks to retry."""
        self._failed = None
        if all(queue.drain(self._post) for queue in self._queues) and self._spool is not None:
            self._spool.drain(self._post_spooled)
        return self._failed

    def _post(self, request: Request) -> bool:
        result = self._sender.post(request)
        if result.delivery is Delivery.RETRYABLE:
            self._failed = result
            return False
        self._counters.count_result(result, request.records)
        return True

    def _post_spooled(self, request: Request) -> bool:
        if not self._post(request):
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

    def __len__(self) -> int:
        return len(self._records) + self._taken

    def add(self, record: T) -> bool:
        """Queues a record; returns False if the queue is full."""
        if len(self._records) >= self._size:
            self._counters.count_dropped(1, "the queue is full")
            return False
        self._records.append(record)
        return True

    def clear(self) -> None:
        self._records.clear()
        self._unsent, self._taken = None, 0

    def drain(self, deliver: Callable[[Request], bool]) -> bool:
        """Passes all records in batches to `deliver`, until it returns False; returns True if none is left."""
        while (request := self._unsent or self._next()) is not None:
            self._unsent = request
            if not deliver(request):
                return False
            self._unsent, self._taken = None, 0
        return True

    def _next(self) -> Request | None:
        while self._records:
            self._taken = min(len(self._records), MAX_BATCH_RECORDS)
            request = self._encoded([self._records.popleft() for _ in range(self._taken)])
            self._taken = request.records if request is not None else 0
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
