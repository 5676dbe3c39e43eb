"""Status and health of the collector."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sagascope_collector.client.schemas.base import Wire


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
