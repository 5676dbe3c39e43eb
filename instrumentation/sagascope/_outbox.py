"""What has happened waits here, bounded, until our own thread has sent it."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from sagascope._encode import Encoder
from sagascope._lane import Lane, settle
from sagascope._sender import Answer, Fate, Sender
from sagascope._spool import Spool
from sagascope._tally import TOO_LATE, Tally
from sagascope._worker import Pause, Worker

GATHER = 0.1
"""Seconds for which records are gathered; they must leave within 1 s."""

FIRST_RETRY = 0.5
LONGEST_RETRY = 30.0
"""Seconds between two tries while the collector takes nothing; the wait doubles from the first to the longest."""

SPILL_EVERY = 0.5
"""Seconds between two looks at what should go to disk meanwhile."""


class Outbox:
    """The queues of ended spans and of log records, and the thread that empties them."""

    def __init__(
        self, encoder: Callable[[], Encoder], sender: Sender, tally: Tally, size: int, spool: Spool | None
    ) -> None:
        self._sender = sender
        self._spans: Lane[ReadableSpan] = Lane("traces", lambda batch: encoder().spans(batch), size, tally)
        self._logs: Lane[ReadableLogRecord] = Lane("logs", lambda batch: encoder().logs(batch), size, tally)
        self._lanes: tuple[Lane[Any], ...] = (self._spans, self._logs)
        self._tally = tally
        self._spool = spool
        self._wait = 0.0
        self._retry_at = 0.0
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
        """Records that are queued in memory."""
        return sum(len(lane) for lane in self._lanes)

    def forked(self, tally: Tally, spool: Spool | None) -> None:
        """Begin anew in a forked child: what waits here is the parent's to send."""
        self._tally, self._spool = tally, spool
        for lane in self._lanes:
            lane.forget(tally)
        self._wait = self._retry_at = 0.0
        self._sender.forked()
        self._worker.forked()
        self._worker.start()

    def finish(self) -> None:
        """Send what waits, then send no more."""
        self._worker.finish()

    def join(self, timeout: float) -> None:
        """Wait for the end of sending, at most `timeout` seconds; what is left goes to disk, or is lost and counted."""
        self._worker.join(timeout)
        self._spill()
        left = self.waiting()
        if left:
            self._tally.lost_some(left, TOO_LATE)
            for lane in self._lanes:
                lane.forget(self._tally)
        self._tally.speak(0)

    def _is_empty(self) -> bool:
        return not self.waiting()

    def _work(self) -> Pause:
        now = monotonic()
        if now >= self._retry_at:
            answer = self._send()
            if answer is None:
                self._wait = 0.0
                return Pause(LONGEST_RETRY if self._spool else None, wakeable=True)
            self._retry_at = now + self._backoff(answer)
        self._spill()
        self._tally.speak(self.waiting())
        return Pause(min(SPILL_EVERY, max(0.0, self._retry_at - now)), wakeable=False)

    def _last(self) -> None:
        self._send()
        self._spill()
        self._sender.close()

    def _send(self) -> Answer | None:
        """Send what waits in memory, then what waits on disk; None when nothing is left."""
        for lane in self._lanes:
            answer = lane.send(self._sender)
            if answer is not None:
                return answer
        refused: list[Answer] = []
        if self._spool is not None:
            self._spool.send(lambda lane, records, body: self._post_again(lane, records, body, refused))
        return next(iter(refused), None)

    def _post_again(self, lane: str, records: int, body: bytes, refused: list[Answer]) -> bool:
        answer = self._sender.post(f"/v1/{lane}", body)
        if answer.fate is Fate.LATER:
            refused.append(answer)
            return False
        self._tally.spooled_some(-records)
        settle(answer, records, self._tally)
        return True

    def _spill(self) -> None:
        """Put what waits on disk, if there is a spool: memory is for what can be sent."""
        for lane in self._lanes if self._spool is not None else ():
            lane.spill(self._keep)

    def _keep(self, lane: str, records: int, body: bytes) -> bool:
        kept = self._spool is not None and self._spool.keep(lane, records, body)
        if kept:
            self._tally.spooled_some(records)
        return kept

    def _backoff(self, answer: Answer) -> float:
        """Seconds until the next try."""
        self._tally.failed(answer.why)
        self._wait = min(LONGEST_RETRY, max(FIRST_RETRY, self._wait * 2))
        return self._wait if answer.wait is None else min(LONGEST_RETRY, max(FIRST_RETRY, answer.wait))
