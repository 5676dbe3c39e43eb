"""A saga as it was rebuilt, and what is said of it.

Times are integers of nanoseconds since the Unix epoch, UTC; durations are seconds as floats; amounts are `Decimal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from sagascope_collector.analysis.skew import Skew
from sagascope_collector.analysis.wording import Text
from sagascope_collector.records import Log, Process, SagaKey, Span


class Status(StrEnum):
    """Where a saga is in its life."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a saga needs attention; where several hold, the first in this order is reported."""

    APPLIED_TWICE = "applied_twice"
    COMPENSATION_FAILED = "compensation_failed"
    UNCOMPENSATED = "uncompensated"
    MIXED_OUTCOME = "mixed_outcome"
    IN_DOUBT = "in_doubt"
    BLOCKED = "blocked"
    INSTANCE_LOST = "instance_lost"
    RETRYING = "retrying"
    HUNG = "hung"
    NEXT_STEP_MISSING = "next_step_missing"
    NEVER_CLOSED = "never_closed"


class Phase(StrEnum):
    """Whether the saga was moving forward or compensating."""

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
    """What is known of a step, over all its attempts."""

    NOT_STARTED = "not_started"
    """Known: its saga reports everything, and reported no attempt."""
    NOT_SEEN = "not_seen"
    """No attempt was received, and telemetry of the saga may be missing."""
    IN_FLIGHT = "in_flight"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    COMPENSATED = "compensated"


class LedgerState(StrEnum):
    """What is committed of a step."""

    COMMITTED = "committed"
    COMPENSATED = "compensated"
    COMPENSATING = "compensating"
    COMPENSATION_FAILED = "compensation_failed"
    COMPENSATION_UNKNOWN = "compensation_unknown"
    """The step is committed for certain; whether its compensation took effect is unknown."""
    UNKNOWN = "unknown"
    """Whether the step took effect is unknown."""
    NOT_COMPENSABLE = "not_compensable"
    """Committed; the plan names compensations, and none for this step."""
    NOT_DONE = "not_done"
    """No attempt took effect. With `LedgerEntry.is_seen` False: none was received."""


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
    skew: Skew | None = field(default=None, compare=False, repr=False)
    """How exactly moments of the processes of its saga can be compared."""
    logged_until: int = 0
    """Where only log records tell of it: when the latest did, on the saga's clock; 0: spans tell of it."""
    child: SagaKey | None = None
    """The saga that this attempt is, where a child saga does the work; its ``name`` may be ``""``."""

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
    is_seen: bool = True
    """False: no attempt was received, and telemetry may be missing. Then no text says that nothing was charged."""


@dataclass(frozen=True, slots=True)
class AmountAtRisk:
    """The amount in one currency that may be wrong in a saga that is not completed."""

    currency: str
    certain: Decimal
    possible: Decimal


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that should not have happened, whether or not it needs attention."""

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
class AwaitedEvent:
    """An event without a deadline that the saga waits for: nothing is late until an attempt starts after it."""

    name: str
    declared_at: int
    """On the saga's clock."""
    reason: str | None
    process: Process
    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What an engine or a sender itself says the saga cannot get past, as far as it was not withdrawn."""

    cause: str
    """One of `semconv.BLOCKED_CAUSES`."""
    text: str
    """The reporter's words: half a sentence, such as ``no worker polls the task queue payments``."""
    since: int
    """When it was first reported without a withdrawal in between, on the saga's clock."""
    process: Process
    """The process that reported it."""
    step: str | None
    """None: the whole saga is blocked."""
    trace_id: str
    span_id: str
    """The span that cannot proceed."""


class Participant(NamedTuple):
    """The decision that one participant of a two-phase commit carried out."""

    step: Step
    attempt: Attempt
    """Its commit, or its rollback, that succeeded."""


@dataclass(frozen=True, slots=True)
class MixedOutcome:
    """One two-phase commit of which one participant committed and another rolled back."""

    committed: tuple[Participant, ...]
    rolled_back: tuple[Participant, ...]


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
    amount_at_risk: tuple[AmountAtRisk, ...]
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
    awaited_event: AwaitedEvent | None = None
    """The event without a deadline that the saga waits for now (`saga.wait.for`, or what its engine tells)."""
    blocked: tuple[BlockReport, ...] = ()
    """What its engine or a sender says it cannot get past, the earliest first; empty once it has ended."""
    mixed_outcomes: tuple[MixedOutcome, ...] = ()
    """Two-phase commits whose participants did not all do the same."""
    continued_as: SagaKey | None = None
    """The run as which this one continued (continue-as-new, a restart): then it ended as completed. Its ``run`` is
    ``""`` where the new run is not known."""
    continued_from: SagaKey | None = None
    """The older run that continued as this one."""
    superseded_by: SagaKey | None = None
    """A newer run of this id, which ended this one: nothing else was received of its end."""
    repeated_by_newer: frozenset[str] = frozenset()
    """Steps that this run has committed and the newer run committed again, without a common idempotency key."""
    parent: SagaKey | None = None
    """The saga that waits for this one, as far as its telemetry names it; its ``name`` may be ``""``."""
    inferred_name: str | None = None
    """The saga's type, where it was not received and finished sagas allow only one: by its steps and services."""
    longest_pause: float | None = None
    """Seconds: the longest time without progress in finished sagas; only where no plan and no type is known."""
    may_lack_telemetry: bool = False
    """Whether telemetry of it may be missing, so that the absence of a record proves nothing."""
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    """Nanoseconds to add to the clock of a process, by (service, identity), where clocks contradict; the rest are 0."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One received fact behind a verdict."""

    text: Text
    at: int
    service: str | None
    trace_id: str | None
    span_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a saga needs attention."""

    reason: Reason
    phase: Phase
    step: str | None
    service: str | None
    instance: str | None
    since: int
    headline: Text
    evidence: tuple[Evidence, ...]
    actions: tuple[Text, ...]
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Judgement:
    """The diagnosis of a saga at one moment."""

    step: str | None
    """The current step; None once the saga has ended and needs no attention."""
    service: str | None
    attempts: int
    """Attempts of the current step."""
    error: Failure | None
    """The latest error of the current step."""
    verdict: Verdict | None
    headline: Text
    """The verdict's; without one, the saga's current state."""
    customer_line: Text
    """One sentence for a person outside engineering: charged or not, refunded or not, as far as is known."""
    due_at: int | None
    """The next moment at which this judgement may change without a new fact; None: never."""
    promises: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    """Until when each process that it relies on must report, by (service, identity): see `promised_until`."""
