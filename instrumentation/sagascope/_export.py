"""Queues ended spans and log records, bounded, until a background thread has sent them."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._encoder import Encoder
from sagascope._guard import Guard
from sagascope._sender import Delivery, Result, Sender
from sagascope._spool import Spool
from sagascope._stats import PROCESS_ENDED, Counters
from sagascope._worker import Pause, Worker

T = TypeVar("T")

BATCH_DELAY_SECONDS = 0.1
"""Time for which records are collected into one request. They must leave within 1 s."""

MAX_BATCH_RECORDS = 512

INITIAL_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
"""Bounds of the time between two attempts while the collector accepts nothing; it doubles with each attempt."""

JITTER = 0.5
"""Share of the backoff that is random, so that services do not retry at the same moment after an outage."""

SPILL_INTERVAL_SECONDS = 0.5
"""Time between two moves of queued records to disk while the collector accepts nothing."""

_ENCODING = Guard("encoding telemetry")


class Exporter:
    """The queues of ended spans and of log records, and the thread that sends them."""

    def __init__(
        self, encoder: Callable[[], Encoder], sender: Sender, counters: Counters, queue_size: int, spool: Spool | None
    ) -> None:
        self._sender = sender
        self._spans: ExportQueue[ReadableSpan] = ExportQueue(
            "traces", lambda batch: encoder().encode_spans(batch), queue_size, counters
        )
        self._logs: ExportQueue[ReadableLogRecord] = ExportQueue(
            "logs", lambda batch: encoder().encode_logs(batch), queue_size, counters
        )
        self._queues: tuple[ExportQueue[Any], ...] = (self._spans, self._logs)
        self._counters = counters
        self._spool = spool
        self._backoff = 0.0
        self._retry_at = 0.0
        self._worker = Worker("sagascope-export", self._work, self._finish, self._is_idle, BATCH_DELAY_SECONDS)

    def start(self) -> None:
        """Starts sending."""
        self._worker.start()

    def add_span(self, span: ReadableSpan) -> None:
        """Queues an ended span."""
        if self._spans.add(span):
            self._worker.wake()

    def add_log(self, record: ReadableLogRecord) -> None:
        """Queues a log record."""
        if self._logs.add(record):
            self._worker.wake()

    def queued(self) -> int:
        """Returns the number of records that are queued in memory."""
        return sum(len(queue) for queue in self._queues)

    def reset_after_fork(self, counters: Counters, spool: Spool | None) -> None:
        """Starts again in a forked child; the parent sends what was queued before."""
        self._counters, self._spool = counters, spool
        for queue in self._queues:
            queue.clear(counters)
        self._backoff = self._retry_at = 0.0
        self._sender.reset_after_fork()
        self._worker.reset_after_fork()
        self._worker.start()

    def stop(self) -> None:
        """Makes the thread send what is queued, and end."""
        self._worker.stop()

    def join(self, timeout: float) -> None:
        """Waits for the thread, at most `timeout` seconds. Unsent records are spooled, or dropped and counted."""
        self._worker.join(timeout)
        self._spill()
        unsent = self.queued()
        if unsent:
            self._counters.count_dropped(unsent, PROCESS_ENDED)
            for queue in self._queues:
                queue.clear(self._counters)
        self._counters.log_problems(0)

    def _is_idle(self) -> bool:
        return not self.queued()

    def _work(self) -> Pause:
        now = monotonic()
        if now >= self._retry_at:
            failed = self._send()
            if failed is None:
                self._backoff = 0.0
                return Pause(MAX_BACKOFF_SECONDS if self._spool else None, wakeable=True)
            self._retry_at = now + self._retry_delay(failed)
        self._spill()
        self._counters.log_problems(self.queued())
        return Pause(min(SPILL_INTERVAL_SECONDS, max(0.0, self._retry_at - now)), wakeable=False)

    def _finish(self) -> None:
        self._send()
        self._spill()
        self._sender.close()

    def _send(self) -> Result | None:
        """Sends what is queued in memory, then what is on disk; returns the first result that asks to retry."""
        for queue in self._queues:
            failed = queue.send(self._sender)
            if failed is not None:
                return failed
        retryable: list[Result] = []
        if self._spool is not None:
            self._spool.send(lambda signal, records, body: self._send_spooled(signal, records, body, retryable))
        return next(iter(retryable), None)

    def _send_spooled(self, signal: str, records: int, body: bytes, retryable: list[Result]) -> bool:
        result = self._sender.post(f"/v1/{signal}", body)
        if result.delivery is Delivery.RETRYABLE:
            retryable.append(result)
            return False
        self._counters.count_spooled(-records)
        count_result(result, records, self._counters)
        return True

    def _spill(self) -> None:
        """Moves queued records to disk if there is a spool: memory is for records that can be sent."""
        if self._spool is not None:
            for queue in self._queues:
                queue.spill(self._write_to_spool)

    def _write_to_spool(self, signal: str, records: int, body: bytes) -> bool:
        written = self._spool is not None and self._spool.write(signal, records, body)
        if written:
            self._counters.count_spooled(records)
        return written

    def _retry_delay(self, failed: Result) -> float:
        """Returns the seconds until the next attempt: as the server asked, else exponential with jitter."""
        self._counters.record_error(failed.reason)
        self._backoff = min(MAX_BACKOFF_SECONDS, max(INITIAL_BACKOFF_SECONDS, self._backoff * 2))
        if failed.retry_after is not None:
            return min(MAX_BACKOFF_SECONDS, max(INITIAL_BACKOFF_SECONDS, failed.retry_after))
        return self._backoff * (1 - JITTER * random.random())  # noqa: S311 - no secret


class EncodedRequest(NamedTuple):
    """An encoded request and the number of its records."""

    records: int
    body: bytes


class ExportQueue(Generic[T]):
    """A bounded queue of the records of one signal. When it is full, the newest records are dropped and counted.

    Any thread may `add`; one thread at a time removes.
    """

    def __init__(self, signal: str, encode: Callable[[Sequence[T]], bytes], size: int, counters: Counters) -> None:
        self.signal = signal
        """``traces`` or ``logs``, as in OTLP's paths."""
        self._encode = encode
        self._size = size
        self._counters = counters
        self._records: deque[T] = deque()
        self._unsent: EncodedRequest | None = None

    def __len__(self) -> int:
        return len(self._records) + (self._unsent.records if self._unsent else 0)

    def add(self, record: T) -> bool:
        """Queues a record; returns False if the queue is full."""
        if len(self._records) >= self._size:
            self._counters.count_dropped(1, "the queue is full")
            return False
        self._records.append(record)
        return True

    def clear(self, counters: Counters) -> None:
        """Removes all records, and counts with `counters` from now on."""
        self._counters = counters
        self._records.clear()
        self._unsent = None

    def send(self, sender: Sender) -> Result | None:
        """Sends all records in batches; returns None, or the first result that asks to retry."""
        while (request := self._unsent or self._next()) is not None:
            self._unsent = request
            result = sender.post(f"/v1/{self.signal}", request.body)
            if result.delivery is Delivery.RETRYABLE:
                return result
            self._unsent = None
            count_result(result, request.records, self._counters)
        return None

    def spill(self, write: Callable[[str, int, bytes], bool]) -> None:
        """Passes all records to `write` (signal, records, body) until it returns False."""
        while (request := self._unsent or self._next()) is not None:
            self._unsent = request
            if not write(self.signal, *request):
                return
            self._unsent = None

    def _next(self) -> EncodedRequest | None:
        while batch := self._take_batch():
            request = self._encoded(batch)
            if request is not None:
                return request
        return None

    def _take_batch(self) -> list[T]:
        batch: list[T] = []
        while self._records and len(batch) < MAX_BATCH_RECORDS:
            batch.append(self._records.popleft())
        return batch

    def _encoded(self, batch: list[T]) -> EncodedRequest | None:
        """Encodes a batch. A record that cannot be encoded is dropped and counted; the others are sent."""
        try:
            return EncodedRequest(len(batch), self._encode(batch))
        except Exception:  # noqa: BLE001 - each record is tried alone, and its error reported
            for record in batch:
                with _ENCODING:
                    self._encode([record])
                    continue
                batch = [each for each in batch if each is not record]
                self._counters.count_dropped(1, "a record could not be encoded")
        return EncodedRequest(len(batch), self._encode(batch)) if batch else None


def count_result(result: Result, records: int, counters: Counters) -> None:
    """Counts the records of a request that was accepted, or finally refused."""
    if result.delivery is Delivery.REFUSED:
        counters.count_dropped(records, result.reason)
        return
    rejected = min(records, result.rejected)
    counters.count_sent(records - rejected)
    if rejected:
        counters.count_dropped(rejected, result.reason)
