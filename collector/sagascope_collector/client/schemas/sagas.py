"""Schemas of sagas: in lists and searches, and in full with spans and log records; and the types that all schemas use.

Times are RFC 3339 in UTC with microseconds; ids are strings, trace and span ids lower-case hex; amounts are decimal
strings. A field without a value is ``null``, never absent; a list is never ``null``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, PlainSerializer

from sagascope_collector import safe_text
from sagascope_collector.attention_codes import AttentionCode as AttentionCode
from sagascope_collector.saga_filters import SagaStatus as SagaStatus


def rfc3339(moment: datetime) -> str:
    """Formats a time as RFC 3339 in UTC with exactly six fractional digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

PhaseName = Literal["forward", "compensation"]

ConfidenceName = Literal["certain", "likely", "possible"]


class Wire(BaseModel):
    """The base of every schema. Unknown fields are ignored, so that an older client can read a newer answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class TextPart(Wire):
    """Text within a sentence."""

    text: str


class TimePart(Wire):
    """A time within a sentence; the sentence itself shows it in UTC."""

    time: Time


Parts = list[TextPart | TimePart]
"""A sentence in parts, so that a screen can show its times in the reader's time zone."""


class AmountAtRisk(Wire):
    """The amount at risk in one currency, as decimal strings.

    `certain` is the sum that steps report that are committed and not compensated. `possible` is the most that may be at
    risk in addition: what steps with an unknown outcome report; the saga's own amount, if no step at risk reports any.
    """

    currency: str
    certain: str
    possible: str

    @property
    def text(self) -> str:
        """``50.00 EUR committed``, ``up to 20.00 EUR``, or both: ``50.00 EUR committed, up to 20.00 EUR more``."""
        certain, possible = (
            safe_text.line(f"{each} {self.currency}".rstrip(), 80) for each in (self.certain, self.possible)
        )
        if not float(self.possible):
            return f"{certain} committed"
        return f"{certain} committed, up to {possible} more" if float(self.certain) else f"up to {possible}"


class SpanEvent(Wire):
    """An event of a span."""

    name: str
    at: Time
    attributes: dict[str, Any]


class SpanLink(Wire):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class Span(Wire):
    """One span. ``ended_at`` is null while the span is open; ``start_unix_nano`` is a decimal string."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    service: str | None
    instance: str | None
    started_at: Time
    ended_at: Time | None
    start_unix_nano: str
    status: str
    attributes: dict[str, Any]
    events: list[SpanEvent]
    links: list[SpanLink]


class Log(Wire):
    """One log record."""

    at: Time
    severity: str | None
    body: Any
    event_name: str | None
    service: str | None
    instance: str | None
    trace_id: str | None
    span_id: str | None
    attributes: dict[str, Any]


class Clock(Wire):
    """A process whose clock contradicts others. `seconds` is to be added to its times."""

    service: str | None
    instance: str | None
    seconds: float


AttemptStateName = Literal["in_flight", "ok", "error", "unknown"]

StepStateName = Literal["not_started", "not_seen", "in_flight", "done", "failed", "unknown", "compensated"]

LedgerStateName = Literal[
    "committed",
    "compensated",
    "compensating",
    "compensation_failed",
    "compensation_unknown",
    "unknown",
    "not_compensable",
    "not_done",
    "not_seen",
]

SagaOrder = Literal[
    "started",
    "-started",
    "updated",
    "-updated",
    "duration",
    "-duration",
    "status",
    "-status",
    "id",
    "-id",
    "step",
    "-step",
    "since",
    "-since",
    "attempts",
    "-attempts",
    "amount",
    "-amount",
    "urgency",
    "-urgency",
]
"""The order of a list of sagas; ``-`` reverses it.

``urgency`` starts with the most urgent: by attention code, certain and possible amount at risk, and time without
progress. ``since`` and ``urgency`` put sagas that need no attention last; ``attempts`` counts those of open sagas.
"""


class ErrorText(Wire):
    """An error's type and message."""

    type: str | None
    message: str | None


class AttemptError(ErrorText):
    """The error of an attempt, with its stack trace if one was sent."""

    stacktrace: str | None


class SagaSummary(Wire):
    """The summary of one saga, as in lists."""

    id: str
    name: str
    run: str
    environment: str
    status: SagaStatus
    attention: AttentionCode | None
    phase: PhaseName | None
    step: str | None
    service: str | None
    since: Time | None
    started_at: Time
    updated_at: Time
    ended_at: Time | None
    attempts: int
    error: ErrorText | None
    amount_at_risk: list[AmountAtRisk]
    keys: dict[str, str]
    headline: str
    headline_parts: Parts
    customer_line: str
    customer_line_parts: Parts


class Evidence(Wire):
    """One received fact behind a verdict."""

    text: str
    text_parts: Parts
    at: Time
    service: str | None
    trace_id: str | None
    span_id: str | None


class Verdict(Wire):
    """Why a saga needs attention."""

    reason: AttentionCode
    phase: PhaseName
    step: str | None
    service: str | None
    instance: str | None
    since: Time
    headline: str
    headline_parts: Parts
    evidence: list[Evidence]
    actions: list[str]
    actions_parts: list[Parts]
    confidence: ConfidenceName


class PlannedStep(Wire):
    """One step of a plan; `timeout` is in seconds. Steps `after` the same one run in parallel."""

    name: str
    compensation: str | None
    timeout: float | None
    optional: bool
    after: list[str]


class Plan(Wire):
    """The ordered steps of a saga type, and whether they were declared or learned."""

    source: Literal["declared", "learned", "none"]
    steps: list[PlannedStep]


class SagaReference(Wire):
    """Another saga; the name is the type of its workflow, and may be empty."""

    name: str
    id: str


class Attempt(Wire):
    """One attempt of a step; `child` is the saga that does its work."""

    number: int
    service: str | None
    instance: str | None
    trace_id: str
    span_id: str
    started_at: Time
    ended_at: Time | None
    state: AttemptStateName
    error: AttemptError | None
    idempotency_key: str | None
    child: SagaReference | None


MIN_FOLDED_ATTEMPTS: Final = 4
"""Attempts that are folded at least: of fewer, a reader wants to see each, and the waits between them."""

EDGE_ATTEMPTS: Final = 3
"""Of many attempts that differ, those that are shown at the start, and at the end."""


class FoldedAttempts(NamedTuple):
    """Consecutive attempts of one step that a reader sees as one line; the ones before and after them are shown."""

    attempts: tuple[Attempt, ...]
    are_alike: bool
    """Whether all of them ended alike, with the same error."""

    @property
    def text(self) -> str:
        """The line: ``attempts 2 to 49: same error``."""
        has_errors = all(each.error is not None for each in self.attempts)
        outcome = f"{'same' if self.are_alike else 'different'} {'error' if has_errors else 'outcome'}"
        outcome += "" if self.are_alike else "s"
        return f"attempts {self.attempts[0].number} to {self.attempts[-1].number}: {outcome}"


def fold_attempts(attempts: Sequence[Attempt]) -> list[Attempt | FoldedAttempts]:
    """Returns the attempts of one step, in order, with repetitions folded.

    Of consecutive attempts with the same error (or outcome), the first and the last are left. Where many remain,
    those between the first and the last few are folded, too.
    """
    if len(attempts) < MIN_FOLDED_ATTEMPTS:  # of nearly every step
        return [*attempts]
    left: list[Attempt | FoldedAttempts] = []
    for _, alike in groupby(attempts, _outcome):
        first, *between = alike
        left.append(first)
        if len(between) - 1 >= MIN_FOLDED_ATTEMPTS:
            left.append(FoldedAttempts(tuple(between[:-1]), are_alike=True))
            between = between[-1:]
        left += between
    middle = left[EDGE_ATTEMPTS:-EDGE_ATTEMPTS]
    if len(left) > 2 * EDGE_ATTEMPTS + 1 and len(middle) > 1:
        inside = [one for each in middle for one in (each.attempts if isinstance(each, FoldedAttempts) else [each])]
        left[EDGE_ATTEMPTS:-EDGE_ATTEMPTS] = [FoldedAttempts(tuple(inside), are_alike=False)]
    return left


def _outcome(attempt: Attempt) -> tuple[str | None, ...]:
    error = attempt.error
    return (attempt.state, error.type, error.message) if error else (attempt.state,)


TWO_PHASE_TYPES: Final = ("prepare", "commit", "rollback")
"""Types of the phases of a two-phase commit; those of one participant share the name and key of its step."""


class Step(Wire):
    """A step with all its attempts."""

    name: str
    key: str
    type: str
    service: str | None
    state: StepStateName
    compensates: str | None
    attempts: list[Attempt]


class LedgerEntry(Wire):
    """The committed effect of one step, or of one item (`key`) of a step, and whether it was compensated."""

    step: str
    key: str
    compensation: str | None
    state: LedgerStateName
    amount: str | None
    currency: str | None


class Anomaly(Wire):
    """A violation of an integrity rule or an anomaly."""

    code: str
    text: str
    text_parts: Parts
    step: str | None


class Saga(SagaSummary):
    """One saga in full. `spans` and `logs` hold the first 5,000 each; `spans_total` and `logs_total` count all.

    Times of attempts, spans and logs are as reported; `clocks` lists the clocks that are off, and by how much. If
    `shrunk` is true, the spans and log records were removed, and all fields derived from them are empty.
    """

    verdict: Verdict | None
    plan: Plan
    steps: list[Step]
    ledger: list[LedgerEntry]
    runs: list[str]
    traces: list[str]
    anomalies: list[Anomaly]
    clocks: list[Clock]
    spans: list[Span]
    spans_total: int
    logs: list[Log]
    logs_total: int
    shrunk: bool


class Sagas(Wire):
    """A page of sagas; `next_cursor` is null on the last page.

    Where `q` finds nothing but words of error messages and log lines, records received since `words_since` were
    searched (null: all). With `words_limit`, more sagas have the words, and the list is of so many with the latest
    such records.
    """

    items: list[SagaSummary]
    next_cursor: str | None
    words_since: Time | None
    words_limit: int | None


MatchKind = Literal["id", "key", "prefix", "key_prefix", "trace", "span", "error"]

NothingFound = Literal["never_seen", "expired", "not_a_saga"]


class Match(Wire):
    """A saga that a search found, and the kind of the match."""

    kind: MatchKind
    saga: SagaSummary


class Unassigned(Wire):
    """Spans that have the searched value and belong to no saga, and a mapping rule (YAML) that would take them."""

    spans: int
    attribute: str
    rule: str


class SearchResult(Wire):
    """The result of a search; `reason` says why it is empty. If `truncated` is true, there are more matches.

    Words of error messages and log lines are searched only if nothing else matches, in records received since
    `words_since`; None: in all, or not at all.
    """

    matches: list[Match]
    reason: NothingFound | None
    words_since: Time | None
    unassigned: Unassigned | None
    truncated: bool
