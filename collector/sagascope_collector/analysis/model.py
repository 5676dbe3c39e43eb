"""The model of a rebuilt saga.

Times are integers of nanoseconds since the Unix epoch, UTC; durations are seconds as floats; amounts are `Decimal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.analysis.clocks import Skew
from sagascope_collector.records import Log, Process, SagaKey, Span

UNKNOWN_NAME: Final = "unknown"
"""The name of a saga whose name was not received."""


COMPENSATING_TYPES: Final = (semconv.TYPE_COMPENSATION, semconv.TYPE_ROLLBACK)
"""Types of steps that compensate."""

FORWARD_TYPES: Final = (semconv.TYPE_ACTION, semconv.TYPE_COMMIT)
"""Types of steps that commit work."""


class Status(StrEnum):
    """The status of a saga."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"


class Phase(StrEnum):
    """Whether the saga was moving forward or compensating."""

    FORWARD = "forward"
    COMPENSATION = "compensation"


class Confidence(StrEnum):
    """How well the evidence supports a verdict."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class AttemptState(StrEnum):
    """The state of one attempt."""

    IN_FLIGHT = "in_flight"
    OK = "ok"
    ERROR = "error"
    UNKNOWN = "unknown"


class StepState(StrEnum):
    """The state of a step over all its attempts."""

    NOT_STARTED = "not_started"
    """Certain: all telemetry of the saga was received, and contains no attempt."""
    NOT_SEEN = "not_seen"
    """No attempt was received, and telemetry of the saga may be missing."""
    IN_FLIGHT = "in_flight"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    COMPENSATED = "compensated"


class LedgerState(StrEnum):
    """Whether a step is committed, compensated or unknown."""

    COMMITTED = "committed"
    COMPENSATED = "compensated"
    COMPENSATING = "compensating"
    COMPENSATION_FAILED = "compensation_failed"
    COMPENSATION_UNKNOWN = "compensation_unknown"
    """The step is certainly committed; whether its compensation took effect is unknown."""
    UNKNOWN = "unknown"
    """Whether the step took effect is unknown."""
    NOT_COMPENSABLE = "not_compensable"
    """Committed; the plan declares compensations, but none for this step."""
    NOT_DONE = "not_done"
    """No attempt took effect."""
    NOT_SEEN = "not_seen"
    """No attempt that took effect was received, and telemetry may be missing. No text states that nothing was done."""


COMMITTED_STATES: Final = (LedgerState.COMMITTED, LedgerState.COMPENSATION_FAILED, LedgerState.COMPENSATING)
"""States in which a step is certainly committed and not compensated."""

IN_EFFECT_STATES: Final = (*COMMITTED_STATES, LedgerState.COMPENSATION_UNKNOWN, LedgerState.UNKNOWN)
"""States in which a step is, or may be, in effect: its compensation is due, or must be verified."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its emitter described it."""

    type: str | None
    message: str | None
    stacktrace: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a step. The views of caller and executor form one attempt."""

    number: int
    process: Process
    """The executor's process."""
    trace_id: str
    span_id: str
    started_at: int
    """The start by the emitter's clock; add `offset` to compare it with other attempts."""
    ended_at: int | None
    """The end by the emitter's clock; None while in flight, or if the final span was lost."""
    state: AttemptState
    error: Failure | None
    amount: Decimal | None = None
    currency: str | None = None
    idempotency_key: str | None = None
    timeout: float | None = None
    retry_in: float | None = None
    max_attempts: int | None = None
    pivot: bool = False
    compensates: str | None = None
    views: tuple[Span, ...] = ()
    """Its spans, the caller's first and the executor's last."""
    offset: int = 0
    """Nanoseconds to add to the executor's clock so that it agrees with the saga's."""
    called_at: int = 0
    """The time of the first call, on the saga's clock."""
    finished_at: int | None = None
    """The last reported end, on the saga's clock; None while in flight."""
    lost_spans: frozenset[str] = frozenset()
    """Span ids among `views` that have ended although their final span was not received."""
    is_executor_known: bool = True
    """Whether `process` is known to have executed the work; if False, it may only have called it."""
    skew: Skew | None = field(default=None, compare=False, repr=False)
    """The skew with which times of the saga's processes are compared."""
    logged_until: int = 0
    """The time of its latest log record on the saga's clock, if only log records report it; 0 if spans do."""
    child: SagaKey | None = None
    """The child saga that does the work, if any; its ``name`` may be ``""``."""

    @property
    def error_text(self) -> str:
        """The message of its error, else the type; ``""`` if it has none."""
        return (self.error.message or self.error.type or "") if self.error is not None else ""

    @property
    def is_only_requested(self) -> bool:
        """Whether it was only requested, by a sender that waits for no answer, and no executor was seen."""
        return bool(self.views) and self.views[-1].kind == "producer"

    @property
    def answered_at(self) -> int:
        """The time at which its caller had the result, by the clock of its later calls; else of its last reported end.

        0 while it is in flight.
        """
        caller = self.views[0] if self.views else None
        return self.called_at + caller.end - caller.start if caller and caller.end else self.finished_at or 0

    @property
    def executor_started_at(self) -> int:
        """The start in the executor, on the saga's clock."""
        return (self.views[-1].start if self.views else self.started_at) + self.offset


@dataclass(frozen=True, slots=True)
class Step:
    """A step with all its attempts. Planned steps that never started have none."""

    name: str
    key: str
    type: str
    service: str | None
    state: StepState
    compensates: str | None
    attempts: tuple[Attempt, ...]
    pivot: bool = False

    @property
    def label(self) -> str:
        """The step's name for sentences, with its item: ``pick (item-1)``."""
        return f"{self.name} ({self.key})" if self.key else self.name

    @property
    def is_done(self) -> bool:
        """Whether it succeeded, even if it was compensated afterwards."""
        return self.state in (StepState.DONE, StepState.COMPENSATED)

    @property
    def phase(self) -> Phase:
        """``compensation`` if the step compensates another, or is a rollback."""
        return Phase.COMPENSATION if self.type in COMPENSATING_TYPES else Phase.FORWARD


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan."""

    name: str
    compensation: str | None
    timeout: float | None
    optional: bool = False
    after: tuple[str, ...] | None = None
    """The steps that it waits for; None: the previous step of the plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps of a saga type. ``source`` is ``declared``, ``learned`` or ``none``."""

    source: str
    steps: tuple[PlannedStep, ...] = ()
    compensations_known: bool = True
    """False if the plan does not declare compensations: a step without one may still be compensable."""
    follows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The successors of each step with their shares, in a learned plan; ``""`` is the saga's end."""

    def step(self, name: str) -> PlannedStep | None:
        """Returns the planned step with this name."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What is known of one step and key: whether it is committed, and its amount."""

    step: str
    compensation: str | None
    state: LedgerState
    amount: Decimal | None
    currency: str | None
    is_not_compensable: bool = False
    """Whether the plan declares compensations, but none for this step."""
    key: str = ""
    """The item of a step that runs once per item; ``""`` for other steps."""
    compensated_amount: Decimal | None = None
    """The amount that its compensation reports, where that is another one: a partial refund."""
    may_be_repeated: bool = False
    """Whether a further attempt, without a result, may be in effect besides."""

    @property
    def label(self) -> str:
        """The step's name for sentences, with its item: ``pick (item-1)``."""
        return f"{self.step} ({self.key})" if self.key else self.step


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
    """An intended wait: nothing is overdue before ``until``."""

    declared_at: int
    """The time of the declaration, on the saga's clock."""
    until: int
    reason: str | None
    whole: bool
    """Whether the root span declared it: it then covers the whole saga, not only the step that was current."""


@dataclass(frozen=True, slots=True)
class AwaitedEvent:
    """An event without a deadline that the saga waits for. Nothing is late until an attempt starts afterwards."""

    name: str
    declared_at: int
    """The time of the declaration, on the saga's clock."""
    reason: str | None
    process: Process
    trace_id: str
    span_id: str


DEAD_LETTER: Final = "dead_letter"
"""The cause of a report that no consumer gets a message any more."""

LOST_WORKER: Final = "worker_lost"
"""The cause of a report by an engine that the worker which executes an attempt is lost."""


@dataclass(frozen=True, slots=True)
class BlockReport:
    """A report by an engine or a sender that the saga is blocked, unless it was withdrawn."""

    cause: str
    """One of `semconv.BLOCKED_CAUSES`."""
    text: str
    """The reporter's text: half a sentence, such as ``no worker polls the task queue payments``."""
    since: int
    """The time of the first report without a later withdrawal, on the saga's clock."""
    process: Process
    """The process that reported it."""
    step: str | None
    """The blocked step; None if the whole saga is blocked."""
    trace_id: str
    span_id: str
    """The span that cannot proceed."""
    error: Failure | None = None
    """The error that blocks it, if the report has one apart from the text."""
    queue: str = ""
    """Where the message is that no consumer gets, if that is the cause."""


class Participant(NamedTuple):
    """The decision that one participant of a two-phase commit executed."""

    step: Step
    attempt: Attempt
    """The successful commit or rollback."""


@dataclass(frozen=True, slots=True)
class MixedOutcome:
    """A two-phase commit in which one participant committed and another rolled back."""

    committed: tuple[Participant, ...]
    rolled_back: tuple[Participant, ...]


@dataclass(frozen=True, slots=True)
class Saga:
    """One saga rebuilt from its facts.

    The time of evaluation affects one thing only: when an open span that its process no longer lists counts as lost.
    """

    key: SagaKey
    status: Status
    plan: Plan
    steps: tuple[Step, ...]
    """The steps in order of first start; planned steps that never started follow in plan order."""
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
    """The span that ended the saga: the root span or another span with an outcome; None while the saga is open."""
    waits: tuple[Wait, ...] = ()
    restarts: tuple[int, ...] = ()
    """The times at which a new root span restarted the saga after it had ended."""
    announced: dict[str, int] = field(default_factory=dict)
    """The time of each open span's announcement, by span id; spans that were not announced are left out."""
    lost_spans: frozenset[str] = frozenset()
    """Ids of open spans that have ended although their final span was not received."""
    awaited_event: AwaitedEvent | None = None
    """The event without a deadline that the saga waits for (`saga.wait.for`, or reported by its engine)."""
    resumed_at: int = 0
    """The time at which the wait for such an event was withdrawn, on the saga's clock; 0 if none was."""
    blocked: tuple[BlockReport, ...] = ()
    """Reports of engines and senders that block the saga, the earliest first; empty after the end."""
    lost_workers: tuple[BlockReport, ...] = ()
    """Reports that the worker which executes an attempt is lost."""
    mixed_outcomes: tuple[MixedOutcome, ...] = ()
    """Two-phase commits whose participants ended differently."""
    continued_as: SagaKey | None = None
    """The run as which this run continued (continue-as-new, a restart); this run then ended as completed. ``run`` is
    ``""`` if the new run is unknown."""
    superseded_by: SagaKey | None = None
    """A newer run of this id that ended this run, whose own end was not received."""
    repeated_by_newer: frozenset[str] = frozenset()
    """Steps that this run committed and the newer run committed again, without a common idempotency key."""
    newer_run: SagaKey | None = None
    """The next run of this id, if this run had failed before it started."""
    other_run: SagaKey | None = None
    """The latest other run of this id that is open or completed, and so may rely on what this run did."""
    relying_run: SagaKey | None = None
    """A run of this id that relies on `relied_on`."""
    relied_on: frozenset[str] = frozenset()
    """Steps of this failed run that another run executed with the same idempotency key: they have one effect, which
    this run must not compensate."""
    parent: SagaKey | None = None
    """The saga that waits for this saga, if telemetry names it; its ``name`` may be ``""``."""
    inferred_name: str | None = None
    """The saga's type inferred from steps and services, if none was received and only one type fits."""
    longest_pause: float | None = None
    """The longest time without progress in finished sagas, in seconds; only if no plan and no type is known."""
    may_lack_telemetry: bool = False
    """Whether telemetry of the saga may be missing, so that a missing record proves nothing."""
    lacks_records: bool = False
    """Whether records of the saga are known to be missing: the final span of ended work, a parent span, a step that an
    observed step waits for, or an attempt between two observed attempts."""
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    """Nanoseconds to add to the clock of a process, by (service, identity); processes left out have an offset of 0."""
    delay: int = 0
    """Nanoseconds by which the telemetry of all its processes is received late, according to their heartbeats."""

    @property
    def type_label(self) -> str:
        """The saga's type for sentences: as received, else as inferred, else ``transaction``."""
        return self.inferred_name or type_label(self.key.name)

    @property
    def label(self) -> str:
        """The saga's type and id for sentences: ``payment 8492``."""
        return f"{self.type_label} {self.key.id}"

    @property
    def passed_pivot(self) -> Step | None:
        """The pivot that is, or may be, committed: after it only forward is possible.

        None once the saga itself compensates: it then goes back, whatever was declared.
        """
        attempted = [step for step in self.steps if step.attempts]
        if any(step.phase is Phase.COMPENSATION for step in attempted):
            return None
        states = (StepState.DONE, StepState.UNKNOWN, StepState.IN_FLIGHT)
        return next((step for step in reversed(attempted) if step.pivot and step.state in states), None)

    @property
    def may_have_other_participants(self) -> bool:
        """Whether a two-phase commit may have had a participant of which no decision was received.

        Another process than its coordinator ended it, and no plan names its participants, or one of them was not seen.
        """
        if not any(step.type in TWO_PHASE_TYPES for step in self.steps):
            return False
        if self.closing is not None and self.closing.mark.role == semconv.ROLE_SAGA:
            return False
        if any(step.state is StepState.NOT_SEEN for step in self.steps):
            return True
        return self.plan.source == "none" and not self._are_followed_databases_seen

    @property
    def _are_followed_databases_seen(self) -> bool:
        """Whether a bridge saw a participant in each database that it follows; one alone is not a two-phase commit."""
        votes = [step for step in self.steps if step.type == semconv.TYPE_PREPARE]
        views = (view for step in votes for attempt in step.attempts for view in attempt.views)
        return len(votes) > 1 and any(semconv.PREPARED_FOLLOWED in view.attributes for view in views)


TWO_PHASE_TYPES: Final = (semconv.TYPE_PREPARE, semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK)


def type_label(name: str) -> str:
    """Returns a saga type for sentences: ``transaction`` if it is unknown."""
    return "transaction" if name == UNKNOWN_NAME else name
