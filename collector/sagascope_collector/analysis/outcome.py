"""How a saga stands as a whole: its root, its end, its status."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sagascope import semconv
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.model import Status, Step
from sagascope_collector.records import Span

ENDS = {
    semconv.OUTCOME_COMPLETED: Status.COMPLETED,
    semconv.OUTCOME_COMPENSATED: Status.COMPENSATED,
    semconv.OUTCOME_FAILED: Status.FAILED,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the steps of a saga."""

    roots: tuple[Span, ...]
    """The latest begun first; a root below another is none."""
    closing: Span | None
    """The span that ended the saga; None while it is open."""
    drives: tuple[int, ...] = ()
    """When a new root drove the saga anew after it had ended, the latest first."""


def frame(spans: Iterable[Span], lineage: Lineage) -> Frame:
    """Find the roots and the end. A later root opens a saga again that an earlier one had ended."""
    roots, closers = [], []
    for span in spans:
        if span.mark.role == semconv.ROLE_SAGA:
            roots.append(span)
        elif span.end and span.attributes.get(semconv.SAGA_OUTCOME) in ENDS:
            closers.append(span)
    if len(roots) > 1:
        roots = [
            span for span in roots if all(each.mark.role != semconv.ROLE_SAGA for each in lineage.above(span))
        ] or roots
        roots.sort(key=lambda span: (span.start, span.span_id), reverse=True)
    if roots:
        closing = roots[0] if roots[0].end else None
        drives = tuple(new.start for new, old in pairwise(roots) if 0 < old.end <= new.start)
        return Frame(tuple(roots), closing, drives)
    return Frame((), max(closers, key=lambda span: (span.end, span.span_id), default=None))


def status(frame: Frame, steps: Sequence[Step]) -> Status:
    """The saga's status; an outcome that was said beats the status of the span that said it."""
    if frame.closing is not None:
        outcome = frame.closing.attributes.get(semconv.SAGA_OUTCOME)
        if isinstance(outcome, str) and outcome in ENDS:
            return ENDS[outcome]
        return Status.FAILED if frame.closing.status == "error" else Status.COMPLETED
    drive_at = frame.drives[0] if frame.drives else 0
    for step in steps:
        if step.type == semconv.TYPE_COMPENSATION and any(each.began >= drive_at for each in step.attempts):
            return Status.COMPENSATING
    return Status.RUNNING
