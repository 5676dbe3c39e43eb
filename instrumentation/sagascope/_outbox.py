"""What has happened waits here, bounded, until our own thread has sent it."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._encode import Encoder
from sagascope._guard import Guard
from sagascope._sender import Answer, Fate, Sender
from sagascope._worker import Pause, Worker

T = TypeVar("T")

_ENCODING = Guard("encoding telemetry")

BATCH = 512
"""Records in one request."""

GATHER = 0.1
"""Seconds for which records are gathered; they must leave within 1 s."""

FIRST_RETRY = 0.5
LONGEST_RETRY = 30.0
"""Seconds between two tries while the collector takes nothing; the wait doubles from the first to the longest."""


class Tally:
    """What became of the records of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.sent = 0
        self.dropped = 0
        self.last_error = ""

    def sent_some(self, count: int) -> None:
        """That many records were taken by the collector."""
        with self._lock:
            self.sent += count

    def lost_some(self, count: int, why: str) -> None:
        """That many records will never be sent."""
        with self._lock:
            self.dropped += count
            self.last_error = why


class Lane(Generic[T]):
    """A bounded queue of records of one signal. When it is full the newest are dropped, and counted."""

    def __init__(self, path: str, encode: Callable[[Sequence[T]], bytes], size: int, tally: Tally) -> None:
        self.path = path
        self._encode = encode
        self._size = size
        self._tally = tally
        self._waiting: deque[T] = deque()
        self._unsent: tuple[int, bytes] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + (self._unsent[0] if self._unsent else 0)

    def put(self, record: T) -> bool:
        """Queue a record; False when there was no room."""
        if len(self._waiting) >= self._size:
            self._tally.lost_some(1, "the queue is full")
            return False
        self._waiting.append(record)
        return True

    def clear(self, tally: Tally) -> None:
        """Forget what waits, and count anew."""
        self._tally = tally
        self._waiting.clear()
        self._unsent = None

    def send(self, sender: Sender) -> Answer | None:
        """Send what waits, batch by batch; None when all is sent, else the answer that says to try later."""
        while (unsent := self._unsent or self._next()) is not None:
            count, body = unsent
            answer = sender.post(self.path, body)
            if answer.fate is Fate.LATER:
                self._unsent = unsent
                return answer
            self._unsent = None
            if answer.fate is Fate.REFUSED:
                self._tally.lost_some(count, answer.why)
            else:
                self._tally.sent_some(count)
        return None

    def _next(self) -> tuple[int, bytes] | None:
        while batch := [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]:
            with _ENCODING:
                return len(batch), self._encode(batch)
            self._tally.lost_some(len(batch), "they could not be encoded")
        return None


class Outbox:
    """The queues of ended spans and of log records, and the thread that empties them."""

    def __init__(self, encoder: Callable[[], Encoder], sender: Sender, tally: Tally, size: int) -> None:
        self._sender = sender
        self._spans: Lane[ReadableSpan] = Lane("/v1/traces", lambda batch: encoder().spans(batch), size, tally)
        self._logs: Lane[ReadableLogRecord] = Lane("/v1/logs", lambda batch: encoder().logs(batch), size, tally)
        self._tally = tally
        self._wait = 0.0
        self._worker = Worker("sagascope-outbox", self._work, self._last, self._is_empty, GATHER)

    def start(self) -> None:
        """Start sending."""
        self._worker.start()

    def put_span(self, span: ReadableSpan) -> None:
        """Queue an ended span."""
        if self._spans.put(span):
            self._worker.wake()

    def put_log(self, record: ReadableLogRecord) -> None:
        """Queue a log record."""
        if self._logs.put(record):
            self._worker.wake()

    def waiting(self) -> int:
        """Records that are queued."""
        return len(self._spans) + len(self._logs)

    def forked(self, tally: Tally) -> None:
        """Begin anew in a forked child: what waits here is the parent's to send."""
        self._tally = tally
        self._spans.clear(tally)
        self._logs.clear(tally)
        self._sender.forked()
        self._worker.forked()
        self._worker.start()

    def finish(self) -> None:
        """Send what waits, then send no more."""
        self._worker.finish()

    def join(self, timeout: float) -> None:
        """Wait for the end of sending, at most `timeout` seconds; what is left then is lost and counted."""
        self._worker.join(timeout)
        left = self.waiting()
        if left:
            self._tally.lost_some(left, "the process ended first")

    def _is_empty(self) -> bool:
        return not self.waiting()

    def _work(self) -> Pause:
        for lane in (self._spans, self._logs):
            answer = lane.send(self._sender)
            if answer is not None:
                return Pause(self._backoff(answer), wakeable=False)
        self._wait = 0.0
        return Pause(None, wakeable=True)

    def _last(self) -> None:
        for lane in (self._spans, self._logs):
            lane.send(self._sender)
        self._sender.close()

    def _backoff(self, answer: Answer) -> float:
        self._tally.last_error = answer.why
        self._wait = min(LONGEST_RETRY, max(FIRST_RETRY, self._wait * 2))
        return self._wait if answer.wait is None else min(LONGEST_RETRY, max(FIRST_RETRY, answer.wait))
