"""Says what has begun and has not ended: start records and heartbeats, as `docs/semconv.md` describes them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, format_span_id, set_span_in_context

from sagascope import semconv
from sagascope._encode import Encoder
from sagascope._sender import Fate, Sender
from sagascope._tally import TOO_LATE, Tally
from sagascope._worker import Pause, Worker

SECOND = 1_000_000_000

IDLE_INTERVAL = 60.0
"""Seconds between heartbeats while no announced span is open and no retry is promised."""

RETRY_GRACE_SECONDS = 15.0
"""Seconds after a promised retry for which heartbeats stay as frequent as while a span is open."""

SHORTEST_PAUSE = 0.05
"""Seconds between two looks at what is open; start records must leave within 0.2 s."""

FIRST_RETRY = 0.5
LONGEST_RETRY = 2.0
"""Seconds until start records and heartbeats that the collector did not take are sent again."""

SPANS_A_RECORD = 1_000
"""Span ids in one heartbeat record; a longer list comes in several."""

_NO_SPAN = set_span_in_context(INVALID_SPAN, Context())


class InFlight:
    """Watches the saga spans of this process from their start to their end."""

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        sender: Sender,
        tally: Tally,
        resource: Callable[[], Resource],
        scope: InstrumentationScope,
        *,
        announce_after: float,
        interval: float,
        clock: Callable[[], int],
    ) -> None:
        self._encoder = encoder
        self._sender = sender
        self._tally = tally
        self._resource = resource
        self._scope = scope
        self._announce_after = int(announce_after * SECOND)
        self._interval = interval
        self._clock = clock
        self._worker = Worker("sagascope-in-flight", self._work, self._last, self._is_idle, announce_after)
        self._clear()

    def _clear(self) -> None:
        # plain dicts keep the order of starting, and putting in and taking out are atomic
        self._fresh: dict[int, Span] = {}
        self._announced: dict[int, Span] = {}
        self._unsent: list[tuple[ReadableLogRecord, Span | None]] = []
        self._sequence = 0
        self._next_beat = 0
        self._said = 0.0
        self._wait = 0.0
        self._retries_until = 0

    def start(self) -> None:
        """Start watching, with a first heartbeat."""
        self._worker.start()

    def opened(self, span: Span) -> None:
        """A saga span has started."""
        self._fresh[span.get_span_context().span_id] = span
        self._worker.wake()

    def ended(self, span_id: int) -> None:
        """A span has ended; one that was never opened here changes nothing."""
        if self._fresh.pop(span_id, None) is None:
            self._announced.pop(span_id, None)

    def promised_retry(self, at: int) -> None:
        """An attempt failed, and is to be retried then: that this process has died is to be noticed soon until then."""
        self._retries_until = max(self._retries_until, at + int(RETRY_GRACE_SECONDS * SECOND))
        self._worker.wake()

    def open_count(self) -> int:
        """Saga spans that are open here, announced or not."""
        return len(self._fresh) + len(self._announced)

    def forked(self, tally: Tally) -> None:
        """Begin anew in a forked child: what is open is the parent's."""
        self._clear()
        self._tally = tally
        self._sender.forked()
        self._worker.forked()
        self._worker.start()

    def finish(self) -> None:
        """Send the final heartbeat, then send no more."""
        self._worker.finish()

    def join(self, timeout: float) -> None:
        """Wait until the final heartbeat has left, at most `timeout` seconds; what has not is lost, and counted."""
        self._worker.join(timeout)
        left, self._unsent = self._unsent, []
        if left:
            self._tally.lost_some(len(left), TOO_LATE)

    def _work(self) -> Pause:
        now = self._clock()
        self._announce(now)
        if self._is_beat_due(now):
            self._beat(now)
        if not self._send():
            self._tally.speak(0)
            self._wait = min(LONGEST_RETRY, max(FIRST_RETRY, self._wait * 2))
            return Pause(self._wait, wakeable=False)
        self._wait = 0.0
        oldest = self._oldest()
        if oldest is None:
            return Pause(max(SHORTEST_PAUSE, (self._next_beat - now) / SECOND), wakeable=True)
        due = (oldest[1].start_time or now) + self._announce_after
        return Pause(max(SHORTEST_PAUSE, (min(due, self._next_beat) - now) / SECOND), wakeable=False)

    def _is_idle(self) -> bool:
        return not self._fresh and not self._is_beat_due(self._clock())

    def _last(self) -> None:
        self._beat(self._clock(), final=True)
        self._send()
        self._sender.close()

    def _announce(self, now: int) -> None:
        """Make a start record of every span that is old enough and still open."""
        while (oldest := self._oldest()) is not None:
            span_id, span = oldest
            if (span.start_time or 0) + self._announce_after > now:
                return
            self._announced[span_id] = span
            self._fresh.pop(span_id, None)
            if span.end_time is None:
                self._unsent.extend((record, span) for record in self._start_records(span, now))
            else:
                # it ended after it was looked at, and before it was put where its end looks for it
                self._announced.pop(span_id, None)

    def _oldest(self) -> tuple[int, Span] | None:
        """The span that has been open longest of those that are not announced."""
        while True:
            with suppress(RuntimeError):  # another thread put one in, or took one out
                return next(iter(self._fresh.items()), None)

    def _is_beat_due(self, now: int) -> bool:
        # a process that promised to speak in 60 s and now has something open promises to speak sooner
        return now >= self._next_beat or (self._is_busy(now) and self._said > self._interval)

    def _is_busy(self, now: int) -> bool:
        return bool(self._announced) or now < self._retries_until

    def _beat(self, now: int, *, final: bool = False) -> None:
        """Make a heartbeat, in as many records as its list needs."""
        open_spans = [format_span_id(span_id) for span_id in list(self._announced)]
        self._said = self._interval if self._is_busy(now) else max(IDLE_INTERVAL, self._interval)
        self._next_beat = now + int(self._said * SECOND)
        self._sequence += 1
        parts = [open_spans[at : at + SPANS_A_RECORD] for at in range(0, len(open_spans), SPANS_A_RECORD)] or [[]]
        self._unsent = [(record, span) for record, span in self._unsent if span is not None]
        for number, part in enumerate(parts, 1):
            attributes = {
                semconv.HEARTBEAT_INTERVAL: float(self._said),
                semconv.HEARTBEAT_SEQUENCE: self._sequence,
                semconv.HEARTBEAT_OPEN_SPANS: tuple(part),
                semconv.HEARTBEAT_PART: number,
                semconv.HEARTBEAT_PARTS: len(parts),
                semconv.HEARTBEAT_OPEN_COUNT: len(open_spans),
                semconv.HEARTBEAT_DROPPED: self._tally.dropped,
                semconv.HEARTBEAT_FINAL: final,
            }
            self._unsent.append((self._record(semconv.EVENT_HEARTBEAT, now, now, attributes, _NO_SPAN), None))

    def _start_records(self, span: Span, now: int) -> Iterator[ReadableLogRecord]:
        """One start record; of a span that is linked to many sagas, one for each of them."""
        attributes = {key: value for key, value in dict(span.attributes or {}).items() if key.startswith("saga.")}
        attributes[semconv.SPAN_NAME] = span.name
        attributes[semconv.SPAN_KIND] = span.kind.name.lower()
        attributes[semconv.SPAN_PARENT_ID] = format_span_id(span.parent.span_id) if span.parent is not None else ""
        context = set_span_in_context(NonRecordingSpan(span.get_span_context()), Context())
        linked = [dict(link.attributes or {}) for link in span.links if semconv.SAGA_ID in (link.attributes or {})]
        for more in linked if semconv.SAGA_ID not in attributes else [{}]:
            yield self._record(semconv.EVENT_SPAN_START, span.start_time or now, now, {**attributes, **more}, context)

    def _record(
        self, event: str, timestamp: int, now: int, attributes: dict[str, Any], context: Context
    ) -> ReadableLogRecord:
        record = LogRecord(
            timestamp=timestamp,
            observed_timestamp=now,
            context=context,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=event,
            attributes=attributes,
            event_name=event,
        )
        return ReadableLogRecord(log_record=record, resource=self._resource(), instrumentation_scope=self._scope)

    def _send(self) -> bool:
        """Send what is waiting, without the start records of spans that have ended; False: try again later."""
        self._unsent = [(record, span) for record, span in self._unsent if span is None or span.end_time is None]
        if not self._unsent:
            return True
        records = [record for record, _ in self._unsent]
        answer = self._sender.post("/v1/logs", self._encoder().logs(records))
        if answer.fate is Fate.LATER:
            self._tally.failed(answer.why)
            return False
        if answer.fate is Fate.REFUSED:
            self._tally.lost_some(len(records), answer.why)
        self._unsent = []
        return True
