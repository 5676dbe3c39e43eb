"""Dapr workflows, and the Durable Task framework below them: ``orchestration||NAME``, ``activity||NAME``."""

import re
from collections.abc import Sequence
from typing import Final

from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told
from sagascope_collector.records import Mark, Span
from sagascope_collector.values import word

INSTANCE_ID: Final = "durabletask.task.instance_id"
TASK_NAME: Final = "durabletask.task.name"
TASK_ID: Final = "durabletask.task.task_id"
SPAN_NAME: Final = re.compile(r"(?P<kind>create_orchestration|orchestration|activity)(?:\|\||:)(?P<name>[^|:]+)")
"""The Go engine parts with bars, those of .NET and JavaScript with a colon; a version may follow."""

CREATE: Final = "create_"

NAME: Final = "dapr"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs: the orchestration is the saga, the activity the step."""
    instance = seen.said(INSTANCE_ID)
    if not instance:
        return None
    found = SPAN_NAME.match(seen.name)
    if found is None:
        return Mark(id=instance)
    name = seen.said(TASK_NAME) or found["name"]
    if found["kind"] == "activity":
        return Mark(id=instance, role=NAME, step=name)
    return Mark(id=instance, name=name, role=NAME)


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one orchestration mean; of an activity, the span of the client that schedules it is none."""
    steps = [span for span in spans if span.mark.step]
    executed = [span for span in steps if span.kind not in ("client", "producer")] or steps
    others = [span for span in steps if not any(span is each for each in executed)]
    roots = [_workflow(span) for span in spans if not span.mark.step]
    return Told([*roots, *map(telling.call, others), *telling.tries(executed, _execution)])


def _execution(span: Span) -> str:
    """One task of one orchestration: the same id again is the same activity restarted, another id a loop."""
    task = word(span.attributes.get(TASK_ID))
    return f"{span.trace_id} {span.parent_id} {task}" if task else ""


def _workflow(span: Span) -> Span:
    return telling.call(span) if span.name.startswith(CREATE) else telling.root(span)


ENGINE: Final = Engine(name=NAME, keys=(INSTANCE_ID, TASK_NAME, TASK_ID), needles=(INSTANCE_ID,), mark=mark, tell=tell)
