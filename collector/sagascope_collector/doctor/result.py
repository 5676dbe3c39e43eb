"""The target of an examination and the results of its checks."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from sagascope_collector.client import schemas
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.settings import Address


@dataclass(frozen=True, slots=True)
class Target:
    """The collector to examine, as the command's options name it."""

    url: str
    otlp_grpc: Address
    otlp_http: Address
    db: Path
    credentials: Credentials
    ingest_token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 5.0
    """For one answer, and for a test span to become visible."""

    @property
    def uses_tls(self) -> bool:
        """Whether its ports use TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def is_local(self) -> bool:
        """Whether it runs, or would run, on this machine."""
        return Address(urlsplit(self.url).hostname or "", 0).is_loopback

    @property
    def ingest_headers(self) -> dict[str, str]:
        """The headers that authenticate a sender."""
        return {"authorization": f"Bearer {self.ingest_token}"} if self.ingest_token else {}


class State(StrEnum):
    """The result of one check."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but needs attention soon."""
    PROBLEM = "problem"
    SKIPPED = "skipped"
    """It could not be checked because of another result."""


class Result(BaseModel):
    """The result of one check, with the advice that resolves it."""

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    text: str
    advice: str | None = None


class CollectorStatus(NamedTuple):
    """What the collector's API answered."""

    result: Result
    status: schemas.Status | None
    """None: the API did not answer with a status."""
    is_unreachable: bool
    """Whether nothing listens at the API's address."""


def ok(check: str, text: str) -> Result:
    """Returns the result of a check that passed."""
    return Result(check=check, state=State.OK, text=text)


def warning(check: str, text: str, advice: str) -> Result:
    """Returns the result of a check that passed but needs attention soon."""
    return Result(check=check, state=State.WARNING, text=text, advice=advice)


def problem(check: str, text: str, advice: str) -> Result:
    """Returns the result of a check that failed."""
    return Result(check=check, state=State.PROBLEM, text=text, advice=advice)


def skipped(check: str, text: str) -> Result:
    """Returns the result of a check that could not run."""
    return Result(check=check, state=State.SKIPPED, text=text)
