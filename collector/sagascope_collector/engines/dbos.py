"""DBOS: spans of workflows and steps, called as their functions.

A step that is retried has one span, with an event for each failure. A workflow that is recovered runs in a new trace,
and tells of its finished steps again: those are no second executions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told, in_order
from sagascope_collector.records import Event, Mark, Span
from sagascope_collector.values import word

WORKFLOW_ID: Final = ("operationUUID", "dbos.operation.workflow_id")
TYPE: Final = ("operationType", "dbos.operation.type")
WORKFLOW, STEPS = "workflow", ("step", "transaction", "communicator", "procedure")
"""Values of `TYPE`; the later ones are those of other versions and languages."""

ATTEMPT_FAILED: Final = ("Step attempt ", " failed")
ERROR: Final = "error"

NAME: Final = "dbos"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs: the workflow is the saga."""
    workflow = seen.said(*WORKFLOW_ID)
    if not workflow:
        return None
    match seen.said(*TYPE):
        case "workflow":
            return Mark(id=workflow, name=seen.name, role=NAME)
        case kind if kind in STEPS and seen.name:
            return Mark(id=workflow, role=NAME, step=seen.name)
        case _:
            return Mark(id=workflow)


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one workflow mean, over all its recoveries."""
    told = Told([telling.root(span) for span in spans if not span.mark.step])
    for (_, number), runs in sorted(_repetitions(span for span in spans if span.mark.step).items()):
        told.spans += _tries(runs, telling.repetition(number))
    return told


def _repetitions(steps: Iterable[Span]) -> dict[tuple[str, int], list[Span]]:
    """The spans of each step by its place among those of its name below one workflow span."""
    counted: dict[tuple[str, str, str], int] = {}
    repetitions: dict[tuple[str, int], list[Span]] = {}
    for span in in_order(steps):
        place = span.trace_id, span.parent_id, span.mark.step
        counted[place] = counted.get(place, 0) + 1
        repetitions.setdefault((span.mark.step, counted[place]), []).append(span)
    return repetitions


def _tries(runs: Iterable[Span], key: str) -> Iterable[Span]:
    """The tries of one repetition of a step; once it was done, what a recovery tells of it is no try."""
    number, is_done = 0, False
    for span in runs:
        if is_done:
            yield telling.part(span)
            continue
        begun = span.start
        for failed in _failures(span):
            number += 1
            yield telling.attempt(_failed(span, begun, failed), number, key)
            begun = failed.at
        number += 1
        yield telling.attempt(replace(span, start=begun), number, key)
        is_done = span.end > 0 and span.status != "error"


def _failures(span: Span) -> list[Event]:
    before, after = ATTEMPT_FAILED
    failures = [each for each in span.events if each.name.startswith(before) and each.name.endswith(after)]
    return sorted(failures, key=lambda each: each.at)


def _failed(span: Span, begun: int, event: Event) -> Span:
    message = word(event.attributes.get(ERROR))
    return replace(span, start=begun, end=event.at, status="error", status_message=message, events=(), links=())


ENGINE: Final = Engine(name=NAME, keys=(*WORKFLOW_ID, *TYPE), needles=WORKFLOW_ID, mark=mark, tell=tell)
