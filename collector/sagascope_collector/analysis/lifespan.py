"""The life of a saga: its root spans, its end, and its status."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.model import Status, Step
from sagascope_collector.analysis.spans import SpanTree
from sagascope_collector.records import Span

STATUS_BY_OUTCOME = {
    semconv.OUTCOME_COMPLETED: Status.COMPLETED,
    semconv.OUTCOME_COMPENSATED: Status.COMPENSATED,
    semconv.OUTCOME_FAILED: Status.FAILED,
}


@dataclass(frozen=True, slots=True)
class Lifespan:
    """The root spans and the end of a saga."""

    roots: tuple[Span, ...]
    """The latest started first; a root span below another root span is excluded."""
    closing: Span | None
    """The span that ended the saga; None while it is open."""
    restarts: tuple[int, ...] = ()
    """The times at which a new root span restarted the saga after it had ended, the latest first."""


def find_lifespan(spans: Sequence[Span], tree: SpanTree) -> Lifespan:
    """Finds the root spans and the end. A later root reopens a saga that an earlier one had ended."""
    roots, closers = [], []
    for span in spans:
        if span.mark.role == semconv.ROLE_SAGA:
            roots.append(span)
        elif span.end and values.text(span.attributes.get(semconv.SAGA_OUTCOME)) in STATUS_BY_OUTCOME:
            closers.append(span)
    if len(roots) > 1:
        roots = [
            span for span in roots if all(each.mark.role != semconv.ROLE_SAGA for each in tree.above(span))
        ] or roots
        roots.sort(key=lambda span: (span.start, span.span_id), reverse=True)
        roots = _without_refused(roots, spans, tree)
    if roots:
        closing = roots[0] if roots[0].end else None
        restarts = tuple(new.start for new, old in pairwise(roots) if 0 < old.end <= new.start)
        return Lifespan(tuple(roots), closing, restarts)
    # a message that is delivered again, and refused, ends nothing either
    effective = [span for span in closers if _may_have_effect(span)] or closers
    return Lifespan((), max(effective, key=lambda span: (span.end, span.span_id), default=None))


def _without_refused(roots: list[Span], spans: Iterable[Span], tree: SpanTree) -> list[Span]:
    """Leaves out the roots that failed before any step took effect, if another one is open or completed.

    They are repetitions that were refused, such as a request that a client sent twice, and end nothing.
    """
    in_trace = {root.trace_id: [each for each in roots if each.trace_id == root.trace_id] for root in roots}
    acting: set[int] = set()
    for span in spans:
        if span.mark.role == semconv.ROLE_STEP and _may_have_effect(span):
            above = [each for each in tree.above(span) if each.mark.role == semconv.ROLE_SAGA]
            acting.update(id(root) for root in above or in_trace.get(span.trace_id, []))
    statuses = {id(root): status_of(Lifespan((root,), root if root.end else None), ()) for root in roots}
    kept = [root for root in roots if statuses[id(root)] is not Status.FAILED or id(root) in acting]
    is_other_left = any(statuses[id(root)] in (Status.RUNNING, Status.COMPLETED) for root in kept)
    return kept if is_other_left else roots


def _may_have_effect(step: Span) -> bool:
    error = failures.failure(step)
    is_refused = step.end > 0 and step.status == "error" and not failures.was_interrupted(error)
    return not is_refused or failures.leaves_outcome_unknown(step, error)


def status_of(lifespan: Lifespan, steps: Sequence[Step]) -> Status:
    """The saga's status. A reported outcome takes precedence over the status of the span that reports it."""
    if lifespan.closing is not None:
        outcome = lifespan.closing.attributes.get(semconv.SAGA_OUTCOME)
        if isinstance(outcome, str) and outcome in STATUS_BY_OUTCOME:
            return STATUS_BY_OUTCOME[outcome]
        return Status.FAILED if lifespan.closing.status == "error" else Status.COMPLETED
    restarted_at = lifespan.restarts[0] if lifespan.restarts else 0
    for step in steps:
        if step.type == semconv.TYPE_COMPENSATION and any(each.called_at >= restarted_at for each in step.attempts):
            return Status.COMPENSATING
    return Status.RUNNING
