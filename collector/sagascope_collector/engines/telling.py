"""Says of an engine's spans what they are, in the words of ``saga.*``. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.engines.engine import in_order
from sagascope_collector.records import Span

UNDOES: Final = ":"
"""Parts, in the type of a mark that a rule made, ``compensation`` from the step that it undoes."""


def undoing(span: Span) -> Span:
    """A compensation, with what it undoes as an attribute."""
    kind, _, undone = span.mark.type.partition(UNDOES)
    attributes = {semconv.STEP_COMPENSATES: undone, **span.attributes}
    return replace(span, mark=replace(span.mark, type=kind), attributes=attributes)


def part(span: Span) -> Span:
    """Work of the saga that is no attempt of its own."""
    return replace(span, mark=replace(span.mark, role=""))


def call(span: Span) -> Span:
    """Likewise, and it called for something without waiting for it, whatever kind of span its emitter made."""
    return replace(part(span), kind="producer")


def root(span: Span, outcome: str = "", **changed: Any) -> Span:
    """The span that stands for the saga as a whole."""
    return with_outcome(replace(span, mark=replace(span.mark, role=semconv.ROLE_SAGA, step=""), **changed), outcome)


def attempt(span: Span, number: int, key: str = "", **changed: Any) -> Span:
    """One try of a step."""
    mark = replace(
        span.mark,
        role=semconv.ROLE_STEP,
        key=span.mark.key or key,
        attempt=span.mark.attempt or number,
    )
    return replace(span, mark=mark, **changed)


def with_outcome(span: Span, outcome: str) -> Span:
    """Let a span end its saga so; an outcome that it says itself stays."""
    if not outcome or semconv.SAGA_OUTCOME in span.attributes:
        return span
    return replace(span, attributes={**span.attributes, semconv.SAGA_OUTCOME: outcome})


def ended(span: Span) -> str:
    """The outcome of a saga that ended with this span, as its status has it; ``""`` while it is open."""
    if not span.end:
        return ""
    return semconv.OUTCOME_FAILED if span.status == "error" else semconv.OUTCOME_COMPLETED


def repetition(number: int) -> str:
    """The key of a step's n-th repetition, from 1: the first has none."""
    return "" if number <= 1 else str(number)


def tries(spans: Iterable[Span], execution: Callable[[Span], str] = lambda span: "") -> list[Span]:
    """The attempts of steps: what follows a success is another repetition of the step, not another attempt.

    Args:
        spans: of one saga, in any order.
        execution: the engine's own id of the piece of work that a span executed, ``""`` where it has none. Spans
            with the same id are attempts of one repetition, also after a success: then it was executed twice.
    """
    repetitions: dict[tuple[str, str], int] = {}
    numbers: dict[tuple[str, str, int], int] = {}
    known: dict[tuple[str, str, str], int] = {}
    told = []
    for span in in_order(spans):
        step, type_ = span.mark.step, span.mark.type
        id_ = execution(span)
        current = known.get((step, type_, id_)) if id_ else None
        if current is None:
            current = repetitions.setdefault((step, type_), 1)
            if id_:
                known[step, type_, id_] = current
        number = numbers[step, type_, current] = numbers.get((step, type_, current), 0) + 1
        told.append(attempt(span, number, repetition(current)))
        if span.end and span.status != "error" and current == repetitions[step, type_]:
            repetitions[step, type_] = current + 1
    return told
