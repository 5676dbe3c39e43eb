"""The typed client of a collector's HTTP API, and the schemas of its answers, without DuckDB or a web framework."""

from sagascope_collector.client.credentials import Credentials
from sagascope_collector.client.http_client import (
    DEFAULT_URL,
    Client,
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotFound,
    NotSagascope,
    OtlpPorts,
    Refused,
    Timeout,
    TokenNeeded,
    Unavailable,
    Untrusted,
    connect,
)
from sagascope_collector.saga_filters import SagaFilters

__all__ = [
    "DEFAULT_URL",
    "Client",
    "ClientError",
    "CollectorUnreachable",
    "Credentials",
    "CredentialsUnusable",
    "NotFound",
    "NotSagascope",
    "OtlpPorts",
    "Refused",
    "SagaFilters",
    "Timeout",
    "TokenNeeded",
    "Unavailable",
    "Untrusted",
    "connect",
]
