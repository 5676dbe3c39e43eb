"""For tests of code that is instrumented: records sagas in memory, with fixed ids and clock, and asserts about them.

    with sagascope.testing.record() as recorder:
        pay("8492")
    recorder.saga("8492").assert_compensated_in_reverse()

No collector, no SDK and no thread is needed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Lock
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, get_current_span

from sagascope import _attempts, _runtime, semconv
from sagascope._recorded import RecordedAttempt, RecordedSaga, RecordedSpan, expect
from sagascope._told import Told

__all__ = ["RecordedAttempt", "RecordedSaga", "RecordedSpan", "Recorder", "Ticks", "record"]

MILLISECOND = 1_000_000


class Ticks:
    """A clock that moves on by one millisecond whenever it is looked at."""

    def __init__(self, start: int = 1_700_000_000_000_000_000) -> None:
        self.now: int = start
        """Nanoseconds since the Unix epoch."""

    def __call__(self) -> int:
        """Nanoseconds since the Unix epoch, a millisecond later than the last time."""
        self.now += MILLISECOND
        return self.now


class Recorder:
    """Everything that was recorded. Ids count from 1."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.spans: list[RecordedSpan] = []
        """Every saga span, in order of starting."""
        self.notes: list[tuple[str, dict[str, Any]]] = []
        """What was sent as log records, for example meant waits: text and attributes."""
        self._clock = clock or Ticks()
        self._ids = count(1)
        self._places: dict[tuple[int, int], int] = {}
        self._live: set[int] = set()
        self._keeping = Lock()

    @property
    def sagas(self) -> list[RecordedSaga]:
        """Every saga, in order of its first span."""
        spans: dict[tuple[Any, ...], list[RecordedSpan]] = {}
        for span in self.spans:
            for told in (span.attributes, *(link.attributes or {} for link in span.links)):
                if semconv.SAGA_ID in told:
                    key = (told[semconv.SAGA_ID], told.get(semconv.SAGA_RUN_ID, ""))
                    spans.setdefault(key, []).append(span)
        return [RecordedSaga(each) for each in spans.values()]

    def saga(self, id: str | None = None, name: str | None = None) -> RecordedSaga:  # noqa: A002 - as in begin
        """The one saga with this id and name.

        Raises:
            AssertionError: There is none, or there are several.
        """
        found = [saga for saga in self.sagas if id in (None, saga.id) and name in (None, saga.name)]
        expect(len(found) == 1, f"{len(found)} sagas have id {id} and name {name}; recorded were {self.sagas}")
        return found[0]

    # --- the runtime -------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> RecordedSpan:
        """Start a span."""
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else next(self._ids)
        span_id = span_id or next(self._ids)
        own = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        span = RecordedSpan(name, own, parent.span_id, attributes, links, self._clock)
        self._keep(span)
        self._live.add(span_id)
        return span

    def tell(self, told: Told) -> None:
        """Keep a span that is told of as a whole."""
        span = RecordedSpan(told.name, told.context, told.parent_id, told.attributes, told.links, self._clock)
        if told.error is not None:
            span.record_exception(told.error)
            span.set_status(StatusCode.ERROR)
        span.started_at, span.ended_at = told.start, told.end
        self._keep(span)

    def _keep(self, span: RecordedSpan) -> None:
        """Keep a span in the place of an open form of it; one that ended, or was started here, stays."""
        ids = span.context.trace_id, span.context.span_id
        with self._keeping:
            place = self._places.setdefault(ids, len(self.spans))
            if place == len(self.spans):
                self.spans.append(span)
            elif self.spans[place].ended_at is None and ids[1] not in self._live:
                self.spans[place] = span

    def carried(self, name: str, own: SpanContext, context: Context) -> SpanContext:
        """The span's own."""
        return own

    def conceal(self, attribute: str, text: str) -> str:
        """The text as it is."""
        return text

    def fit(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """The attributes as they are."""
        return attributes

    def failure(self, error: BaseException) -> Mapping[str, Any]:
        """Type and message."""
        return {"exception.type": type(error).__qualname__, "exception.message": str(error)}

    def may_reach(self, address: str) -> bool:
        """Baggage may go anywhere."""
        return True

    def trusts(self, headers: Any) -> bool:
        """What comes in is taken up."""
        return True

    def emit(self, body: str, context: Context, attributes: Mapping[str, Any]) -> None:
        """Keep a log record."""
        self.notes.append((body, dict(attributes)))


@contextmanager
def record(clock: Callable[[], int] | None = None) -> Iterator[Recorder]:
    """Record every saga of the block, in place of what is configured.

    Args:
        clock: Nanoseconds since the Unix epoch; left out, one that moves by a millisecond at each look.
    """
    recorder, before = Recorder(clock), _runtime.active
    _attempts.forget()
    _runtime.active = recorder
    try:
        yield recorder
    finally:
        _runtime.active = before
