"""Operating a collector: its status, the services that report to it, SQL, backups and erasure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.client.schemas.base import Time, Wire
from sagascope_collector.client.schemas.sagas import SagaStatus


class Status(Wire):
    """The status of the collector. Counters count spans and log records since the database was created."""

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
"""Header of `GET /healthz`: the address of the OTLP/HTTP receiver as HOST:PORT."""

OTLP_GRPC_HEADER = "Sagascope-OTLP-gRPC"
"""Header of `GET /healthz`: the address of the OTLP/gRPC receiver as HOST:PORT."""


class Alive(Wire):
    """The answer of the liveness and readiness checks."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    """Functions that fail, one sentence each; empty unless the status is degraded."""


class BackupNote(BaseModel):
    """The location of a backup, in a form that its reader recognizes."""

    model_config = ConfigDict(extra="forbid")

    location: str


class Following(Wire):
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
    `following` is set for bridges only.
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
    """A service and its instances."""

    service: str
    instances: list[Instance]


class Services(Wire):
    """All services."""

    items: list[Service]


class SqlQuery(BaseModel):
    """A SQL query, with the maximum number of rows and the timeout in seconds."""

    model_config = ConfigDict(extra="forbid")

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


class Forget(BaseModel):
    """Selects the sagas to erase: those with a business key of this value."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(min_length=1, max_length=4_096)]
    environment: Annotated[str, Field(max_length=4_096)] | None = None


class ForgottenSaga(Wire):
    """A saga that is to be erased, or was erased."""

    environment: str
    name: str
    id: str
    run: str
    status: SagaStatus


class Forgotten(Wire):
    """The result of an erasure or of its preview.

    `records` is the number of erased spans and log records, null for a preview; `items` are the first 50 sagas;
    `backups` are the known locations of backups that may hold them. Backups are not changed.
    """

    sagas: int
    records: int | None
    items: list[ForgottenSaga]
    backups: list[str]
