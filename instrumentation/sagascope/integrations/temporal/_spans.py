"""The ids under which a run is told of: made from what Temporal says, so that all who tell of it make the same."""

from hashlib import sha256

from opentelemetry.trace import SpanContext, TraceFlags

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def trace_id(run: str) -> int:
    """The trace of a run of a workflow."""
    return _first(16, f"temporal/{run}")


def root_id(run: str) -> int:
    """The span that stands for the run."""
    return _first(8, f"temporal/{run}/saga")


def root(run: str) -> SpanContext:
    """The ids of the span that stands for the run."""
    return SpanContext(trace_id(run), root_id(run), is_remote=True, trace_flags=_SAMPLED)


def attempt_id(run: str, activity: str, attempt: int) -> int:
    """The span of one try of an activity, by the activity's id."""
    return _first(8, f"temporal/{run}/activity/{activity}/{attempt}")


def child_id(run: str, child_run: str) -> int:
    """The span of a child workflow, as a step of its parent."""
    return _first(8, f"temporal/{run}/child/{child_run}")


def signal_id(run: str, name: str, number: int) -> int:
    """The span of a signal that came; `number` counts those of its name, from 1."""
    return _first(8, f"temporal/{run}/signal/{name}/{number}")


def update_id(run: str, update: str) -> int:
    """The span of an update that came, by its id."""
    return _first(8, f"temporal/{run}/update/{update}")


def failed_task_id(run: str, history: int) -> int:
    """The span of a task of the workflow that failed, at this length of the history."""
    return _first(8, f"temporal/{run}/task/{history}")


def _first(length: int, text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:length], "big")
