"""The names of saga telemetry, version 1: attributes, values, event names, baggage.

Names are added, never renamed or reused. Any language's OpenTelemetry SDK can emit them. This module imports the
standard library only, and no other module writes the names.
"""

import re
from collections.abc import Iterable
from typing import Final

SCHEMA_URL: Final = "https://sagascope.dev/schemas/1"
"""Identifies this version of the names; the ``schema_url`` of Sagascope's instrumentation scope."""

# --- spans and log records -------------------------------------------------------------------------

SAGA_ID: Final = "saga.id"
"""string, every span and log record of the saga: the id that people quote, for example ``8492``. Required."""

SAGA_NAME: Final = "saga.name"
"""string, likewise: the saga's type, for example ``payment``. If absent, other telemetry of that id provides it."""

SAGA_RUN_ID: Final = "saga.run.id"
"""string, likewise, optional: tells two runs of one id apart."""

SAGA_ROLE: Final = "saga.role"
"""string: `ROLE_SAGA` on the root span, `ROLE_STEP` on attempts; absent on participant spans."""

ROLE_SAGA: Final = "saga"
"""Value of `SAGA_ROLE` on the root span."""

ROLE_STEP: Final = "step"
"""Value of `SAGA_ROLE` on the span of an attempt."""

STEP_NAME: Final = "saga.step.name"
"""string, attempts and everything below them, for example ``wallet.debit``."""

STEP_TYPE: Final = "saga.step.type"
"""string, attempts: one of `STEP_TYPES`; `TYPE_ACTION` if absent."""

TYPE_ACTION: Final = "action"
"""Forward work."""

TYPE_COMPENSATION: Final = "compensation"
"""Compensates another, committed, step."""

TYPE_PREPARE: Final = "prepare"
"""Two-phase commit: a participant's vote."""

TYPE_COMMIT: Final = "commit"
"""Two-phase commit: a participant's commit."""

TYPE_ROLLBACK: Final = "rollback"
"""Two-phase commit: a participant's rollback."""

STEP_TYPES: Final = (TYPE_ACTION, TYPE_COMPENSATION, TYPE_PREPARE, TYPE_COMMIT, TYPE_ROLLBACK)
"""Every value of `STEP_TYPE`."""

STEP_COMPENSATES: Final = "saga.step.compensates"
"""string, compensations: the name of the step that it compensates."""

STEP_ATTEMPT: Final = "saga.step.attempt"
"""int >= 1, attempts: 1 for the first attempt."""

STEP_MAX_ATTEMPTS: Final = "saga.step.max_attempts"
"""int, attempts, optional: the attempt with this number is the last."""

STEP_RETRY_IN: Final = "saga.step.retry_in"
"""double, seconds, failed attempts, optional: the planned wait before the next attempt."""

STEP_TIMEOUT: Final = "saga.step.timeout"
"""double, seconds, attempts, optional: after this the attempt is overdue."""

STEP_PIVOT: Final = "saga.step.pivot"
"""bool, attempts, optional: after this step only forward is possible."""

STEP_IDEMPOTENCY_KEY: Final = "saga.step.idempotency_key"
"""string, attempts, optional."""

STEP_KEY: Final = "saga.step.key"
"""string, attempts, optional: tells intended repetitions of one step apart; ``""`` if absent."""

STEP_RESOURCES: Final = "saga.step.resources"
"""string[], attempts, optional: keys of what the step holds or waits for."""

WAIT_UNTIL: Final = "saga.wait.until"
"""double, Unix seconds, any, optional: the end of a planned wait; nothing is late before then."""

WAIT_REASON: Final = "saga.wait.reason"
"""string, any, optional: the reason for the planned wait."""

WAIT_FOR: Final = "saga.wait.for"
"""string, any, optional: an event without a deadline that the saga waits for; nothing is late until an attempt starts
after it, or the saga's own timeout passes. On a later log record, ``""`` withdraws it: the event came."""

PLAN: Final = "saga.plan"
"""string[], root span: step names in order."""

PLAN_COMPENSATIONS: Final = "saga.plan.compensations"
"""string[], root span, as long as `PLAN`; ``""`` where a step has none."""

PLAN_TIMEOUTS: Final = "saga.plan.timeouts"
"""double[], root span, as long as `PLAN`, seconds; 0 = none."""

PLAN_AFTER: Final = "saga.plan.after"
"""string[], root span, optional, as long as `PLAN`: each a comma-separated list of the steps it waits for."""

PLAN_OPTIONAL: Final = "saga.plan.optional"
"""bool[], root span, optional, as long as `PLAN`."""

SAGA_TIMEOUT: Final = "saga.timeout"
"""double, seconds, root span, optional: for the whole saga."""

SAGA_OUTCOME: Final = "saga.outcome"
"""string, root span at its end, or the span that closes a saga without a root: one of `OUTCOMES`."""

OUTCOME_COMPLETED: Final = "completed"
"""Every required step succeeded."""

OUTCOME_COMPENSATED: Final = "compensated"
"""The saga was given up, and its committed steps were compensated."""

OUTCOME_FAILED: Final = "failed"
"""The saga was given up with steps still committed, or with unknown outcomes."""

OUTCOMES: Final = (OUTCOME_COMPLETED, OUTCOME_COMPENSATED, OUTCOME_FAILED)
"""Every value of `SAGA_OUTCOME`."""

AMOUNT: Final = "saga.amount"
"""string, decimal, root or attempt, optional: the amount concerned, for example ``50.00``. On an attempt: what the
step moves. On the root: the most that may be at risk, if no attempt has an amount."""

CURRENCY: Final = "saga.currency"
"""string, ISO 4217, root or attempt, optional."""

KEY_PREFIX: Final = "saga.key."
"""``saga.key.<name>``, string, any, optional: a searchable business key."""

CAPTURE_PREFIX: Final = "sagascope.capture."
"""``sagascope.capture.<name>``, string, bool, int or double, attempts, optional: a captured value."""

PROCESS_ID: Final = "sagascope.process.id"
"""string, resource: new for each process, also after a fork; ``""`` for work that belongs to no process. Sent by
Sagascope's instrumentation."""

SCRUBBED: Final = "sagascope.scrubbed"
"""string[], any, added by the collector: what its scrubbing rules removed, each as ``rule: location``."""

MAPPED: Final = "sagascope.mapped"
"""string[], any, added by the collector: the ``saga.*`` attributes of this record that its mapping rules added."""

SETTLE_COMMIT: Final = "sagascope.settle.commit"
"""string, ``prepare`` attempts, optional: the command that commits this participant."""

SETTLE_ROLLBACK: Final = "sagascope.settle.rollback"
"""string, ``prepare`` attempts, optional: the command that rolls it back."""

# --- work that has not ended -----------------------------------------------------------------------

EVENT_SPAN_START: Final = "sagascope.span.start"
"""Event name of the log record that announces a saga span that is still open."""

EVENT_WAITING: Final = "sagascope.waiting"
"""Event name of the log record in which an engine reports why a span waits; the body is half a sentence. The latest
record counts, and an empty body withdraws it. On the root span it applies to the whole saga."""

BLOCKED_CAUSE: Final = "sagascope.blocked.cause"
"""string, on an `EVENT_WAITING` record, optional: why the span cannot proceed, one of `BLOCKED_CAUSES`."""

BLOCKED_CAUSES: Final = ("task_failing", "no_worker", "paused", "unpublished", "worker_lost", "dead_letter")
"""Values of `BLOCKED_CAUSE`: the workflow's own task fails; no worker takes the work; it is paused; a message was not
published; the worker that executes it is lost; no consumer gets the message whose headers the span injected."""

EVENT_HEARTBEAT: Final = "sagascope.heartbeat"
"""Event name of the log record that reports a process as alive, and its open announced spans."""

SPAN_NAME: Final = "sagascope.span.name"
"""string, start record: the span's name."""

SPAN_KIND: Final = "sagascope.span.kind"
"""string, start record: ``internal``, ``server``, ``client``, ``producer`` or ``consumer``."""

SPAN_PARENT_ID: Final = "sagascope.span.parent_id"
"""string, start record: the parent's span id in hex, or ``""``."""

HEARTBEAT_INTERVAL: Final = "sagascope.heartbeat.interval"
"""double, heartbeat: seconds until the next."""

HEARTBEAT_SEQUENCE: Final = "sagascope.heartbeat.sequence"
"""int, heartbeat: counts the process's heartbeats."""

HEARTBEAT_OPEN_SPANS: Final = "sagascope.heartbeat.open_spans"
"""string[], heartbeat: hex ids of the announced spans that are open, oldest first, at most 1,000 a record."""

HEARTBEAT_PART: Final = "sagascope.heartbeat.part"
"""int from 1, heartbeat: which part of a longer list this record is; 1 if absent."""

HEARTBEAT_PARTS: Final = "sagascope.heartbeat.parts"
"""int from 1, heartbeat: how many records the list comes in; 1 if absent."""

HEARTBEAT_OPEN_COUNT: Final = "sagascope.heartbeat.open_count"
"""int, heartbeat: how many announced spans are open."""

HEARTBEAT_DROPPED: Final = "sagascope.heartbeat.dropped"
"""int, heartbeat: records that this process could not send so far."""

HEARTBEAT_FINAL: Final = "sagascope.heartbeat.final"
"""bool, heartbeat: the process is shutting down; none of its work continues."""

BRIDGE_KIND: Final = "sagascope.bridge.kind"
"""string, heartbeat of a bridge: the system that it follows, for example ``postgres``."""

BRIDGE_LAG: Final = "sagascope.bridge.lag"
"""double, heartbeat of a bridge: seconds by which its records may lag behind what it follows."""

BRIDGE_WATCHING: Final = "sagascope.bridge.watching"
"""int, heartbeat of a bridge: work items that it follows and that have not ended."""

BRIDGE_ERROR: Final = "sagascope.bridge.error"
"""string, heartbeat of a bridge, optional: what the bridge cannot reach or follow, as a sentence."""

# --- bridges ---------------------------------------------------------------------------------------

TABLE_NAME: Final = "sagascope.table.name"
"""string, root and attempts of a bridge to tables: the table of the row."""

TABLE_KEY: Final = "sagascope.table.key"
"""string, likewise: the key of the row, as a JSON array."""

TABLE_STATE: Final = "sagascope.table.state"
"""bool, attempts of a bridge to tables: the row names no step, and the attempt is named after its state. It is not part
of the ledger."""

EVENT_PREPARED_LOCKS: Final = "sagascope.prepared.locks"
"""Event name of the log record that lists the locks of a prepared transaction and the sessions that wait for them."""

EVENT_PREPARED_FORGOTTEN: Final = "sagascope.prepared.forgotten"
"""Event name of the log record of a prepared transaction that ended, and of which PostgreSQL no longer knows how."""

PREPARED_GID: Final = "sagascope.prepared.gid"
"""string, attempts of a bridge to PostgreSQL: the global id of the prepared transaction."""

PREPARED_OWNER: Final = "sagascope.prepared.owner"
"""string, likewise: the user who may commit or roll back the transaction, besides a superuser."""

PREPARED_FOLLOWED: Final = "sagascope.prepared.followed"
"""string[], ``prepare`` attempts of a bridge to PostgreSQL: the databases that it follows. Those without a prepared
transaction may have taken part."""

# --- messages --------------------------------------------------------------------------------------

MESSAGING_SYSTEM: Final = "messaging.system"
"""string, spans of kind producer: the broker, for example ``nats`` or ``kafka``."""

MESSAGING_DESTINATION: Final = "messaging.destination.name"
"""string, likewise: the subject, topic or queue that the message is published to."""

MESSAGING_DESTINATIONS: Final = (MESSAGING_DESTINATION, "messaging.destination")
"""The attributes of a destination: today's, and that of instrumentations that follow older conventions."""

MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
"""string, likewise, optional: the message's own id."""

DEAD_LETTER_REASON: Final = "sagascope.dead_letter.reason"
"""string, on an `EVENT_WAITING` record with the cause ``dead_letter``, optional: the broker's reason, for example
``expired``."""

DEAD_LETTER_QUEUE: Final = "sagascope.dead_letter.queue"
"""string, likewise, optional: the queue, topic or exchange that holds the message now."""

# --- Temporal --------------------------------------------------------------------------------------

TEMPORAL_NAMESPACE: Final = "temporal.namespace"
"""string, resource: the namespace of the workflow."""

TEMPORAL_TASK_QUEUE: Final = "temporal.task_queue"
"""string, root and attempts: the task queue of the workflow or the activity."""

TEMPORAL_ACTIVITY_ID: Final = "temporal.activity.id"
"""string, attempts: the activity's id within its run."""

TEMPORAL_SCHEDULED_AT: Final = "temporal.activity.scheduled_at"
"""double, Unix seconds, attempts: when this attempt was scheduled."""

TEMPORAL_CHILD_ID: Final = "temporal.child.workflow_id"
"""string, attempts: the child workflow that is this step."""

TEMPORAL_NEW_RUN: Final = "temporal.new_run_id"
"""string, root: the run that continues this one."""

TEMPORAL_PARENT_ID: Final = "temporal.parent.workflow_id"
"""string, root: the workflow that waits for this one as its child."""

# --- Celery ----------------------------------------------------------------------------------------

CELERY_ROOT_ID: Final = "celery.root_id"
"""string, spans of Celery's tasks: the id of the task that started the chain, group or chord."""

# --- context ---------------------------------------------------------------------------------------

BAGGAGE_MEMBERS: Final = (SAGA_ID, SAGA_NAME, SAGA_RUN_ID, STEP_NAME, STEP_KEY, STEP_ATTEMPT)
"""The members that travel in W3C ``baggage``; each becomes an attribute of every span and log below."""

# --- compensations by their names ------------------------------------------------------------------

COMPENSATION_PREFIXES: Final = ("undo_", "compensate_", "Undo", "Compensate")
"""An activity whose name is one of these followed by the name of another activity compensates that activity."""

COMPENSATION_WORDS: Final = ("undo", "compensate", "refund", "cancel", "reverse")
"""An activity whose name begins with one of these may compensate a step that was committed before."""

_SEPARATORS: Final = re.compile(r"[^0-9A-Za-z]+")
_WORDS: Final = re.compile(rf"(?i:{'|'.join(COMPENSATION_WORDS)})(?=[^a-z]|$)")


def compensated_by_name(name: str, committed: Iterable[str], *, has_failed: bool) -> str:
    """Returns the step that an activity of this name compensates; ``""``: none can be told.

    A name after `COMPENSATION_PREFIXES` is that of the step. One after `COMPENSATION_WORDS` must be, or end, the name
    of exactly one committed step: ``cancelHotel`` compensates ``bookHotel``. A word alone, such as ``refund``,
    compensates the only committed step, once a step has failed.

    Args:
        name: The activity's name.
        committed: The steps that are committed and not compensated.
        has_failed: Whether a step of the run has failed.
    """
    for prefix in COMPENSATION_PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    found = _WORDS.match(name)
    steps = set(committed)
    if found is None:
        return ""
    rest = _plain(name[found.end() :])
    if rest:
        exact = {step for step in steps if _plain(step) == rest}
        steps = exact or {step for step in steps if _plain(step).endswith(rest)}
    elif not has_failed:
        return ""
    return steps.pop() if len(steps) == 1 else ""


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).lower()
