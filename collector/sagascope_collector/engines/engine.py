"""The contract of an engine, and functions that rewrite its spans as if they carried ``saga.*`` attributes. Pure.

An engine says which saga a record belongs to, and what the spans of one saga mean: each is the saga's root, an attempt
of a step, or participant work.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.records import Event, Mark, Span, Value, as_text

RECEIVING_KINDS: Final = ("server", "consumer")
"""Kinds of spans with which a service receives work from another."""

HTTP_STATUS: Final = ("http.response.status_code", "http.status_code")
GRPC_STATUS: Final = ("rpc.response.status_code", "rpc.grpc.status_code")
"""The attributes with a status code, by the current and the former conventions."""


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The fields of a record that can identify its saga."""

    name: str = ""
    """The span's name; ``""`` for a log record."""
    scope: str = ""
    """The name of the instrumentation scope."""
    service: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """At least the attributes whose keys an engine or a rule reads."""
    kind: str = ""
    """The span's kind; ``""`` for a log record."""

    def first(self, *keys: str) -> str:
        """Returns the first of these attributes that is not empty, as text; ``""`` if none is set."""
        return next(filter(None, (as_text(self.attributes.get(key)) for key in keys)), "")


@dataclass(slots=True)
class EngineSpans:
    """The spans of one engine in one saga, rewritten as if they carried ``saga.*`` attributes."""

    spans: list[Span] = field(default_factory=list)
    """At least one span for each input span, with the same ids; several if one span reports several attempts."""
    lost: set[str] = field(default_factory=set)
    """Ids of spans whose work is over although its end was never received."""
    unknown: set[str] = field(default_factory=set)
    """Ids of spans whose outcome the engine did not accept: it started another attempt of the same work."""
    continued: set[str] = field(default_factory=set)
    """Ids of spans that ended because their run continues as a new run."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One workflow engine or library that emits spans in its own format."""

    name: str
    """Also the role in the marks of spans that only `interpret` can classify."""
    keys: tuple[str, ...]
    """The attribute keys that `mark` reads."""
    prefilter_terms: tuple[str, ...]
    """Every request with a record of this engine contains at least one of these terms."""
    mark: Callable[[RecordFields], Mark | None]
    """Returns the saga of a record; None if the record does not come from this engine."""
    interpret: Callable[[Sequence[Span]], EngineSpans]
    """Rewrites the engine's spans of one saga. Pure; the order of the spans does not change the result."""
    superseded_by: str = ""
    """If a span of the saga has this attribute, Sagascope's plugin or bridge reports the same work in more detail."""


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Returns the spans in order of start, then end; ids break ties."""
    return sorted(spans, key=lambda span: (span.start, span.end or span.start, span.trace_id, span.span_id))


COMPENSATES_SEPARATOR: Final = ":"
"""In the step type of a rule's mark: separates ``compensation`` from the name of the step that it compensates."""


def compensating(span: Span, step: str) -> Span:
    """Makes the span an attempt of the compensation of a step."""
    attributes = {semconv.STEP_COMPENSATES: step, **span.attributes}
    return replace(span, mark=replace(span.mark, type=semconv.TYPE_COMPENSATION), attributes=attributes)


def with_compensates(span: Span) -> Span:
    """Moves the name of the compensated step from the mark's type to ``saga.step.compensates``."""
    type_, _, compensated = span.mark.type.partition(COMPENSATES_SEPARATOR)
    attributes = {semconv.STEP_COMPENSATES: compensated, **span.attributes}
    return replace(span, mark=replace(span.mark, type=type_), attributes=attributes)


def participant(span: Span) -> Span:
    """Makes the span work of the saga that is neither its root nor an attempt."""
    return replace(span, mark=replace(span.mark, role=""))


def producer(span: Span) -> Span:
    """Makes the span participant work that requests something asynchronously, whatever its span kind."""
    return replace(participant(span), kind="producer")


def root(span: Span, outcome: str = "", **changes: Any) -> Span:
    """Makes the span the root of its saga."""
    return with_outcome(replace(span, mark=replace(span.mark, role=semconv.ROLE_SAGA, step=""), **changes), outcome)


def attempt(span: Span, number: int, key: str = "", **changes: Any) -> Span:
    """Makes the span an attempt of its step. A key and a number in the span's mark take precedence."""
    mark = replace(span.mark, role=semconv.ROLE_STEP, key=span.mark.key or key, attempt=span.mark.attempt or number)
    return replace(span, mark=mark, **changes)


def with_outcome(span: Span, outcome: str) -> Span:
    """Makes the span end its saga with an outcome. An outcome among the span's attributes takes precedence."""
    if not outcome or semconv.SAGA_OUTCOME in span.attributes:
        return span
    return replace(span, attributes={**span.attributes, semconv.SAGA_OUTCOME: outcome})


def outcome_by_status(span: Span) -> str:
    """Returns the outcome of a saga that ended with this span; ``""`` while the span is open."""
    if not span.end:
        return ""
    return semconv.OUTCOME_FAILED if span.status == "error" else semconv.OUTCOME_COMPLETED


def repetition_key(number: int) -> str:
    """Returns the step key of a step's n-th repetition, from 1. The first has no key."""
    return "" if number <= 1 else str(number)


def numbered_attempts(spans: Iterable[Span], execution_id: Callable[[Span], str] = lambda span: "") -> list[Span]:
    """Numbers the attempts of each step. A span after a success starts another repetition of the step.

    Args:
        spans: of one saga, in any order.
        execution_id: returns the engine's id of the work that a span executed, ``""`` if it has none. Spans with the
            same id are attempts of one repetition, even after a success: the work was then executed twice.
    """
    repetitions: dict[tuple[str, str], int] = {}
    numbers: dict[tuple[str, str, int], int] = {}
    known: dict[tuple[str, str, str], int] = {}
    attempts = []
    for span in in_order(spans):
        step, type_ = span.mark.step, span.mark.type
        id_ = execution_id(span)
        current = known.get((step, type_, id_)) if id_ else None
        if current is None:
            current = repetitions.setdefault((step, type_), 1)
            if id_:
                known[step, type_, id_] = current
        number = numbers[step, type_, current] = numbers.get((step, type_, current), 0) + 1
        attempts.append(attempt(span, number, repetition_key(current)))
        if span.has_succeeded and current == repetitions[step, type_]:
            repetitions[step, type_] = current + 1
    return attempts


EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_ESCAPED: Final = "exception.escaped"

MAX_EXCEPTION_TO_END_NS: Final = 1_000_000
"""An exception event at most this far from a span's end ended the span."""

CONTINUE_AS_NEW: Final = re.compile(r"continue_?-?as_?-?new", re.IGNORECASE)
"""Matches the type of the exception by which a run ends and continues as a new run."""

CONTROL_FLOW: Final = re.compile(
    r"continue_?-?as_?-?new|completeasyncerror|errresultpending|activitypausederror|suspen(d|sion|ded)"
    r"|orchestratorblocked|taskblocked|(^|[.:*])(ignore|hibernat\w+|detached)(error|exception)?$",
    re.IGNORECASE,
)
"""Matches the types of exceptions that end a span without a failure."""


def with_derived_status(span: Span) -> Span:
    """Returns the span with the status that its exception events imply."""
    if span.status == "ok" or not span.end:
        return span
    exception = _ending_exception(span)
    if exception is None:
        return span
    if is_control_flow(exception):
        return replace(span, status="unset", status_message="") if span.status == "error" else span
    return span if span.status == "error" else replace(span, status="error")


def continues_as_new(span: Span) -> bool:
    """Returns whether the span ended because its work continues as a new run."""
    exception = _ending_exception(span)
    return (
        exception is not None and CONTINUE_AS_NEW.search(as_text(exception.attributes.get(EXCEPTION_TYPE))) is not None
    )


def is_control_flow(event: Event) -> bool:
    """Returns whether an exception event carries control flow instead of a failure."""
    return CONTROL_FLOW.search(as_text(event.attributes.get(EXCEPTION_TYPE))) is not None


def is_from_sagascope(span: Span) -> bool:
    """Returns whether Sagascope's instrumentation created the span."""
    return span.scope.schema_url == semconv.SCHEMA_URL


def _ending_exception(span: Span) -> Event | None:
    """Returns the last exception event that is at the span's end or marked as escaped."""
    for event in reversed(span.events):
        if event.name == EXCEPTION and (abs(event.at - span.end) <= MAX_EXCEPTION_TO_END_NS or _has_escaped(event)):
            return event
    return None


def _has_escaped(event: Event) -> bool:
    escaped = event.attributes.get(EXCEPTION_ESCAPED)
    return escaped is True or (isinstance(escaped, str) and escaped.lower() == "true")


@dataclass(frozen=True, slots=True)
class Work:
    """One execution of a step with its attempts, as far as needed to tell whether it is a compensation."""

    name: str
    start: int
    succeeded_at: int
    """The end of the first attempt that succeeded; 0: none did."""
    is_attempted: bool
    is_declared: bool
    """Whether an attribute or a rule of the user declares what it is."""

    @classmethod
    def of(cls, attempts: Sequence[Span]) -> "Work":
        """Returns the work of these attempts, of which there is at least one."""
        return cls(
            attempts[0].mark.step,
            min(span.start for span in attempts),
            min((span.end for span in attempts if span.end and span.has_succeeded), default=0),
            is_attempted=True,
            is_declared=any(span.mark.type or semconv.STEP_COMPENSATES in span.attributes for span in attempts),
        )


def compensated_steps(works: Iterable[Work]) -> Iterator[str]:
    """Yields the step that each work of a run compensates by its name, ``""``: none; `works` are in order of start."""
    committed_at, has_failed = list[tuple[str, int]](), False
    for work in works:
        if work.is_declared:
            yield ""
            continue
        committed = [each for each in committed_at if each[1] <= work.start]
        step = semconv.compensated_by_name(work.name, (name for name, _ in committed), has_failed=has_failed)
        if step:
            committed_at = _without_first(committed_at, step)
        elif work.succeeded_at:
            committed_at.append((work.name, work.succeeded_at))
        has_failed |= work.is_attempted and not work.succeeded_at
        yield step


def _without_first(committed_at: list[tuple[str, int]], step: str) -> list[tuple[str, int]]:
    """Returns the commits without the first one of a step: one compensation compensates one execution."""
    first = next((each for each in committed_at if each[0] == step), None)
    return [each for each in committed_at if each is not first]


def with_compensations(attempts: Iterable[Span]) -> list[Span]:
    """Makes those attempts of a run compensations whose names tell that they are, unless they are declared."""
    repetitions: dict[tuple[str, str], list[Span]] = {}
    for span in in_order(attempts):
        repetitions.setdefault((span.mark.step, span.mark.key), []).append(span)
    compensated = zip(repetitions.values(), compensated_steps(map(Work.of, repetitions.values())), strict=True)
    return [compensating(span, step) if step else span for spans, step in compensated for span in spans]
