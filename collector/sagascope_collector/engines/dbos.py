"""DBOS: spans of workflows and steps, named after their functions.

A step that is retried has one span, with one event for each failure. A recovered workflow runs in a new trace and
repeats the spans of its finished steps. These spans are not further executions. Compensations are recognised by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sagascope_collector.engines import saga_spans
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Event, Mark, Span, as_text

WORKFLOW_ID: Final = ("operationUUID", "dbos.operation.workflow_id")
OPERATION_TYPE: Final = ("operationType", "dbos.operation.type")
STEP_TYPES: Final = ("step", "transaction", "communicator", "procedure")
"""Values of `OPERATION_TYPE`; versions and languages differ."""

ATTEMPT_FAILED: Final = ("Step attempt ", " failed")
"""Start and end of the name of the event for a failed attempt."""
ERROR: Final = "error"

NAME: Final = "dbos"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the workflow is the saga."""
    workflow = record.first(*WORKFLOW_ID)
    if not workflow:
        return None
    match record.first(*OPERATION_TYPE):
        case "workflow":
            return Mark(id=workflow, name=record.name, role=NAME)
        case type_ if type_ in STEP_TYPES and record.name:
            return Mark(id=workflow, role=NAME, step=record.name)
        case _:
            return Mark(id=workflow)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one workflow, including those of all its recoveries."""
    roots = [saga_spans.root(span) for span in spans if not span.mark.step]
    works = [
        span
        for (_, number), runs in sorted(_repetitions(span for span in spans if span.mark.step).items())
        for span in _attempts(runs, saga_spans.repetition_key(number))
    ]
    attempts, repeated = [span for span in works if span.mark.role], [span for span in works if not span.mark.role]
    return EngineSpans([*roots, *saga_spans.with_compensations(attempts), *repeated])


def _repetitions(steps: Iterable[Span]) -> dict[tuple[str, int], list[Span]]:
    """Groups the spans of each step by their position among the spans of that name below one workflow span."""
    counts: dict[tuple[str, str, str], int] = {}
    repetitions: dict[tuple[str, int], list[Span]] = {}
    for span in in_order(steps):
        parent = span.trace_id, span.parent_id, span.mark.step
        counts[parent] = counts.get(parent, 0) + 1
        repetitions.setdefault((span.mark.step, counts[parent]), []).append(span)
    return repetitions


def _attempts(runs: Iterable[Span], key: str) -> Iterable[Span]:
    """Yields the attempts of one repetition of a step. Spans that a recovery repeats after a success are none."""
    number, is_done = 0, False
    for span in runs:
        if is_done:
            yield saga_spans.participant(span)
            continue
        start = span.start
        for event in _failure_events(span):
            number += 1
            yield saga_spans.attempt(_failed_attempt(span, start, event), number, key)
            start = event.at
        number += 1
        yield saga_spans.attempt(replace(span, start=start), number, key)
        is_done = span.has_succeeded


def _failure_events(span: Span) -> list[Event]:
    prefix, suffix = ATTEMPT_FAILED
    failures = [event for event in span.events if event.name.startswith(prefix) and event.name.endswith(suffix)]
    return sorted(failures, key=lambda event: event.at)


def _failed_attempt(span: Span, start: int, event: Event) -> Span:
    message = as_text(event.attributes.get(ERROR))
    return replace(span, start=start, end=event.at, status="error", status_message=message, events=(), links=())


ENGINE: Final = Engine(
    name=NAME, keys=(*WORKFLOW_ID, *OPERATION_TYPE), prefilter_terms=WORKFLOW_ID, mark=mark, interpret=interpret
)
