"""DBOS: spans of workflows and steps, named after their functions.

A step that is retried has one span, with one event for each failure. A recovered workflow runs in a new trace and
repeats the spans of its finished steps. These spans are not further executions. Compensations are recognised by name.
Until a step ends, only DBOS's log records tell of its failed attempts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Event, Log, Mark, Span, as_text

WORKFLOW_ID: Final = ("operationUUID", "dbos.operation.workflow_id")
OPERATION_TYPE: Final = ("operationType", "dbos.operation.type")
STEP_TYPES: Final = ("step", "transaction", "communicator", "procedure")
"""Values of `OPERATION_TYPE`; versions and languages differ."""

ATTEMPT_FAILED: Final = ("Step attempt ", " failed")
"""Start and end of the name of the event for a failed attempt."""
ERROR: Final = "error"

RETRY_LOGGED: Final = "Step being automatically retried (attempt "
"""The beginning of the log record of a failed attempt, which the number of attempts so far and the last one follow."""

RETRY_COUNTS: Final = re.compile(r"\(attempt (\d+) of (\d+)\)$")
STEP_FRAME: Final = re.compile(r", in _retry\n(?:(?!  File ).*\n)+  File .*, in (\w+)\n")
"""The frame of the step's function in the stack trace: no attribute of the record names the step."""

IS_FROM_LOGS: Final = "dbos.logged"
"""The attribute of a step's span that is known from log records alone."""

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
    roots = [engine.root(span) for span in spans if not span.mark.step]
    works = [
        span
        for (_, number), runs in sorted(_repetitions(span for span in spans if span.mark.step).items())
        for span in _attempts(runs, engine.repetition_key(number))
    ]
    attempts, repeated = [span for span in works if span.mark.role], [span for span in works if not span.mark.role]
    return EngineSpans([*roots, *engine.with_compensations(attempts), *repeated])


def step_of_log(log: Log) -> Span | None:
    """Returns the open span of the step whose failed attempt a log record reports; None for any other record."""
    if not (isinstance(log.body, str) and log.body.startswith(RETRY_LOGGED) and log.span_id and log.mark.id):
        return None
    counts = RETRY_COUNTS.search(log.body)
    step = STEP_FRAME.search(as_text(log.attributes.get("exception.stacktrace")))
    if counts is None or step is None:
        return None
    prefix, suffix = ATTEMPT_FAILED
    error = log.attributes.get("exception.message") or log.attributes.get("exception.type") or ""
    return Span(
        trace_id=log.trace_id,
        span_id=log.span_id,
        parent_id="",
        name=step[1],
        kind="internal",
        start=log.at,
        end=0,
        status="unset",
        status_message="",
        mark=replace(log.mark, role=NAME, step=step[1]),
        process=log.process,
        attributes={IS_FROM_LOGS: True, semconv.STEP_MAX_ATTEMPTS: int(counts[2])},
        events=(Event(f"{prefix}{int(counts[1]) - 1}{suffix}", log.at, {ERROR: error}),),
        resource=log.resource,
        scope=log.scope,
    )


def with_logged_attempt(known: Span | None, step: Span) -> Span:
    """Returns a span with the failed attempt of another log record; one that was sent itself stays as it is."""
    if known is None or IS_FROM_LOGS not in known.attributes:
        return known or step
    events = {event.name: event for event in (*step.events, *known.events)}
    ordered = sorted(events.values(), key=lambda event: (event.at, event.name))
    return replace(min(known, step, key=lambda span: (span.start, repr(span.process))), events=tuple(ordered))


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
            yield engine.participant(span)
            continue
        start = span.start
        for event in _failure_events(span):
            number += 1
            yield engine.attempt(_failed_attempt(span, start, event), number, key)
            start = event.at
        if IS_FROM_LOGS in span.attributes:
            continue  # whether the next attempt has started is unknown
        number += 1
        yield engine.attempt(replace(span, start=start), number, key)
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
