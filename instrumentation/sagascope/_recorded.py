"""What `sagascope.testing` has seen: spans without an SDK, and sagas as assertions want them."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode

from sagascope import semconv


def expect(holds: object, otherwise: str) -> None:
    """Check something, also where Python runs without ``assert``."""
    if not holds:
        raise AssertionError(otherwise)


class RecordedSpan(Span):
    """A span that is kept in memory."""

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent_id: int,
        attributes: Mapping[str, Any],
        links: Sequence[Link],
        clock: Any,
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
        return self.context

    def is_recording(self) -> bool:
        return self.ended_at is None

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes.update(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        self.events.append((name, dict(attributes or {})))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.status = status.status_code if isinstance(status, Status) else status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self.add_event("exception", {"exception.type": type(exception).__qualname__, **(attributes or {})})

    def update_name(self, name: str) -> None:
        self.name = name

    def end(self, end_time: int | None = None) -> None:
        if self.ended_at is None:
            self.ended_at = self._clock()


class RecordedAttempt:
    """One attempt of a step."""

    def __init__(self, span: RecordedSpan) -> None:
        self.span: RecordedSpan = span

    @property
    def step(self) -> str:
        """The step's name."""
        return str(self.span.attributes.get(semconv.STEP_NAME, ""))

    @property
    def type(self) -> str:
        """``action``, ``compensation``, ``prepare``, ``commit`` or ``rollback``."""
        return str(self.span.attributes.get(semconv.STEP_TYPE, semconv.TYPE_ACTION))

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return int(self.span.attributes.get(semconv.STEP_ATTEMPT, 1))

    @property
    def key(self) -> str:
        """Tells intended repetitions apart."""
        return str(self.span.attributes.get(semconv.STEP_KEY, ""))

    @property
    def compensates(self) -> str | None:
        """The step that it undoes."""
        undone: str | None = self.span.attributes.get(semconv.STEP_COMPENSATES)
        return undone

    @property
    def state(self) -> str:
        """``ok``, ``error`` or ``in_flight``."""
        if self.span.ended_at is None:
            return "in_flight"
        return "error" if self.span.status is StatusCode.ERROR else "ok"

    @property
    def error(self) -> str | None:
        """Type of the error with which it failed."""
        types = [told.get("exception.type") for name, told in self.span.events if name == "exception"]
        return types[-1] if types else None

    def __repr__(self) -> str:
        undone = f" of {self.compensates}" if self.compensates else ""
        return f"{self.step}{undone} #{self.number} {self.error or self.state}"


class RecordedSaga:
    """One saga: what was tried, in order, and how it ended."""

    def __init__(self, spans: Sequence[RecordedSpan]) -> None:
        self.spans: tuple[RecordedSpan, ...] = tuple(spans)

    @property
    def id(self) -> str:
        """The id that people quote."""
        return str(self.spans[0].attributes[semconv.SAGA_ID])

    @property
    def name(self) -> str:
        """The saga's type."""
        return str(self._first(semconv.SAGA_NAME) or "")

    @property
    def outcome(self) -> str | None:
        """``completed``, ``compensated`` or ``failed``; None while it is open."""
        outcome: str | None = self._first(semconv.SAGA_OUTCOME)
        return outcome

    @property
    def keys(self) -> dict[str, str]:
        """Business keys."""
        told = [item for span in self.spans for item in span.attributes.items()]
        return {key.removeprefix(semconv.KEY_PREFIX): v for key, v in told if key.startswith(semconv.KEY_PREFIX)}

    @property
    def attempts(self) -> list[RecordedAttempt]:
        """Every attempt, in order of starting."""
        return [RecordedAttempt(span) for span in self.spans if _is_step(span)]

    @property
    def done(self) -> list[str]:
        """Names of the steps that were done, in order; compensations are not among them."""
        return [each.step for each in self.attempts if each.state == "ok" and each.type != semconv.TYPE_COMPENSATION]

    @property
    def undone(self) -> list[str]:
        """Names of the steps that were undone, in order of undoing."""
        return [
            each.compensates or each.step
            for each in self.attempts
            if each.state == "ok" and each.type == semconv.TYPE_COMPENSATION
        ]

    def assert_outcome(self, outcome: str | None) -> None:
        """Check how it ended; None: it must be open."""
        expect(self.outcome == outcome, f"{self} ended as {self.outcome}, not as {outcome}")

    def assert_completed(self) -> None:
        """Check that it completed."""
        self.assert_outcome(semconv.OUTCOME_COMPLETED)

    def assert_failed(self) -> None:
        """Check that it failed, with work still in force or unknown."""
        self.assert_outcome(semconv.OUTCOME_FAILED)

    def assert_compensated(self) -> None:
        """Check that it was given up and undone."""
        self.assert_outcome(semconv.OUTCOME_COMPENSATED)

    def assert_done(self, *steps: str) -> None:
        """Check that exactly these steps were done, in this order."""
        expect(self.done == list(steps), f"{self} did {self.done}, not {list(steps)}")

    def assert_undone(self, *steps: str) -> None:
        """Check that exactly these steps were undone, in this order."""
        expect(self.undone == list(steps), f"{self} undid {self.undone}, not {list(steps)}")

    def assert_compensated_in_reverse(self) -> None:
        """Check that what was undone was undone in the reverse of the order in which it was done."""
        expected = [step for step in reversed(self.done) if step in self.undone]
        expect(self.undone, f"{self} undid nothing")
        expect(self.undone == expected, f"{self} undid {self.undone}, but in reverse it would be {expected}")

    def assert_attempts(self, step: str, number: int) -> None:
        """Check how often a step was tried."""
        tried = [each for each in self.attempts if each.step == step]
        expect(len(tried) == number, f"{self} tried {step} {len(tried)} times, not {number}: {tried}")

    def assert_nothing_in_flight(self) -> None:
        """Check that every attempt has ended."""
        open_ones = [each for each in self.attempts if each.state == "in_flight"]
        expect(not open_ones, f"{self} has attempts in flight: {open_ones}")

    def _first(self, attribute: str) -> Any:
        return next((span.attributes[attribute] for span in self.spans if attribute in span.attributes), None)

    def __str__(self) -> str:
        return f"{self.name or 'saga'} {self.id}"

    def __repr__(self) -> str:
        return f"{self} ({self.outcome or 'open'}): {self.attempts}"


def _is_step(span: RecordedSpan) -> bool:
    return span.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP
