"""Celery, by OpenTelemetry's instrumentation: ``run/TASK`` of a worker, ``apply_async/TASK`` of who calls for it.

Each task with its retries is a saga of one step, since nothing tells which tasks belong together.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told, in_order
from sagascope_collector.records import Mark, Span
from sagascope_collector.values import word

CONVERSATION_ID: Final = "messaging.conversation_id"
STATE: Final = "celery.state"
TASK_NAME: Final = "celery.task_name"
RUN, APPLY = "run", "apply_async"
RETRY: Final = "RETRY"

NAME: Final = "celery"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs."""
    conversation = seen.said(CONVERSATION_ID)
    verb, _, task = seen.name.partition("/")
    if not (conversation and task and verb in (RUN, APPLY)):
        return None
    name = seen.said(TASK_NAME) or task
    if verb == APPLY:
        return Mark(id=conversation, name=name)
    return Mark(id=conversation, name=name, role=NAME, step=name)


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one task mean: its last try ends the saga, unless it asks for another."""
    runs = in_order(_failed(span) if span.attributes.get(STATE) == RETRY else span for span in spans)
    told = telling.tries(runs, _task_id)
    return Told([telling.with_outcome(span, _outcome(span)) for span in told])


def _task_id(span: Span) -> str:
    """Two successes of one task id are two executions: a broker delivers a task again whose visibility timed out."""
    return word(span.attributes.get(CONVERSATION_ID))


def _failed(span: Span) -> Span:
    return span if span.status == "error" else replace(span, status="error")


def _outcome(span: Span) -> str:
    return "" if span.attributes.get(STATE) == RETRY else telling.ended(span)


ENGINE: Final = Engine(name=NAME, keys=(CONVERSATION_ID, TASK_NAME), needles=(CONVERSATION_ID,), mark=mark, tell=tell)
