"""The model of a rebuilt saga and its diagnosis.

Times are integers of nanoseconds since the Unix epoch, UTC; durations are seconds as floats; amounts are `Decimal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, Self

from sagascope_collector.analysis.clocks import Skew
from sagascope_collector.analysis.wording import Text, phrase, sentences
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Log, Process, SagaKey, Span

UNKNOWN_NAME: Final = "unknown"
"""The name of a saga whose name was not received."""


class Status(StrEnum):
    """Where a saga is in its life."""

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
    """How far the evidence carries a verdict."""

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
    """No attempt took effect."""
    NOT_SEEN = "not_seen"
    """No attempt that took effect was received, and telemetry may be missing. No text claims that nothing was done."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its emitter described it."""

    type: str | None
    message: str | None
    stacktrace: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a step; the views of caller and executor are one attempt."""

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
    """Its spans, the caller's first and the executor's last."""
    offset: int = 0
    """Nanoseconds to add to the executor's clock so that it agrees with the saga's."""
    called_at: int = 0
    """When it was first called for, on the saga's clock."""
    finished_at: int | None = None
    """When it was last reported as ended, on the saga's clock; None while it is in flight."""
    lost_spans: frozenset[str] = frozenset()
    """Span ids among `views` that have ended although their final span was not received."""
    is_executor_known: bool = True
    """Whether `process` is known to have done the work; else it may only have called for it."""
    skew: Skew | None = field(default=None, compare=False, repr=False)
    """How exactly moments of the processes of its saga can be compared."""
    logged_until: int = 0
    """The time of its latest log record on the saga's clock, where only log records report it; 0: spans do."""
    child: SagaKey | None = None
    """The saga that this attempt is, where a child saga does the work; its ``name`` may be ``""``."""

    @property
    def executor_started_at(self) -> int:
        """When its executor took the work, on the saga's clock."""
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
    compensations_known: bool = True
    """False where the plan does not declare compensations: then a step without one may still be compensable."""
    follows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of a learned plan: the successors of each step with their shares; ``""`` is the saga's end."""

    def step(self, name: str) -> PlannedStep | None:
        """The planned step of this name."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the ledger."""

    step: str
    compensation: str | None
    state: LedgerState
    amount: Decimal | None
    currency: str | None
    is_not_compensable: bool = False
    """The plan names compensations, and none for this step."""


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
    until: int
    reason: str | None
    whole: bool
    """Declared by the root span: it covers the whole saga, not only what was current at that moment."""


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
    """What an engine or a sender reports as blocking the saga, unless it was withdrawn."""

    cause: str
    """One of `semconv.BLOCKED_CAUSES`."""
    text: str
    """The reporter's text: half a sentence, such as ``no worker polls the task queue payments``."""
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
    restarts: tuple[int, ...] = ()
    """When a new root drove the saga anew after it had ended."""
    announced: dict[str, int] = field(default_factory=dict)
    """When each open span, by its id, was announced; spans of emitters that announce nothing are not here."""
    lost_spans: frozenset[str] = frozenset()
    """Ids of open spans that have ended although their final span was not received."""
    awaited_event: AwaitedEvent | None = None
    """The event without a deadline that the saga waits for now (`saga.wait.for`, or as its engine reports)."""
    blocked: tuple[BlockReport, ...] = ()
    """What its engine or a sender reports as blocking it, the earliest first; empty once it has ended."""
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
    lacks_records: bool = False
    """Whether records of it are known to be missing: a final form of a span that has ended, a parent span, a step that
    an observed one waits for, or an attempt between two observed ones."""
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    """Nanoseconds to add to the clock of a process, by (service, identity), where clocks contradict; the rest are 0."""

    @property
    def type_label(self) -> str:
        """The saga's type as sentences name it: as received, else as inferred, else ``transaction``."""
        return self.inferred_name or type_label(self.key.name)

    @property
    def label(self) -> str:
        """The saga as people name it: ``payment 8492``."""
        return f"{self.type_label} {self.key.id}"


def type_label(name: str) -> str:
    """Returns a saga type as sentences name it: ``transaction`` where it is not known."""
    return "transaction" if name == UNKNOWN_NAME else name


class ActionKind(StrEnum):
    """What an action asks of a person."""

    INSPECT = "inspect"
    """Find a cause, or fix it; changes nothing in the saga."""
    START = "start"
    """Start or resume what runs sagas; the saga then continues by its own means."""
    VERIFY = "verify"
    """Find out what took effect."""
    REPEAT = "repeat"
    """Run work again, or run what may have run already."""
    REVERSE = "reverse"
    """Compensate committed work."""
    CLOSE = "close"
    """Close a saga of which every step is known to have ended."""

    @property
    def changes_work(self) -> bool:
        """Whether it harms where the evidence is wrong."""
        return self in (ActionKind.REPEAT, ActionKind.REVERSE)


class Action(NamedTuple):
    """One recommended action.

    The kind is what tests hold: an action that repeats, reverses or continues work names an idempotency key, or follows
    one that verifies.
    """

    kind: ActionKind
    text: Text
    key: str | None = None
    """The idempotency key that makes it harmless; its text names it."""

    @classmethod
    def inspect(cls, template: str, *values: str | int) -> Self:
        """An action that finds or fixes a cause."""
        return cls(ActionKind.INSPECT, sentences(phrase(template, *values)))

    @classmethod
    def start(cls, template: str, *values: str | int) -> Self:
        """An action that starts or resumes what runs the saga."""
        return cls(ActionKind.START, sentences(phrase(template, *values)))

    @classmethod
    def verify(cls, template: str, *values: str | int) -> Self:
        """An action that finds out what took effect."""
        return cls(ActionKind.VERIFY, sentences(phrase(template, *values)))

    @classmethod
    def repeat(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """An action that runs work."""
        return cls(ActionKind.REPEAT, sentences(phrase(template, *values)), key)

    @classmethod
    def reverse(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """An action that compensates work."""
        return cls(ActionKind.REVERSE, sentences(phrase(template, *values)), key)

    @classmethod
    def close(cls, template: str, *values: str | int) -> Self:
        """An action that closes the saga."""
        return cls(ActionKind.CLOSE, sentences(phrase(template, *values)))


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

    reason: AttentionCode
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
    """Until when each process that it relies on must report, by (service, identity): see `must_report_by`."""
