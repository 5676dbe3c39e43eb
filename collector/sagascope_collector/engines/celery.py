"""Celery, with OpenTelemetry's instrumentation: ``run/TASK`` in a worker, ``apply_async/TASK`` in the caller.

Each task with its retries is a saga with one step, because no span links the tasks of one business transaction. With
the root id, which `sagascope.integrations.celery.join_tasks` adds, all tasks of one root are one saga.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Mark, Span, as_text

CONVERSATION_ID: Final = "messaging.conversation_id"
STATE: Final = "celery.state"
TASK_NAME: Final = "celery.task_name"
MESSAGE_ID: Final = "messaging.message.id"
"""The task's id on the caller's span, which has no conversation id since version 0.66 of the instrumentation."""
RUN, APPLY = "run", "apply_async"
RETRY: Final = "RETRY"
RETRY_REASON: Final = "celery.retry.reason"
INTERNAL: Final = "celery."
"""The beginning of the names of Celery's own tasks, such as the one that waits for the header of a chord."""

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
    root = record.first(semconv.CELERY_ROOT_ID)
    if root:
        return Mark(id=root, name=name if root == conversation else "", role=NAME, step=name)
    if verb == APPLY:
        return Mark(id=conversation, name=name)
    return Mark(id=conversation, name=name, role=NAME, step=name)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one task. The last attempt ends the saga, unless it requests a retry."""
    if any(semconv.CELERY_ROOT_ID in span.attributes for span in spans):
        return _interpret_joined(spans)
    runs = in_order(_as_failed(span) if span.attributes.get(STATE) == RETRY else span for span in spans)
    attempts = engine.numbered_attempts(runs, _task_id)
    return EngineSpans([engine.with_outcome(span, _outcome(span)) for span in attempts])


def _interpret_joined(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of all tasks of one root. The last run ends the saga, once every published task has ended."""
    publications = [span for span in spans if span.name.partition("/")[0] == APPLY]
    tasks: dict[str, list[Span]] = {_task_id(span): [] for span in publications}
    for run in in_order(span for span in spans if span.name.partition("/")[0] != APPLY):
        failed = _as_failed(run) if run.attributes.get(STATE) == RETRY else run
        tasks.setdefault(_task_id(run), []).append(failed)
    participants = [engine.producer(span) for span in publications]
    attempts, counts = list[Span](), dict[str, int]()
    for runs in sorted(filter(None, tasks.values()), key=lambda runs: runs[0].start):
        step = runs[0].mark.step
        if step.startswith(INTERNAL):
            participants += map(engine.participant, runs)
            continue
        counts[step] = counts.get(step, 0) + 1
        key = engine.repetition_key(counts[step])
        attempts += [engine.attempt(run, number, key) for number, run in enumerate(runs, 1)]
    outcomes = [_outcome(runs[-1]) if runs else "" for runs in tasks.values()]
    if attempts and all(outcomes):
        outcome = semconv.OUTCOME_FAILED if semconv.OUTCOME_FAILED in outcomes else semconv.OUTCOME_COMPLETED
        last = max(range(len(attempts)), key=lambda position: attempts[position].end)
        attempts[last] = engine.with_outcome(attempts[last], outcome)
    return EngineSpans([*participants, *attempts])


def _task_id(span: Span) -> str:
    """Returns the task's id.

    Two successes of one id are two executions: a broker redelivers a task whose visibility timeout has passed.
    """
    return as_text(span.attributes.get(CONVERSATION_ID) or span.attributes.get(MESSAGE_ID))


def _as_failed(span: Span) -> Span:
    """Returns the span of a run that requests a retry, as failed for the reason of the retry."""
    reason = as_text(span.attributes.get(RETRY_REASON) or span.status_message)
    return span if span.status == "error" else replace(span, status="error", status_message=reason)


def _outcome(span: Span) -> str:
    return "" if span.attributes.get(STATE) == RETRY else engine.outcome_by_status(span)


ENGINE: Final = Engine(
    name=NAME,
    keys=(CONVERSATION_ID, MESSAGE_ID, TASK_NAME, semconv.CELERY_ROOT_ID),
    prefilter_terms=(CONVERSATION_ID, TASK_NAME),
    mark=mark,
    interpret=interpret,
)
