"""The typed client of a collector's HTTP API, and the schemas of its answers, without DuckDB or a web framework."""

from sagascope_collector.client.credentials import Credentials as Credentials
from sagascope_collector.client.http_client import (
    DEFAULT_URL as DEFAULT_URL,
    Client as Client,
    ClientError as ClientError,
    CollectorUnreachable as CollectorUnreachable,
    CredentialsUnusable as CredentialsUnusable,
    NotFound as NotFound,
    NotSagascope as NotSagascope,
    OtlpPorts as OtlpPorts,
    Refused as Refused,
    Timeout as Timeout,
    TokenNeeded as TokenNeeded,
    Unavailable as Unavailable,
    Untrusted as Untrusted,
    connect as connect,
)
from sagascope_collector.saga_filters import SagaFilters as SagaFilters
