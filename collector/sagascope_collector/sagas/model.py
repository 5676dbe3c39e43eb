"""A saga as it was rebuilt, and what is said of it.

Times are integers of nanoseconds since the Unix epoch, UTC; durations are seconds as floats; amounts are `Decimal`.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sagascope_collector.records import Log, Process, SagaKey, Span


class Status(StrEnum):
    """Where a saga is in its life."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"


class Reason(StrEnum):
    """Why somebody is needed; where several hold, the first one here is said."""

    APPLIED_TWICE = "applied_twice"
    COMPENSATION_FAILED = "compensation_failed"
    UNCOMPENSATED = "uncompensated"
    IN_DOUBT = "in_doubt"
    INSTANCE_LOST = "instance_lost"
    RETRYING = "retrying"
    HUNG = "hung"
    NEXT_STEP_MISSING = "next_step_missing"
    NEVER_CLOSED = "never_closed"


class Phase(StrEnum):
    """Whether the saga was going forward or back."""

    FORWARD = "forward"
    COMPENSATION = "compensation"


class Confidence(StrEnum):
    """How far the evidence carries a verdict."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class AttemptState(StrEnum):
    """How one try of a step stands."""

    IN_FLIGHT = "in_flight"
    OK = "ok"
    ERROR = "error"
    UNKNOWN = "unknown"


class StepState(StrEnum):
    """How a step stands, over all its attempts."""

    NOT_STARTED = "not_started"
    IN_FLIGHT = "in_flight"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNDONE = "undone"


class LedgerState(StrEnum):
    """What is still in force of a step."""

    IN_FORCE = "in_force"
    UNDONE = "undone"
    UNDOING = "undoing"
    UNDO_FAILED = "undo_failed"
    UNKNOWN = "unknown"
    NOTHING_TO_UNDO = "nothing_to_undo"
    NOT_DONE = "not_done"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its emitter described it."""

    type: str | None
    message: str | None
    stacktrace: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a step; the views of caller and executor are one attempt."""

    number: int
    process: Process
    """The executor's."""
    trace_id: str
    span_id: str
    started_at: int
    ended_at: int | None
    state: AttemptState
    error: Failure | None
    amount: Decimal | None = None
    currency: str | None = None
    idempotency_key: str | None = None
    timeout: float | None = None
    retry_in: float | None = None
    max_attempts: int | None = None
    wait_until: int | None = None
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step with everything tried. Planned steps that never started have no attempts."""

    name: str
    key: str
    type: str
    service: str | None
    state: StepState
    compensates: str | None
    attempts: tuple[Attempt, ...]
    pivot: bool = False


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan."""

    name: str
    compensation: str | None
    timeout: float | None
    optional: bool = False
    after: tuple[str, ...] | None = None
    """The steps that it waits for; None = the one before it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps of a saga type. ``source`` is ``declared``, ``learned`` or ``none``."""

    source: str
    steps: tuple[PlannedStep, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the undo ledger."""

    step: str
    compensation: str | None
    state: LedgerState
    amount: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """The amount at stake in one currency."""

    currency: str
    certain: Decimal
    possible: Decimal


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that should not have happened, whether or not anybody is needed."""

    code: str
    text: str
    step: str | None


@dataclass(frozen=True, slots=True)
class Saga:
    """One saga rebuilt from its facts. Nothing in it depends on the time at which it is looked at."""

    key: SagaKey
    status: Status
    plan: Plan
    steps: tuple[Step, ...]
    """In the order of their first start; planned ones that never started follow in plan order."""
    root: Span | None
    """The root span, final or open; None while it has not arrived."""
    started_at: int
    updated_at: int
    ended_at: int | None
    """None while the saga is open."""
    timeout: float | None
    amount: Decimal | None
    currency: str | None
    keys: dict[str, str]
    ledger: tuple[LedgerEntry, ...]
    exposure: tuple[Exposure, ...]
    anomalies: tuple[Anomaly, ...]
    spans: tuple[Span, ...]
    """In time order, one for each (trace id, span id)."""
    logs: tuple[Log, ...]
    """In time order."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One received fact behind a verdict."""

    text: str
    at: int
    service: str | None
    trace_id: str | None
    span_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a saga needs someone."""

    reason: Reason
    phase: Phase
    step: str | None
    service: str | None
    instance: str | None
    since: int
    headline: str
    evidence: tuple[Evidence, ...]
    actions: tuple[str, ...]
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of a saga at one moment."""

    step: str | None
    """The frontier's; None once the saga has ended and needs nobody."""
    service: str | None
    attempts: int
    """Attempts of the frontier step."""
    error: Failure | None
    """The latest of the frontier."""
    verdict: Verdict | None
    headline: str
    """The verdict's, or where a saga stands that needs nobody."""
    customer_line: str
    """One sentence for a person outside engineering: charged or not, refunded or not, as far as is known."""
    due_at: int | None
    """The next moment at which this judgement may change without a new fact; None: never."""
