"""Operating a collector: its status, the services that report to it, SQL, backups and erasure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.client.schemas.base import Time, Wire
from sagascope_collector.client.schemas.sagas import SagaStatus


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


class Following(Wire):
    """What a bridge said of itself when it was heard last.

    What it told may be `lag_seconds` behind the system that it follows; it knows of `watching` pieces of work that have
    not ended; `error` is what it cannot reach or follow.
    """

    kind: str
    lag_seconds: float
    watching: int
    error: str | None


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


class Forget(BaseModel):
    """Which sagas are to be forgotten: those with a business key of this value."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(min_length=1, max_length=4_096)]
    environment: Annotated[str, Field(max_length=4_096)] | None = None


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
