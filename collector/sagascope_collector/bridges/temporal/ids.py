"""The ids under which a run is told of, as `sagascope.integrations.temporal` makes them: both tell one timeline."""

from hashlib import sha256
from typing import Final

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8


def trace_id(run: str) -> bytes:
    """The trace of a run of a workflow."""
    return _first(TRACE_ID_BYTES, f"temporal/{run}")


def root_id(run: str) -> bytes:
    """The span that stands for the run."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/saga")


def attempt_id(run: str, activity: str, attempt: int) -> bytes:
    """The span of one try of an activity."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/activity/{activity}/{attempt}")


def child_id(run: str, child_run: str) -> bytes:
    """The span of a child workflow, as a step of its parent."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/child/{child_run}")


def signal_id(run: str, name: str, number: int) -> bytes:
    """The span of a signal that came; `number` counts those of its name, from 1."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/signal/{name}/{number}")


def update_id(run: str, update: str) -> bytes:
    """The span of an update that came."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/update/{update}")


def failed_task_id(run: str, history: int) -> bytes:
    """The span of a task of the workflow that failed, at this length of the history."""
    return _first(SPAN_ID_BYTES, f"temporal/{run}/task/{history}")


def _first(length: int, text: str) -> bytes:
    return sha256(text.encode()).digest()[:length]
