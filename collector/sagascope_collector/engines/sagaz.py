"""The sagaz library: ``saga.execute.NAME`` and ``saga.step.TYPE.NAME``, with ``saga.*`` attributes, and no role."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told
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

NAME: Final = "sagaz"


def mark(seen: Seen) -> Mark | None:
    """Where a span belongs; nothing but its name tells which it is."""
    saga = seen.said(semconv.SAGA_ID)
    if not saga or seen.said(semconv.SAGA_ROLE):
        return None
    if seen.name.startswith(EXECUTE):
        return Mark(id=saga, name=seen.name.removeprefix(EXECUTE), role=NAME)
    kind, _, step = seen.name.removeprefix(STEP).partition(".")
    if seen.name.startswith(STEP) and kind in TYPES and step:
        return Mark(id=saga, role=NAME, step=step, type=kind)
    return None


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one saga mean; a compensation is called as the step that it undoes."""
    roots = [telling.root(span, _outcome(span)) for span in spans if not _is_step(span)]
    return Told([*roots, *map(_undoing, telling.tries(filter(_is_step, spans)))])


def _outcome(span: Span) -> str:
    return OUTCOMES.get(str(span.attributes.get(STATUS)), "")


def _is_step(span: Span) -> bool:
    return bool(span.mark.step)


def _undoing(span: Span) -> Span:
    if span.mark.type != semconv.TYPE_COMPENSATION or semconv.STEP_COMPENSATES in span.attributes:
        return span
    return replace(span, attributes={**span.attributes, semconv.STEP_COMPENSATES: span.mark.step})


ENGINE: Final = Engine(
    name=NAME,
    keys=(semconv.SAGA_ID, semconv.SAGA_ROLE),
    needles=(EXECUTE, *(f"{STEP}{each}." for each in TYPES)),
    mark=mark,
    tell=tell,
)
