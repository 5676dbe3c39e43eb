"""Dapr workflows and the Durable Task framework below them: ``orchestration||NAME``, ``activity||NAME``."""

import re
from collections.abc import Sequence
from typing import Final

from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields
from sagascope_collector.records import Mark, Span, as_text

INSTANCE_ID: Final = "durabletask.task.instance_id"
TASK_NAME: Final = "durabletask.task.name"
TASK_ID: Final = "durabletask.task.task_id"
SPAN_NAME: Final = re.compile(r"(?P<kind>create_orchestration|orchestration|activity)(?:\|\||:)(?P<name>[^|:]+)")
"""The Go engine separates with ``||``, those for .NET and JavaScript with a colon; a version may follow."""

CREATE: Final = "create_"

NAME: Final = "dapr"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the orchestration is the saga, the activity the step."""
    instance = record.first(INSTANCE_ID)
    if not instance:
        return None
    found = SPAN_NAME.match(record.name)
    if found is None:
        return Mark(id=instance)
    name = record.first(TASK_NAME) or found["name"]
    if found["kind"] == "activity":
        return Mark(id=instance, role=NAME, step=name)
    return Mark(id=instance, name=name, role=NAME)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one orchestration. The client span that schedules an activity is not an attempt."""
    steps = [span for span in spans if span.mark.step]
    executed = [span for span in steps if span.kind not in ("client", "producer")] or steps
    scheduling = [span for span in steps if not any(span is each for each in executed)]
    roots = [_workflow(span) for span in spans if not span.mark.step]
    attempts = engine.with_compensations(engine.numbered_attempts(executed, _execution_id))
    return EngineSpans([*roots, *map(engine.producer, scheduling), *attempts])


def _execution_id(span: Span) -> str:
    """Returns the id of one task of one orchestration: a repeated id is a restart, another id is a loop."""
    task = as_text(span.attributes.get(TASK_ID))
    return f"{span.trace_id} {span.parent_id} {task}" if task else ""


def _workflow(span: Span) -> Span:
    return engine.producer(span) if span.name.startswith(CREATE) else engine.root(span)


ENGINE: Final = Engine(
    name=NAME, keys=(INSTANCE_ID, TASK_NAME, TASK_ID), prefilter_terms=(INSTANCE_ID,), mark=mark, interpret=interpret
)
