"""The checkpoint of a Temporal bridge: how far each run's history was read, and what in it has not ended."""

from pydantic import BaseModel, ConfigDict


class PendingCall(BaseModel):
    """A scheduled activity or child workflow that has not ended. Times are in nanoseconds since 1970."""

    id: str
    """The activity's id; the run id of a child workflow."""
    type: str
    scheduled_at: int
    key: str = ""
    """The step key: distinguishes the second and later calls of a type from the first."""
    compensates: str = ""
    task_queue: str = ""
    child_workflow_id: str = ""
    """``""``: the call is an activity."""
    timeout: float = 0.0
    """The timeout of an attempt in seconds; 0: none."""
    max_attempts: int = 0
    """0: unlimited."""
    attempt: int = 1
    """The number of the latest attempt that was reported."""
    attempt_started_at: int = 0
    """When that attempt started, or started to wait for a worker."""
    is_started: bool = False
    """Whether a worker has started that attempt."""
    ended_attempt: int = 0
    """The number of the latest attempt whose end was reported."""
    next_attempt_at: int = 0
    """When the next attempt was due, after the latest failure."""
    obstacle: str = ""
    """The reported reason why it cannot proceed."""


class Run(BaseModel):
    """A run of a workflow that has not ended. Times are in nanoseconds since 1970."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str = ""
    task_queue: str = ""
    started_at: int = 0
    last_event_id: int = 0
    """The last event of the history that was read."""
    calls: dict[str, PendingCall] = {}
    """By the id of the event that scheduled the call."""
    timers: dict[str, int] = {}
    """When each timer fires, by its id."""
    call_counts: dict[str, int] = {}
    """The number of calls so far, by type."""
    signal_counts: dict[str, int] = {}
    """The number of signals so far, by name."""
    committed: list[str] = []
    """Steps that are committed and not compensated."""
    compensated: list[str] = []
    task_failure: str = ""
    """The error of the workflow task that failed; ``""`` since a workflow task completed."""
    task_failed_at: int = 0
    obstacle: str = ""
    """The reported reason why the workflow cannot proceed."""
    parent_workflow_id: str = ""
    continued_run_id: str = ""
    """The run as which this one continues."""
    reported_timer_at: int = 0
    """When the timer fires that was reported last."""
    is_over: bool = False


class Checkpoint(BaseModel):
    """How far the runs of all namespaces were followed.

    Unknown fields are refused: a checkpoint of another version must not be taken for a new one.
    """

    model_config = ConfigDict(extra="forbid")

    listed_at: dict[str, int] = {}
    """By namespace: runs that started or ended before this time were listed."""
    runs: dict[str, Run] = {}
    """Runs that have not ended, by run id."""
    ended: dict[str, int] = {}
    """End times of runs that the next list may contain again."""
    unpolled_since: dict[str, int] = {}
    """Task queues that no worker polls, and since when."""
