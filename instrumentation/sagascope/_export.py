"""Queues ended spans and log records, bounded, and sends them to the collector from a background thread."""

import encodings.idna  # noqa: F401 - a fork while a thread imports it would leave the child without it
import gzip
import http.client
import random
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._encoder import Encoder
from sagascope._guard import Guard
from sagascope._spool import Spool
from sagascope._stats import PROCESS_ENDED, Counters
from sagascope._worker import Pause, Worker
from sagascope.errors import SettingInvalid

RETRYABLE_STATUSES = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Statuses after which OTLP allows a client to send the same request again."""

MAX_RESPONSE_BYTES = 65_536
"""Bytes of a response that are read; OTLP responses are shorter."""


class Delivery(Enum):
    """The outcome of a request."""

    ACCEPTED = "accepted"
    RETRYABLE = "retryable"
    REFUSED = "refused"


class Result(NamedTuple):
    """The outcome of a request, with its reason."""

    delivery: Delivery
    reason: str = ""
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    rejected: int = 0
    """Records of an accepted request that the server rejected."""


class Sender:
    """One kept-alive connection to a collector, for one thread. Sending raises no error.

    Raises:
        SettingInvalid: The endpoint is not an http or https address.
    """

    def __init__(
        self, endpoint: str, *, timeout: float, headers: Mapping[str, str], compress: bool, certificate: str | None
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingInvalid(f"endpoint must be an http or https address, not {endpoint!r}")
        self._tls = ssl.create_default_context(cafile=certificate) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._compress = compress
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "sagascope", **headers}
        if compress:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> Result:
        """Sends one request; if the server had closed the kept connection, sends it once more on a new one."""
        payload = gzip.compress(body, 1) if self._compress else body
        reused = self._connection is not None
        result, connection_lost = self._try(path, payload)
        if reused and connection_lost:
            result, _ = self._try(path, payload)
        return result

    def close(self) -> None:
        """Closes the connection; the next request opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def reset_after_fork(self) -> None:
        """Drops the connection without closing it: it belongs to the parent process."""
        self._connection = None

    def _try(self, path: str, payload: bytes) -> tuple[Result, bool]:
        """Returns the result, and whether the connection was lost."""
        try:
            connection = self._connection or self._connect()
            connection.request("POST", self._base + path, payload, self._headers)
            response = connection.getresponse()
            body = response.read(MAX_RESPONSE_BYTES)
            if not response.isclosed():
                self.close()
        except Exception as error:  # noqa: BLE001 - after any error the connection cannot be used again
            self.close()
            lost = isinstance(error, (ConnectionError, http.client.BadStatusLine))
            reason = f"{'connection lost' if lost else 'no response'}: {type(error).__name__}: {error}"
            return Result(Delivery.RETRYABLE, reason), lost
        return _result(response, body), False

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return self._connection


def _result(response: http.client.HTTPResponse, body: bytes) -> Result:
    if 200 <= response.status < 300:
        return _accepted(body)
    reason = f"HTTP {response.status} {response.reason}"
    if response.status in RETRYABLE_STATUSES:
        return Result(Delivery.RETRYABLE, reason, _seconds(response.getheader("Retry-After")))
    return Result(Delivery.REFUSED, reason)


def _accepted(body: bytes) -> Result:
    """Returns the result of an accepted request; a body that cannot be decoded counts as full success."""
    try:
        # the responses to spans and to log records have the same field numbers
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Result(Delivery.ACCEPTED)
    return Result(Delivery.ACCEPTED, reason=partial.error_message, rejected=max(0, partial.rejected_spans))


def _seconds(header: str | None) -> float | None:
    """Returns Retry-After in seconds; its date form, which OTLP servers do not use, counts as absent."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None


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
