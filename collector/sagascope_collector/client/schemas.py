"""The shapes of the HTTP API, version 1: what clients in any language may rely on.

Times are RFC 3339 in UTC with microseconds; ids are strings, trace and span ids lower-case hex; amounts are decimal
strings. A field without a value is ``null``, never absent; a list is never ``null``.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


def rfc3339(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC with exactly six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]

SagaStatus = Literal["running", "compensating", "completed", "compensated", "failed"]
AttentionCode = Literal[
    "applied_twice",
    "compensation_failed",
    "uncompensated",
    "mixed_outcome",
    "in_doubt",
    "blocked",
    "instance_lost",
    "retrying",
    "hung",
    "next_step_missing",
    "never_closed",
]
PhaseName = Literal["forward", "compensation"]
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
]
ConfidenceName = Literal["certain", "likely", "possible"]
MatchKind = Literal["id", "prefix", "key", "trace", "span"]
ScopeName = Literal["systemic", "isolated"]
RecommendedActionName = Literal["resume", "compensate", "verify_first"]
IncidentState = Literal["open", "acknowledged", "resolved"]
IncidentEvent = Literal["opened", "reopened", "acknowledged", "noted", "resolved"]
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
"""By what a list of sagas is ordered, ``-`` for the other direction."""

NothingFound = Literal["never_seen", "expired", "not_a_saga"]


class Wire(BaseModel):
    """The base of every shape: unknown fields are ignored, so that an older client reads a newer answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TextPart(Wire):
    """Words of a sentence."""

    text: str


class TimePart(Wire):
    """A moment in a sentence; the sentence itself shows it in UTC."""

    time: Time


Parts = list[TextPart | TimePart]
"""A sentence in parts, so that a screen can show its times in the reader's zone."""


class ErrorText(Wire):
    """An error's type and message."""

    type: str | None
    message: str | None


class AttemptError(ErrorText):
    """An attempt's error, with its stack trace where one was sent."""

    stacktrace: str | None


class AmountAtRisk(Wire):
    """The amount at risk in one currency: decimal strings."""

    currency: str
    certain: str
    possible: str


class SagaSummary(Wire):
    """One saga as it is listed."""

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
    """One step of a plan; its timeout in seconds."""

    name: str
    compensation: str | None
    timeout: float | None
    optional: bool


class Plan(Wire):
    """The ordered steps of a saga type, and how they are known."""

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
    """What is committed of one step, and whether it was compensated."""

    step: str
    compensation: str | None
    state: LedgerStateName
    amount: str | None
    currency: str | None


class Anomaly(Wire):
    """Something that should not have happened."""

    code: str
    text: str
    step: str | None


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
    """One span. ``ended_at`` is null while it is open; ``start_unix_nano`` is a decimal string."""

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
    """A process whose clock others contradict; `seconds` are to be added to what it tells."""

    service: str | None
    instance: str | None
    seconds: float


class Saga(SagaSummary):
    """One saga in full. Of spans and logs the first 5,000, with their totals beside them.

    Times of attempts, spans and logs are as they were told; `clocks` says which are off, and by how much. Of one that
    was `shrunk` the spans and log records were removed, and what is made of them is empty.
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
    """A page of sagas; `next_cursor` is null on the last."""

    items: list[SagaSummary]
    next_cursor: str | None


class Match(Wire):
    """A saga that a search found, and by what."""

    kind: MatchKind
    saga: SagaSummary


class SearchResult(Wire):
    """What a search found; `reason` says why it found nothing."""

    matches: list[Match]
    reason: NothingFound | None


class RecommendedActions(Wire):
    """How many sagas of an incident there are to resume, to compensate, and to verify first."""

    resume: int
    compensate: int
    verify_first: int


class Moved(Wire):
    """What became of the sagas that an incident had when it was acknowledged."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int


class IncidentChange(Wire):
    """A change of an incident; `by` is null where the collector made it, `count` is its sagas at that time."""

    at: Time
    what: IncidentEvent
    by: str | None
    note: str | None
    count: int


class Incident(Wire):
    """Sagas that are stuck for one cause."""

    key: str
    environment: str
    name: str
    step: str | None
    service: str | None
    phase: PhaseName
    reason: AttentionCode
    error_sample: str | None
    scope: ScopeName
    count: int
    since: Time
    latest_at: Time
    amount_at_risk: list[AmountAtRisk]
    examples: list[str]
    state: IncidentState
    note: str | None
    acknowledged_by: str | None
    recommended_actions: RecommendedActions
    fingerprint: str | None
    opened_at: Time
    changed_at: Time
    peak: int
    reopened: int


class Trait(Wire):
    """A property of a service's process, else of a step, else of the whole saga: then both are null."""

    service: str | None
    step: str | None
    key: str
    value: str


class Contrast(Trait):
    """A property that sagas of an incident have more often than finished sagas of that name.

    Of the sagas looked at that were seen at its place, `stuck` of `stuck_of` that are stuck have it, and `finished`
    of `finished_of` that finished. `lift` is how many times as frequent that is (null: none that finished has it);
    `also` names what exactly the same sagas have.
    """

    stuck: int
    stuck_of: int
    finished: int
    finished_of: int
    lift: float | None
    also: list[Trait]


class IncidentInFull(Incident):
    """One incident with its history, and what became of its sagas since it was acknowledged (null: it never was).

    `contrast` says what sets its sagas apart, the most telling first; it is empty where the samples are too small.
    """

    moved: Moved | None
    contrast: list[Contrast]
    history: list[IncidentChange]


class Incidents(Wire):
    """Incidents, the worst first."""

    items: list[Incident]


class Clue(Wire):
    """Work to look up at a service, by its idempotency key where it has one; `state` null: it never began."""

    step: str | None
    service: str | None
    instance: str | None
    idempotency_key: str | None
    state: AttemptStateName | None
    started_at: Time | None
    trace_id: str | None
    span_id: str | None


class Task(Wire):
    """What to do with one saga that needs attention, and where to look up what was really done."""

    incident: str
    environment: str
    name: str
    id: str
    run: str
    recommended_action: RecommendedActionName
    reason: AttentionCode
    phase: PhaseName
    step: str | None
    service: str | None
    since: Time
    confidence: ConfidenceName
    headline: str
    headline_parts: Parts
    look_up: list[Clue]
    actions: list[str]
    actions_parts: list[Parts]
    amount_at_risk: list[AmountAtRisk]


class Tasks(Wire):
    """A page of what to do; `next_cursor` is null on the last."""

    items: list[Task]
    next_cursor: str | None


class IncidentPatch(BaseModel):
    """A change of an incident by a person. What is left out stays as it is; `by` names the person."""

    model_config = ConfigDict(extra="forbid")

    state: IncidentState | None = None
    note: Annotated[str, Field(max_length=4_000)] | None = None
    by: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Forget(BaseModel):
    """Which sagas are to be forgotten: those with a business key of this value."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(min_length=1, max_length=4_096)]
    environment: Annotated[str, Field(max_length=4_096)] | None = None


class SqlQuery(BaseModel):
    """A query in SQL, and what its answer may take."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    timeout: Annotated[float, Field(gt=0, le=10)] = 10.0


class SqlColumn(Wire):
    """A column of a query's answer; its type is spelled as DuckDB does."""

    name: str
    type: str


class SqlResult(Wire):
    """What a query found: a list of values a row. `truncated`: there are more rows than these."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    truncated: bool


class ForgottenSaga(Wire):
    """A saga that is to be forgotten, or was."""

    environment: str
    name: str
    id: str
    run: str
    status: SagaStatus


class Forgotten(Wire):
    """What was forgotten, or would be.

    `records` is how many spans and log records went, null when nothing was removed; `items` are the first 50 sagas;
    `backups` are the places of backups that may hold them, as far as is known: those were not changed.
    """

    sagas: int
    records: int | None
    items: list[ForgottenSaga]
    backups: list[str]


class Following(Wire):
    """What a bridge said of itself when it was heard last.

    What it told may be `lag_seconds` behind the system that it follows; it knows of `watching` pieces of work that have
    not ended; `trouble` is what it cannot reach or follow.
    """

    kind: str
    lag_seconds: float
    watching: int
    trouble: str | None


class Instance(Wire):
    """One process of a service.

    `heartbeats` says whether it sends any; `dropped` is how many records it says it could not send; `following` is of
    a bridge.
    """

    instance: str | None
    version: str | None
    last_seen: Time
    alive: bool
    in_flight: int
    heartbeats: bool
    dropped: int
    following: Following | None


class Service(Wire):
    """A service and its processes."""

    service: str
    instances: list[Instance]


class Services(Wire):
    """Every service seen."""

    items: list[Service]


class Flow(Wire):
    """How many sagas of one type there are, by status, and how many need attention."""

    name: str
    environment: str
    running: int
    completed: int
    compensated: int
    failed: int
    attention: int


class Flows(Wire):
    """Every saga type seen."""

    items: list[Flow]


class FlowPeriod(Wire):
    """What became of the attempts of one step that began within a part of the window, which begins at `at`.

    Percentiles are as those of the whole.
    """

    at: Time
    succeeded: int
    failed: int
    p50: float | None
    p95: float | None
    p99: float | None


class FlowStep(Wire):
    """What became of the attempts of one step that began within the window.

    `started` counts those that ended, and sagas whose current step it is; `retried` attempts after the first;
    `compensated` successes of its compensation. Percentiles are seconds, of attempts that succeeded, right to 4.5 %.
    `series` has some twenty parts of the window, without those in which nothing ended.
    """

    step: str
    type: str
    started: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    in_flight: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class HandOver(Wire):
    """The time from the end of a step that succeeded to the beginning of the next; figures as in `FlowStep`."""

    before: str
    after: str
    number: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class FlowCourse(Wire):
    """A course that sagas of one type took, of those that started within the window and ended.

    `missing` and `added` are steps that the usual course has and this one has not, and the other way round. What they
    share was begun in another order if `is_reordered`. `newest` is the id of the saga of it that started last.
    """

    steps: list[str]
    sagas: int
    completed: int
    is_usual: bool
    missing: list[str]
    added: list[str]
    is_reordered: bool
    newest: str
    environment: str


class FlowInFull(Wire):
    """The steps of one saga type, in their usual order, the time between them, and the courses that its sagas took.

    `period` is the length of a part of the window, in seconds. The usual course, the most frequent of those that
    completed, comes first, then the others, the most frequent first.
    """

    name: str
    period: int
    steps: list[FlowStep]
    hand_overs: list[HandOver]
    courses: list[FlowCourse]


class Status(Wire):
    """How the collector itself is. Counts are of spans and log records since the database was made."""

    version: str
    received: int
    stored: int
    rejected: int
    duplicate: int
    dropped_by_clients: int
    lag_seconds: float
    database_bytes: int
    notices: list[str]


OTLP_HTTP_HEADER = "Sagascope-OTLP-HTTP"
"""Header of `GET /healthz`: HOST:PORT where the collector takes OTLP over HTTP."""


class Alive(Wire):
    """The process runs, or is ready."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    """What does not work where it is degraded."""


class BackupNote(BaseModel):
    """Where a backup was written to, as its reader will know it again."""

    model_config = ConfigDict(extra="forbid")

    location: str


class Problem(Wire):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
