"""For tests of instrumented code: records sagas in memory, with fixed ids and clock, and asserts about them.

    with sagascope.testing.record() as recorder:
        pay("8492")
    recorder.saga("8492").assert_compensated_in_reverse()

It needs no collector, no SDK and no thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Lock
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, get_current_span

from sagascope import _runtime, semconv
from sagascope._plan import clear_attempts
from sagascope._runtime import SAMPLED, DetachedSpan, Runtime

__all__ = ["RecordedAttempt", "RecordedSaga", "RecordedSpan", "Recorder", "Ticks", "record"]

NANOSECONDS_PER_TICK = 1_000_000


@contextmanager
def record(clock: Callable[[], int] | None = None) -> Iterator["Recorder"]:
    """Records every saga of the block, instead of what is configured.

    Args:
        clock: Returns nanoseconds since the Unix epoch. Default: `Ticks`.
    """
    recorder, before = Recorder(clock), _runtime.active
    clear_attempts()
    _runtime.active = recorder
    try:
        yield recorder
    finally:
        _runtime.active = before


class Ticks:
    """A clock that advances by one millisecond at each reading."""

    def __init__(self, start: int = 1_700_000_000_000_000_000) -> None:
        self.now: int = start
        """Nanoseconds since the Unix epoch."""

    def __call__(self) -> int:
        """Returns nanoseconds since the Unix epoch, one millisecond later than the last time."""
        self.now += NANOSECONDS_PER_TICK
        return self.now


class RecordedSpan(Span):
    """A span that is kept in memory."""

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent_id: int,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        clock: Callable[[], int],
    ) -> None:
        self.name: str = name
        self.context: SpanContext = context
        self.parent_id: int = parent_id
        self.attributes: dict[str, Any] = dict(attributes)
        self.links: tuple[Link, ...] = tuple(links)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.status: StatusCode = StatusCode.UNSET
        self._clock = clock
        self.started_at: int = clock()
        self.ended_at: int | None = None

    def get_span_context(self) -> SpanContext:
        """Returns its ids."""
        return self.context

    def is_recording(self) -> bool:
        """Returns True until it ends."""
        return self.ended_at is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets one attribute."""
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets attributes."""
        self.attributes.update(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Adds an event."""
        self.events.append((name, dict(attributes or {})))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status."""
        self.status = status.status_code if isinstance(status, Status) else status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Adds an exception event."""
        self.add_event("exception", {"exception.type": type(exception).__qualname__, **(attributes or {})})

    def update_name(self, name: str) -> None:
        """Renames it."""
        self.name = name

    def end(self, end_time: int | None = None) -> None:
        """Ends it; a second call has no effect."""
        if self.ended_at is None:
            self.ended_at = self._clock()


class RecordedAttempt:
    """One attempt of a step."""

    def __init__(self, span: RecordedSpan) -> None:
        attributes = span.attributes
        self.span: RecordedSpan = span
        self.step: str = str(attributes.get(semconv.STEP_NAME, ""))
        """The step's name."""
        self.type: str = str(attributes.get(semconv.STEP_TYPE, semconv.TYPE_ACTION))
        """``action``, ``compensation``, ``prepare``, ``commit`` or ``rollback``."""
        self.number: int = int(attributes.get(semconv.STEP_ATTEMPT, 1))
        """Its number, from 1."""
        self.key: str = str(attributes.get(semconv.STEP_KEY, ""))
        """Tells intended repetitions of one step apart."""
        self.compensates: str | None = attributes.get(semconv.STEP_COMPENSATES)
        """The step that it compensates."""

    @property
    def state(self) -> str:
        """``ok``, ``error`` or ``in_flight``."""
        if self.span.ended_at is None:
            return "in_flight"
        return "error" if self.span.status is StatusCode.ERROR else "ok"

    @property
    def error(self) -> str | None:
        """The type of the error that it failed with."""
        types = [attributes.get("exception.type") for name, attributes in self.span.events if name == "exception"]
        return types[-1] if types else None

    def __repr__(self) -> str:
        compensated = f" of {self.compensates}" if self.compensates else ""
        return f"{self.step}{compensated} #{self.number} {self.error or self.state}"


class RecordedSaga:
    """One saga: its attempts in order, and its outcome."""

    def __init__(self, id: str, spans: Sequence[RecordedSpan]) -> None:  # noqa: A002 - as in begin
        self.id: str = id
        """The id that people quote."""
        self.spans: tuple[RecordedSpan, ...] = tuple(spans)
        self.name: str = str(self._first(semconv.SAGA_NAME) or "")
        """The saga's type."""

    @property
    def outcome(self) -> str | None:
        """``completed``, ``compensated`` or ``failed``; None while it is open."""
        outcome: str | None = self._first(semconv.SAGA_OUTCOME)
        return outcome

    @property
    def keys(self) -> dict[str, str]:
        """Business keys."""
        items = [item for span in self.spans for item in span.attributes.items()]
        prefix = semconv.KEY_PREFIX
        return {name.removeprefix(prefix): value for name, value in items if name.startswith(prefix)}

    @property
    def attempts(self) -> list[RecordedAttempt]:
        """Every attempt, in order of starting."""
        return [
            RecordedAttempt(span) for span in self.spans if span.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP
        ]

    @property
    def committed_steps(self) -> list[str]:
        """Names of the steps that succeeded, in order, without compensations."""
        return [attempt.step for attempt in self._succeeded() if attempt.type != semconv.TYPE_COMPENSATION]

    @property
    def compensated_steps(self) -> list[str]:
        """Names of the steps that were compensated, in order of compensation."""
        compensations = [attempt for attempt in self._succeeded() if attempt.type == semconv.TYPE_COMPENSATION]
        return [attempt.compensates or attempt.step for attempt in compensations]

    def assert_outcome(self, outcome: str | None) -> None:
        """Asserts how it ended; None: it must be open."""
        _expect(self.outcome == outcome, f"{self} has the outcome {self.outcome}, not {outcome}")

    def assert_completed(self) -> None:
        """Asserts that it completed."""
        self.assert_outcome(semconv.OUTCOME_COMPLETED)

    def assert_failed(self) -> None:
        """Asserts that it failed."""
        self.assert_outcome(semconv.OUTCOME_FAILED)

    def assert_compensated(self) -> None:
        """Asserts that it was given up, and its committed steps compensated."""
        self.assert_outcome(semconv.OUTCOME_COMPENSATED)

    def assert_committed_steps(self, *steps: str) -> None:
        """Asserts that exactly these steps succeeded, in this order."""
        _expect(self.committed_steps == list(steps), f"{self} committed {self.committed_steps}, not {list(steps)}")

    def assert_compensated_steps(self, *steps: str) -> None:
        """Asserts that exactly these steps were compensated, in this order."""
        compensated = self.compensated_steps
        _expect(compensated == list(steps), f"{self} compensated {compensated}, not {list(steps)}")

    def assert_compensated_in_reverse(self) -> None:
        """Asserts that steps were compensated, in the reverse of the order in which they succeeded."""
        compensated = self.compensated_steps
        expected = [step for step in reversed(self.committed_steps) if step in compensated]
        _expect(compensated, f"{self} compensated no step")
        _expect(compensated == expected, f"{self} compensated {compensated}; the reverse order is {expected}")

    def assert_attempts(self, step: str, number: int) -> None:
        """Asserts how many attempts a step had."""
        found = [attempt for attempt in self.attempts if attempt.step == step]
        _expect(len(found) == number, f"{self} has {len(found)} attempts of {step}, not {number}: {found}")

    def assert_nothing_in_flight(self) -> None:
        """Asserts that every attempt has ended."""
        in_flight = [attempt for attempt in self.attempts if attempt.state == "in_flight"]
        _expect(not in_flight, f"{self} has attempts in flight: {in_flight}")

    def _succeeded(self) -> list[RecordedAttempt]:
        return [attempt for attempt in self.attempts if attempt.state == "ok"]

    def _first(self, attribute: str) -> Any:
        return next((span.attributes[attribute] for span in self.spans if attribute in span.attributes), None)

    def __str__(self) -> str:
        return f"{self.name or 'saga'} {self.id}"

    def __repr__(self) -> str:
        return f"{self} ({self.outcome or 'open'}): {self.attempts}"


class Recorder(Runtime):
    """Everything that was recorded. Ids count from 1. It is the runtime while it records."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.spans: list[RecordedSpan] = []
        """Every saga span, in order of starting."""
        self.logs: list[tuple[str, dict[str, Any]]] = []
        """Body and attributes of the log records that were emitted, for example for planned waits."""
        self._clock = clock or Ticks()
        self._ids = count(1)
        self._positions: dict[tuple[int, int], int] = {}
        self._started: set[int] = set()
        self._lock = Lock()

    @property
    def sagas(self) -> list[RecordedSaga]:
        """Every saga, in order of its first span."""
        spans: dict[tuple[Any, ...], list[RecordedSpan]] = {}
        for span in self.spans:
            for attributes in (span.attributes, *(link.attributes or {} for link in span.links)):
                if semconv.SAGA_ID in attributes:
                    key = (str(attributes[semconv.SAGA_ID]), attributes.get(semconv.SAGA_RUN_ID, ""))
                    spans.setdefault(key, []).append(span)
        return [RecordedSaga(key[0], each) for key, each in spans.items()]

    def saga(self, id: str | None = None, name: str | None = None) -> RecordedSaga:  # noqa: A002 - as in begin
        """Returns the one saga with this id and name.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = [saga for saga in self.sagas if id in (None, saga.id) and name in (None, saga.name)]
        _expect(len(found) == 1, f"{len(found)} sagas have id {id} and name {name}; recorded: {self.sagas}")
        return found[0]

    # --- the runtime -------------------------------------------------------------------------------

    def start_span(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> RecordedSpan:
        """Starts a span."""
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else next(self._ids)
        span_id = span_id or next(self._ids)
        own = SpanContext(trace_id, span_id, is_remote=False, trace_flags=SAMPLED)
        span = RecordedSpan(name, own, parent.span_id, attributes, links, self._clock)
        self._keep(span)
        self._started.add(span_id)
        return span

    def emit_span(self, span: DetachedSpan) -> None:
        """Keeps a detached span."""
        recorded = RecordedSpan(span.name, span.context, span.parent_id, span.attributes, span.links, self._clock)
        if span.error is not None:
            recorded.record_exception(span.error)
            recorded.set_status(StatusCode.ERROR)
        recorded.started_at, recorded.ended_at = span.start, span.end
        self._keep(recorded)

    def emit_log(self, body: str, context: Context, attributes: Mapping[str, Any], *, event_name: str = "") -> None:
        """Keeps a log record."""
        self.logs.append((body, dict(attributes)))

    def _keep(self, span: RecordedSpan) -> None:
        """Keeps a span; it replaces an open form of itself, unless that was started here."""
        ids = span.context.trace_id, span.context.span_id
        with self._lock:
            position = self._positions.setdefault(ids, len(self.spans))
            if position == len(self.spans):
                self.spans.append(span)
            elif self.spans[position].ended_at is None and ids[1] not in self._started:
                self.spans[position] = span

    def exception_attributes(self, error: BaseException) -> Mapping[str, Any]:
        """Returns the type and the message of an error."""
        return {"exception.type": type(error).__qualname__, "exception.message": str(error)}


def _expect(holds: object, otherwise: str) -> None:
    """Raises AssertionError unless it holds, also where Python runs without ``assert``."""
    if not holds:
        raise AssertionError(otherwise)
