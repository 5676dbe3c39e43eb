"""What a diagnosis consists of: the verdict (why a saga needs attention), the evidence, and the recommended actions.

Times are integers of nanoseconds since the Unix epoch, UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self

from sagascope_collector.analysis.model import Confidence, Failure, Phase
from sagascope_collector.analysis.wording import Text, phrase, sentences
from sagascope_collector.attention_codes import AttentionCode


class ActionKind(StrEnum):
    """The kind of work that an action requires from a person."""

    INSPECT = "inspect"
    """Find or fix a cause; changes nothing in the saga."""
    START = "start"
    """Start or resume the process that runs sagas; the saga then continues by itself."""
    VERIFY = "verify"
    """Verify what took effect."""
    REPEAT = "repeat"
    """Run work again, or run work that may have run already."""
    REVERSE = "reverse"
    """Compensate committed work."""
    CLOSE = "close"
    """Close a saga of which every step is known to have ended."""

    @property
    def changes_work(self) -> bool:
        """Whether the action causes harm if the evidence is wrong."""
        return self in (ActionKind.REPEAT, ActionKind.REVERSE)


class Action(NamedTuple):
    """One recommended action.

    Tests verify by kind that an action that repeats, reverses or continues work names an idempotency key, or follows an
    action that verifies.
    """

    kind: ActionKind
    text: Text
    key: str | None = None
    """The idempotency key that makes the action harmless; the text contains it."""

    @classmethod
    def inspect(cls, template: str, *values: str | int) -> Self:
        """Returns an action that finds or fixes a cause."""
        return cls(ActionKind.INSPECT, sentences(phrase(template, *values)))

    @classmethod
    def start(cls, template: str, *values: str | int) -> Self:
        """Returns an action that starts or resumes the process that runs the saga."""
        return cls(ActionKind.START, sentences(phrase(template, *values)))

    @classmethod
    def verify(cls, template: str, *values: str | int) -> Self:
        """Returns an action that verifies what took effect."""
        return cls(ActionKind.VERIFY, sentences(phrase(template, *values)))

    @classmethod
    def repeat(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """Returns an action that runs work."""
        return cls(ActionKind.REPEAT, sentences(phrase(template, *values)), key)

    @classmethod
    def reverse(cls, template: str, *values: str | int, key: str | None = None) -> Self:
        """Returns an action that compensates work."""
        return cls(ActionKind.REVERSE, sentences(phrase(template, *values)), key)

    @classmethod
    def close(cls, template: str, *values: str | int) -> Self:
        """Returns an action that closes the saga."""
        return cls(ActionKind.CLOSE, sentences(phrase(template, *values)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One received fact behind a verdict."""

    text: Text
    at: int
    service: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


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
class Diagnosis:
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
    """The headline of the verdict; without a verdict, the saga's current state."""
    customer_line: Text
    """One sentence for people outside engineering: whether the customer was charged or refunded, as far as known."""
    due_at: int | None
    """The next time at which this diagnosis may change without a new fact; None: never."""
    report_deadlines: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    """The report deadlines of processes that the diagnosis relies on, by (service, identity): see `must_report_by`."""
