"""The sagaz library: ``saga.execute.NAME`` and ``saga.step.TYPE.NAME``, with ``saga.*`` attributes but no role."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields
from sagascope_collector.records import Mark, Span

EXECUTE: Final = "saga.execute."
STEP: Final = "saga.step."
TYPES: Final = (semconv.TYPE_ACTION, semconv.TYPE_COMPENSATION)
STATUS: Final = "saga.status"
OUTCOMES: Final = {
    "completed": semconv.OUTCOME_COMPLETED,
    "rolled_back": semconv.OUTCOME_COMPENSATED,
    "failed": semconv.OUTCOME_FAILED,
    "partially_committed": semconv.OUTCOME_FAILED,
}
"""Outcomes by `STATUS`."""

NAME: Final = "sagaz"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a span. Only the span's name identifies the library."""
    saga = record.first(semconv.SAGA_ID)
    if not saga or record.first(semconv.SAGA_ROLE):
        return None
    if record.name.startswith(EXECUTE):
        return Mark(id=saga, name=record.name.removeprefix(EXECUTE), role=NAME)
    type_, _, step = record.name.removeprefix(STEP).partition(".")
    if record.name.startswith(STEP) and type_ in TYPES and step:
        return Mark(id=saga, role=NAME, step=step, type=type_)
    return None


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one saga. A compensation has the name of the step that it compensates."""
    roots = [engine.root(span, _outcome(span)) for span in spans if not _is_step(span)]
    return EngineSpans([*roots, *map(_with_compensates, engine.numbered_attempts(filter(_is_step, spans)))])


def _outcome(span: Span) -> str:
    return OUTCOMES.get(str(span.attributes.get(STATUS)), "")


def _is_step(span: Span) -> bool:
    return bool(span.mark.step)


def _with_compensates(span: Span) -> Span:
    if span.mark.type != semconv.TYPE_COMPENSATION or semconv.STEP_COMPENSATES in span.attributes:
        return span
    return replace(span, attributes={**span.attributes, semconv.STEP_COMPENSATES: span.mark.step})


ENGINE: Final = Engine(
    name=NAME,
    keys=(semconv.SAGA_ID, semconv.SAGA_ROLE),
    prefilter_terms=(EXECUTE, *(f"{STEP}{type_}." for type_ in TYPES)),
    mark=mark,
    interpret=interpret,
)
