"""Joins Celery's tasks to transactions, and sends their steps before the process that executed them may end.

    from sagascope.integrations.celery import flush_after_tasks, join_tasks

    join_tasks()  # once, in the module of the app, after CeleryInstrumentor().instrument()
    flush_after_tasks()

A child of Celery's prefork pool ends without exit handlers: after ``--max-tasks-per-child``, at a time limit, when it
is replaced or terminated. What it has queued would be lost.
"""

from collections.abc import MutableMapping
from time import monotonic
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

import sagascope
from sagascope import semconv
from sagascope._context import get_saga_context
from sagascope._errors import Guard, MissingExtra

try:
    from celery import signals
except ModuleNotFoundError as _missing:
    if _missing.name != "celery":
        raise
    raise MissingExtra("The Celery integration", package="celery") from _missing

_JOINING = Guard("joining a task")

FLUSH_TIMEOUT_SECONDS = 1.0
"""Time that a task waits until its steps are sent."""

RETRY_AFTER_SECONDS = 10.0
"""Time after a failed flush for which no further task waits."""


def flush_after_tasks(timeout: float = FLUSH_TIMEOUT_SECONDS) -> None:
    """Sends what is queued after each task, and the final heartbeat when a pool process shuts down.

    A task outside any saga queues nothing, and waits for nothing; nor does one that is executed eagerly, by its
    caller. A second call has no effect.

    Args:
        timeout: Seconds that a task may wait for the collector after its end; 0 does not wait.
    """
    flusher = _Flusher(timeout)
    # Celery refers to a receiver weakly by default, and nothing else refers to these
    signals.task_postrun.connect(flusher.on_task_end, weak=False, dispatch_uid="sagascope")
    signals.worker_process_shutdown.connect(_on_process_shutdown, weak=False, dispatch_uid="sagascope")


def join_tasks() -> None:
    """Puts the id of the root task on the spans of OpenTelemetry's instrumentation.

    All tasks that one task starts, directly or in a chain, a group or a chord, have its id as the root id, and are one
    saga. What is started outside a task, but in the block of a saga and in none of its steps, has the saga's id as the
    root id, and belongs to that saga. Call it in the callers of tasks and in the workers, after
    ``CeleryInstrumentor().instrument()``. A second call has no effect.
    """
    signals.before_task_publish.connect(_on_publish, weak=False, dispatch_uid="sagascope-root")
    signals.task_prerun.connect(_on_task_start, weak=False, dispatch_uid="sagascope-root")


def _on_publish(headers: MutableMapping[str, Any] | None = None, **_: object) -> None:
    if not headers:
        return
    with _JOINING:
        saga = get_saga_context(get_current())
        if saga is not None and not saga.step and headers.get("root_id") == headers.get("id"):
            headers["root_id"] = saga.identity.id  # Celery passes it on to every task that follows
        _set_root(headers.get("root_id"))


def _on_task_start(task: Any = None, **_: object) -> None:
    _set_root(getattr(getattr(task, "request", None), "root_id", None))


def _set_root(root_id: Any) -> None:
    if root_id:
        get_current_span().set_attribute(semconv.CELERY_ROOT_ID, str(root_id))


class _Flusher:
    """Flushes after tasks; while the collector cannot be reached, only one task in ten seconds waits for it."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._retry_at = 0.0

    def on_task_end(self, task: Any, **_: object) -> None:
        if task.request.is_eager:
            return
        waits = monotonic() >= self._retry_at
        if sagascope.flush(self._timeout if waits else 0.0):
            self._retry_at = 0.0
        elif waits:
            self._retry_at = monotonic() + RETRY_AFTER_SECONDS


def _on_process_shutdown(**_: object) -> None:
    sagascope.shutdown()
