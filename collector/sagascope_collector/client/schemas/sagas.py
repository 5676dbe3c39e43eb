"""Schemas of sagas in lists and searches, of a saga in full, and of its spans and log records."""

from typing import Any, Literal

from sagascope_collector.client.schemas.base import (
    AmountAtRisk,
    AttentionCode,
    ConfidenceName,
    Parts,
    PhaseName,
    Time,
    Wire,
)
from sagascope_collector.saga_filters import SagaStatus as SagaStatus


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
]
"""The order of a list of sagas; ``-`` reverses it."""


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
    """One step of a plan; `timeout` is in seconds."""

    name: str
    compensation: str | None
    timeout: float | None
    optional: bool


class Plan(Wire):
    """The ordered steps of a saga type, and whether they were declared or learned."""

    source: Literal["declared", "learned", "none"]
    steps: list[PlannedStep]


class Attempt(Wire):
    """One attempt of a step."""

    number: int
    service: str | None
    instance: str | None
    trace_id: str
    span_id: str
    started_at: Time
    ended_at: Time | None
    state: AttemptStateName
    error: AttemptError | None


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
    """The committed effect of one step, and whether it was compensated."""

    step: str
    compensation: str | None
    state: LedgerStateName
    amount: str | None
    currency: str | None


class Anomaly(Wire):
    """A violation of an integrity rule or an anomaly."""

    code: str
    text: str
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
    """A page of sagas; `next_cursor` is null on the last page."""

    items: list[SagaSummary]
    next_cursor: str | None


MatchKind = Literal["id", "prefix", "key", "trace", "span"]

NothingFound = Literal["never_seen", "expired", "not_a_saga"]


class Match(Wire):
    """A saga that a search found, and the kind of the match."""

    kind: MatchKind
    saga: SagaSummary


class SearchResult(Wire):
    """The result of a search; `reason` says why it is empty."""

    matches: list[Match]
    reason: NothingFound | None
