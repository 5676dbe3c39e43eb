"""Reports work that has not ended: start records and heartbeats, as `docs/semconv.md` describes them."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, format_span_id, set_span_in_context

from sagascope import semconv
from sagascope._delivery import PROCESS_ENDED, Counters, Delivery, Request, Sender
from sagascope._encoder import Encoder, SagaSpan, log_record
from sagascope._export import BackgroundThread, Backoff, Pause
from sagascope._runtime import NANOSECONDS_PER_SECOND
from sagascope._settings import Settings

IDLE_INTERVAL_SECONDS = 60.0
"""Time between heartbeats while no announced span is open and no retry is expected."""

RETRY_GRACE_SECONDS = 15.0
"""Time after an expected retry for which heartbeats stay as frequent as while a span is open."""

MIN_PAUSE_SECONDS = 0.05
"""Minimum time between two checks of the open spans. Start records must leave within 0.2 s."""

MAX_BACKOFF_SECONDS = 2.0
"""Maximum time until records that the collector did not accept are sent again."""

MAX_SPANS_PER_RECORD = 1_000
"""Span ids in one heartbeat record; a longer list is split into several records."""

_NO_SPAN = set_span_in_context(INVALID_SPAN, Context())


class InFlightReporter(BackgroundThread):
    """Follows the saga spans of this process from start to end, and announces those that stay open."""

    def __init__(
        self, encoder: Encoder, sender: Sender, counters: Counters, resource: Resource, settings: Settings
    ) -> None:
        super().__init__("sagascope-in-flight", settings.announce_after)
        self._encoder = encoder
        self._sender = sender
        self._counters = counters
        self._resource = resource
        self._announce_after = int(settings.announce_after * NANOSECONDS_PER_SECOND)
        self._interval = settings.heartbeat_interval
        self._clock = settings.clock
        # dicts keep the order of insertion, and insertion and removal are atomic
        self._unannounced: dict[int, SagaSpan] = {}
        self._announced: dict[int, SagaSpan] = {}
        self._unsent: list[tuple[ReadableLogRecord, SagaSpan | None]] = []
        self._sequence = 0
        self._next_heartbeat = 0  # the first is due when the thread starts
        self._promised_interval = 0.0
        self._retries_expected_until = 0
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)

    def add(self, span: SagaSpan) -> None:
        self._unannounced[span.get_span_context().span_id] = span
        self.notify()

    def remove(self, span_id: int) -> None:
        """Removes a span that ended; an unknown span has no effect."""
        if self._unannounced.pop(span_id, None) is None:
            self._announced.pop(span_id, None)

    def expect_retry(self, at: int) -> None:
        """Keeps heartbeats frequent until a retry is due, so that the loss of this process is detected soon."""
        until = at + int(RETRY_GRACE_SECONDS * NANOSECONDS_PER_SECOND)
        self._retries_expected_until = max(self._retries_expected_until, until)
        self.notify()

    def open_count(self) -> int:
        """Returns the number of open saga spans, announced or not."""
        return len(self._unannounced) + len(self._announced)

    def flush(self) -> Callable[[], bool]:
        """Makes the thread send start records that are unsent or due; returns a function that checks it."""

        def is_done() -> bool:
            oldest = self._oldest()
            is_announced = oldest is None or not self._is_start_due(oldest[1], self._clock())
            return is_announced and all(span is None for _, span in self._unsent)

        if not is_done():
            self.wake()
        return is_done

    def join(self, timeout: float) -> None:
        """Waits for the thread, at most `timeout` seconds. Unsent records are dropped and counted."""
        super().join(timeout)
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._counters.count_dropped(len(unsent), PROCESS_ENDED)

    def _work(self) -> Pause:
        now = self._clock()
        self._announce(now)
        if self._is_heartbeat_due(now):
            self._add_heartbeat(now)
        if not self._send():
            self._counters.log_problems(0)
            return Pause(self._backoff.next_seconds(), interruptible=False)
        self._backoff.reset()
        oldest = self._oldest()
        if oldest is None:
            return _pause(self._next_heartbeat - now, interruptible=True)
        due = (oldest[1].start_time or now) + self._announce_after
        return _pause(min(due, self._next_heartbeat) - now, interruptible=False)

    def _is_idle(self) -> bool:
        return not self._unannounced and not self._is_heartbeat_due(self._clock())

    def _finish(self) -> None:
        self._add_heartbeat(self._clock(), final=True)
        self._send()
        self._sender.close()

    def _announce(self, now: int) -> None:
        """Adds a start record for every span that is old enough and still open."""
        while (oldest := self._oldest()) is not None and self._is_start_due(oldest[1], now):
            span_id, span = oldest
            self._announced[span_id] = span
            self._unannounced.pop(span_id, None)
            if span.end_time is None:
                self._unsent.extend((record, span) for record in self._start_records(span, now))
            else:
                # it ended after it was found, and before it was in the dict that `remove` looks in
                self._announced.pop(span_id, None)

    def _is_start_due(self, span: SagaSpan, now: int) -> bool:
        # also of a span that seems to start in the future: the clock was set back
        return abs(now - (span.start_time or 0)) >= self._announce_after

    def _oldest(self) -> tuple[int, SagaSpan] | None:
        """Returns the unannounced span that has been open longest."""
        while True:
            with suppress(RuntimeError):  # another thread changed the dict
                return next(iter(self._unannounced.items()), None)

    def _is_heartbeat_due(self, now: int) -> bool:
        # later than was announced: the clock was set back
        is_in_time = 0 < self._next_heartbeat - now <= self._promised_interval * NANOSECONDS_PER_SECOND
        # a process that announced its next heartbeat in 60 s and now has open spans announces an earlier one
        return not is_in_time or (self._is_busy(now) and self._promised_interval > self._interval)

    def _is_busy(self, now: int) -> bool:
        return bool(self._announced) or now < self._retries_expected_until

    def _add_heartbeat(self, now: int, *, final: bool = False) -> None:
        """Adds a heartbeat, in as many records as its list of spans needs; it replaces an unsent one."""
        # a copy: other threads remove spans that end meanwhile
        open_spans = [format_span_id(span_id) for span_id in list(self._announced)]
        self._promised_interval = self._interval if self._is_busy(now) else max(IDLE_INTERVAL_SECONDS, self._interval)
        self._next_heartbeat = now + int(self._promised_interval * NANOSECONDS_PER_SECOND)
        self._sequence += 1
        starts = range(0, len(open_spans) or 1, MAX_SPANS_PER_RECORD)
        parts = [open_spans[start : start + MAX_SPANS_PER_RECORD] for start in starts]
        self._unsent = [(record, span) for record, span in self._unsent if span is not None]
        for number, part in enumerate(parts, 1):
            attributes = {
                semconv.HEARTBEAT_INTERVAL: float(self._promised_interval),
                semconv.HEARTBEAT_SEQUENCE: self._sequence,
                semconv.HEARTBEAT_OPEN_SPANS: tuple(part),
                semconv.HEARTBEAT_PART: number,
                semconv.HEARTBEAT_PARTS: len(parts),
                semconv.HEARTBEAT_OPEN_COUNT: len(open_spans),
                semconv.HEARTBEAT_DROPPED: self._counters.dropped,
                semconv.HEARTBEAT_FINAL: final,
            }
            event = semconv.EVENT_HEARTBEAT
            self._unsent.append((log_record(event, _NO_SPAN, attributes, self._resource, now, now, event), None))

    def _start_records(self, span: SagaSpan, now: int) -> Iterator[ReadableLogRecord]:
        """Yields one start record; for a span that is linked to several sagas, one for each saga."""
        attributes = {key: value for key, value in dict(span.attributes or {}).items() if key.startswith("saga.")}
        attributes[semconv.SPAN_NAME] = span.name
        attributes[semconv.SPAN_KIND] = span.kind.name.lower()
        attributes[semconv.SPAN_PARENT_ID] = format_span_id(span.parent.span_id) if span.parent is not None else ""
        context = set_span_in_context(NonRecordingSpan(span.get_span_context()), Context())
        linked = [dict(link.attributes or {}) for link in span.links if semconv.SAGA_ID in (link.attributes or {})]
        for linked_attributes in linked if semconv.SAGA_ID not in attributes else [{}]:
            combined = {**attributes, **linked_attributes}
            event = semconv.EVENT_SPAN_START
            yield log_record(event, context, combined, self._resource, span.start_time or now, now, event)

    def _send(self) -> bool:
        """Sends unsent records, without the start records of spans that ended; returns False to try again later."""
        self._unsent = [(record, span) for record, span in self._unsent if span is None or span.end_time is None]
        if not self._unsent:
            return True
        records = [record for record, _ in self._unsent]
        result = self._sender.post(Request("logs", len(records), self._encoder.encode_logs(records)))
        if result.delivery is Delivery.RETRYABLE:
            self._counters.last_error = result.reason
            return False
        if result.delivery is Delivery.REFUSED:
            self._counters.count_dropped(len(records), result.reason)
        self._unsent = []
        return True


def _pause(nanoseconds: int, *, interruptible: bool) -> Pause:
    return Pause(max(MIN_PAUSE_SECONDS, nanoseconds / NANOSECONDS_PER_SECOND), interruptible)
