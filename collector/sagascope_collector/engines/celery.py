"""Celery, with OpenTelemetry's instrumentation: ``run/TASK`` in a worker, ``apply_async/TASK`` in the caller.

Each task with its retries is a saga with one step, because no span links the tasks of one business transaction.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sagascope_collector.engines import saga_spans
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Mark, Span, as_text

CONVERSATION_ID: Final = "messaging.conversation_id"
STATE: Final = "celery.state"
TASK_NAME: Final = "celery.task_name"
MESSAGE_ID: Final = "messaging.message.id"
"""The task's id on the caller's span, which has no conversation id since version 0.66 of the instrumentation."""
RUN, APPLY = "run", "apply_async"
RETRY: Final = "RETRY"

NAME: Final = "celery"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: its id is the task's id."""
    verb, _, task = record.name.partition("/")
    conversation = record.first(CONVERSATION_ID)
    if not conversation and verb == APPLY and record.first(TASK_NAME):
        conversation = record.first(MESSAGE_ID)
    if not (conversation and task and verb in (RUN, APPLY)):
        return None
    name = record.first(TASK_NAME) or task
    if verb == APPLY:
        return Mark(id=conversation, name=name)
    return Mark(id=conversation, name=name, role=NAME, step=name)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one task. The last attempt ends the saga, unless it requests a retry."""
    runs = in_order(_as_failed(span) if span.attributes.get(STATE) == RETRY else span for span in spans)
    attempts = saga_spans.numbered_attempts(runs, _task_id)
    return EngineSpans([saga_spans.with_outcome(span, _outcome(span)) for span in attempts])


def _task_id(span: Span) -> str:
    """Returns the task's id.

    Two successes of one id are two executions: a broker redelivers a task whose visibility timeout has passed.
    """
    return as_text(span.attributes.get(CONVERSATION_ID))


def _as_failed(span: Span) -> Span:
    return span if span.status == "error" else replace(span, status="error")


def _outcome(span: Span) -> str:
    return "" if span.attributes.get(STATE) == RETRY else saga_spans.outcome_by_status(span)


ENGINE: Final = Engine(
    name=NAME,
    keys=(CONVERSATION_ID, MESSAGE_ID, TASK_NAME),
    prefilter_terms=(CONVERSATION_ID, TASK_NAME),
    mark=mark,
    interpret=interpret,
)
