"""A saga as it was rebuilt, and what is said of it.

Times are integers of nanoseconds since the Unix epoch, UTC; durations are seconds as floats; amounts are `Decimal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """As its emitter's clock had it; add `offset` to compare it with other attempts."""
    ended_at: int | None
    """Likewise; None while it is in flight, or where its final span was lost."""
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
    pivot: bool = False
    compensates: str | None = None
    views: tuple[Span, ...] = ()
    """The spans that tell of it, the caller's first and the executor's last."""
    offset: int = 0
    """Nanoseconds to add to the executor's clock so that it agrees with the saga's."""
    began: int = 0
    """When it was first called for, on the saga's clock."""
    over: int | None = None
    """When it was last heard to be over, on the saga's clock; None while it is in flight."""
    gone: frozenset[str] = frozenset()
    """Span ids among `views` that are over although their final span never came."""
    is_executor_known: bool = True
    """Whether `process` is known to have done the work; else it may only have called for it."""

    @property
    def taken_at(self) -> int:
        """When its executor took the work, on the saga's clock."""
        return (self.views[-1].start if self.views else self.started_at) + self.offset


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
    undo_known: bool = True
    """False when nothing was said of compensations: then a step without one may still be undone."""
    follows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of a learned plan: what began next after each step's end, with its share; ``""`` is the saga's end."""

    def step(self, name: str) -> PlannedStep | None:
        """The planned step of this name."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the undo ledger."""

    step: str
    compensation: str | None
    state: LedgerState
    amount: Decimal | None
    currency: str | None
    is_harmless: bool = False
    """The plan names compensations, and none for this step."""


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
class Wait:
    """A wait that is meant: nothing is late before ``until``."""

    declared_at: int
    until: int
    reason: str | None
    whole: bool
    """Said by the root: of the whole saga, not only of what stood at that moment."""


@dataclass(frozen=True, slots=True)
class Saga:
    """One saga rebuilt from its facts.

    The time at which it is looked at decides one thing only: when an open span that its process no longer lists is
    given up as lost.
    """

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
    closing: Span | None = None
    """The span that ended it, the root or another that carries an outcome; None while it is open."""
    waits: tuple[Wait, ...] = ()
    drives: tuple[int, ...] = ()
    """When a new root drove the saga anew after it had ended."""
    announced: dict[str, int] = field(default_factory=dict)
    """When each open span, by its id, was announced; spans of emitters that announce nothing are not here."""
    gone: frozenset[str] = frozenset()
    """Ids of open spans that are over although their final span never came."""
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    """Nanoseconds to add to the clock of a process, by (service, identity), where clocks contradict; the rest are 0."""


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
    promises: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    """Until when each process that it relies on was to be heard, by (service, identity): see `promised_until`."""
