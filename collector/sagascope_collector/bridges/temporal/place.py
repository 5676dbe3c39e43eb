"""What a bridge remembers of Temporal: how far each run was read, and what of it has not ended."""

from pydantic import BaseModel


class Call(BaseModel):
    """A call of an activity, or of a child workflow, that has not ended. Times are nanoseconds since 1970."""

    activity: str
    """The activity's id; the child's run."""
    type: str
    at: int
    """When it was called for."""
    key: str = ""
    """Tells the second call of one type, and every later one, from the first."""
    undoes: str = ""
    queue: str = ""
    child: str = ""
    """The child's workflow id; ``""``: it is an activity."""
    timeout: float = 0.0
    """Seconds that a try may take; 0: any."""
    max_attempts: int = 0
    attempt: int = 1
    """The latest that was told of."""
    since: int = 0
    """When that one began, or began to wait for a worker."""
    is_taken: bool = False
    """Whether a worker has that one."""
    over: int = 0
    """The latest that was told to have ended."""
    due: int = 0
    """When the next was to begin, after the latest failed."""
    note: str = ""
    """What was said last of why it waits."""


class Run(BaseModel):
    """One run of a workflow that has not ended."""

    namespace: str
    workflow: str
    run: str
    type: str = ""
    queue: str = ""
    begun: int = 0
    read: int = 0
    """The last event of its history that was read."""
    calls: dict[str, Call] = {}
    """By the event that called for it."""
    timers: dict[str, int] = {}
    """When each fires, by its id."""
    counted: dict[str, int] = {}
    """Calls so far, by type."""
    signals: dict[str, int] = {}
    """Signals so far, by name."""
    done: list[str] = []
    """Steps that are in force."""
    undone: list[str] = []
    task_failed: str = ""
    """Why its own task failed last; ``""``: it did not, since it was last done."""
    task_failed_at: int = 0
    note: str = ""
    """What was said last of why it waits."""
    parent: str = ""
    """The workflow that began it as its child."""
    continued_as: str = ""
    """The run as which it continued."""
    waits_until: int = 0
    """The timer that was told of last."""
    is_over: bool = False


class Place(BaseModel):
    """How far the runs of all namespaces were followed."""

    looked: dict[str, int] = {}
    """By namespace: runs that began, or ended, before then were met."""
    runs: dict[str, Run] = {}
    """Those that have not ended, by run id."""
    ended: dict[str, int] = {}
    """When those ended that the next look may meet once more."""
    unpolled: dict[str, int] = {}
    """Since when no worker polls a task queue."""
