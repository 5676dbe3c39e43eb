"""Errors, statistics, and the operation of a collector: its status, mapping, backups, SQL and erasure."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from sagascope_collector.client.schemas.sagas import AmountAtRisk, SagaStatus, Time, Wire
from sagascope_collector.errors import SagascopeError

PROBLEM_TYPES = "https://sagascope.dev/problems/"
"""Prefix of the `type` of every problem; the rest is the kind of the error."""


class Problem(Wire):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None

    @classmethod
    def of(cls, error: SagascopeError, status: int, path: str | None = None) -> Self:
        """Returns the problem that reports an error of a call of `path`."""
        type_ = f"{PROBLEM_TYPES}{error.kind()}"
        return cls(type=type_, title=error.title, status=status, detail=str(error) or error.title, instance=path)


class Status(Wire):
    """The status of the collector. Counters count spans and log records since the database was created.

    `sql` is true if the collector answers SQL queries. Of the newest `recent_spans`, `recent_unassigned` belong to no
    saga. `leader` says whether this collector is the one of its lake that sends alerts; null: it has no lake.
    """

    version: str
    received: int
    stored: int
    rejected: int
    duplicate: int
    dropped_by_clients: int
    lag_seconds: float
    database_bytes: int
    recent_spans: int
    recent_unassigned: int
    sql: bool
    leader: bool | None
    notices: list[str]


OTLP_HTTP_HEADER = "Sagascope-OTLP-HTTP"
"""Header of `GET /healthz`: the address of the OTLP/HTTP receiver as HOST:PORT."""

OTLP_GRPC_HEADER = "Sagascope-OTLP-gRPC"
"""Header of `GET /healthz`: the address of the OTLP/gRPC receiver as HOST:PORT."""


class Alive(Wire):
    """The answer of the liveness and readiness checks."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    """Functions that fail, one sentence each; empty unless the status is degraded."""


class Remapping(Wire):
    """How far stored records are mapped by the current rules of the mapping file.

    `mapped` and `records` count spans and log records, stored and deleted ones; `has_rules` is false without rules.
    """

    has_rules: bool
    is_running: bool
    mapped: int
    records: int


class Suggestion(Wire):
    """An attribute that may identify transactions, and a mapping rule (YAML) with it.

    Its `values` are on `spans` spans of `services` services in `traces` traces; `joined` of them are on several
    services. `is_likely` is false for what looks like the id of a request, a session or a user.
    """

    attribute: str
    values: int
    spans: int
    traces: int
    services: int
    joined: int
    example: str
    is_likely: bool
    rule: str


class Suggestions(Wire):
    """What the newest spans suggest: of `spans`, `unassigned` belong to no saga. The best suggestion comes first."""

    spans: int
    unassigned: int
    items: list[Suggestion]


class BackupNote(BaseModel, extra="forbid"):
    """The location of a backup, in a form that its reader recognizes."""

    location: str


class BridgeState(Wire):
    """The last reported state of a bridge.

    Its data may lag `lag_seconds` behind the source system; `watching` is the number of unfinished work items that it
    follows; `error` is the reason for which it cannot reach or follow something.
    """

    kind: str
    lag_seconds: float
    watching: int
    error: str | None


class Instance(Wire):
    """One instance of a service.

    `heartbeats` is true if it sends heartbeats; `dropped` is the number of records that it reports as dropped;
    `bridge` is set for bridges only.
    """

    instance: str | None
    version: str | None
    last_seen: Time
    alive: bool
    in_flight: int
    heartbeats: bool
    dropped: int
    bridge: BridgeState | None


class ServiceVersion(Wire):
    """A version of a service, as its remembered instances reported it: when it was seen first and last."""

    version: str
    first_seen: Time
    last_seen: Time


class Service(Wire):
    """A service with its instances, and its versions, the latest first."""

    service: str
    instances: list[Instance]
    versions: list[ServiceVersion]


class Services(Wire):
    """Services with the instances that were seen last, at most 2,000; `instances_total` counts all."""

    items: list[Service]
    instances_total: int


class Call(Wire):
    """The calls of one service by another: spans whose parent is a span of another service.

    `failed` counts those that ended with an error. `p95` is the duration in seconds, as the called service reports it.
    """

    caller: str
    called: str
    calls: int
    failed: int
    p95: float | None


class Calls(Wire):
    """The calls between services that began within the last `seconds`, at most 500 pairs, the most frequent first.

    Where there are many spans, one of `sampled` traces is counted, and numbers are multiplied by that.
    """

    seconds: int
    sampled: int
    items: list[Call]


class SqlQuery(BaseModel, extra="forbid"):
    """A SQL query, with the maximum number of rows and the timeout in seconds."""

    query: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    timeout: Annotated[float, Field(gt=0, le=10)] = 10.0


class SqlColumn(Wire):
    """A column of a query's result; `type` is the name of a DuckDB type."""

    name: str
    type: str


class SqlResult(Wire):
    """The result of a query: each row is a list of values. `truncated` is true if there are more rows."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    truncated: bool


class ErasureRequest(BaseModel, extra="forbid"):
    """Selects the sagas to erase: those with a business key of this value."""

    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(min_length=1, max_length=4_096)]
    environment: Annotated[str, Field(max_length=4_096)] | None = None


class ErasedSaga(Wire):
    """A saga that is to be erased, or was erased."""

    environment: str
    name: str
    id: str
    run: str
    status: SagaStatus


class ErasureResult(Wire):
    """The result of an erasure or of its preview.

    `records` is the number of erased spans and log records, null for a preview; `items` are the first 50 sagas;
    `backups` are the known locations of backups that may hold them. Backups are not changed.
    """

    sagas: int
    records: int | None
    items: list[ErasedSaga]
    backups: list[str]


class CountsPeriod(Wire):
    """The numbers of sagas of one period, which starts at `at`.

    `started` has those that started then, by their present status; `attention` has those that stopped making progress
    then and need attention now, by attention code.
    """

    at: Time
    started: dict[str, int]
    attention: dict[str, int]


class Counts(Wire):
    """The numbers of sagas that match filters: in total, by status and attention code, and by period of a window.

    `amount_at_risk` is the sum over those that need attention. `period` is in seconds; a period without sagas is
    omitted.
    """

    total: int
    status: dict[str, int]
    attention: dict[str, int]
    amount_at_risk: list[AmountAtRisk]
    since: Time
    until: Time
    period: int
    series: list[CountsPeriod]


class Flow(Wire):
    """The number of sagas of one type by status, and of those that need attention."""

    name: str
    environment: str
    running: int
    completed: int
    compensated: int
    failed: int
    attention: int


class Flows(Wire):
    """Saga types, at most 1,000; `total` counts all."""

    items: list[Flow]
    total: int


class FlowPeriod(Wire):
    """Outcomes of the attempts of one step that started within one part of the window. `at` is the start of the part.

    `retried` and percentiles are as in `FlowStep`. `durations` is the histogram of the successful attempts: pairs of
    the least duration of a bucket, in seconds, and the number of attempts in it; a bucket reaches to 1.19 times that.
    """

    at: Time
    succeeded: int
    failed: int
    retried: int
    p50: float | None
    p95: float | None
    p99: float | None
    durations: list[tuple[float, int]]


class FlowStep(Wire):
    """Outcomes of the attempts of one step that started within the window.

    `started` counts ended attempts, and sagas whose current step it is; `retried` counts attempts after the first;
    `compensated` counts successful compensations. Percentiles are durations of successful attempts in seconds, with an
    error of at most 4.5 %. `series` divides the window into about twenty parts; parts in which nothing ended are
    omitted.
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


class FlowTransition(Wire):
    """The time from the end of a successful step to the start of the next; figures are as in `FlowStep`."""

    before: str
    after: str
    number: int
    p50: float | None
    p95: float | None
    p99: float | None
    series: list[FlowPeriod]


class FlowPath(Wire):
    """A path that sagas of one type took, from those that started within the window and ended.

    `missing` are steps that only the usual path has, `added` steps that only this path has. `is_reordered` is true if
    the steps of both started in another order. `newest` is the id of the latest started saga with this path.
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
    """The steps of one saga type in their usual order, the transitions between them, and the paths of its sagas.

    `period` is the length of a part of the window in seconds. The usual path, the most frequent among completed sagas,
    comes first; the others follow by descending frequency.
    """

    name: str
    period: int
    steps: list[FlowStep]
    transitions: list[FlowTransition]
    paths: list[FlowPath]
