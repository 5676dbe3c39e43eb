"""The collector's settings: each is declared once, with its option, environment variable, default and help text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sagascope_collector.durations import parse_duration, parse_size
from sagascope_collector.errors import BadValue
from sagascope_collector.logging_setup import Format, Level
from sagascope_collector.storage import RetentionPolicy
from sagascope_collector.storage.connection import MEMORY_BYTES

MEBIBYTE: Final = 1024 * 1024

MIN_MEMORY_BYTES: Final = 128 * MEBIBYTE
MAX_MEMORY_BYTES: Final = 2**50

MAX_STEP_TIMEOUT_SECONDS: Final = 1e9
"""Thirty years: the end of a longer timeout may be a time that cannot be shown."""

PROCESS_BYTES: Final = 250 * MEBIBYTE
"""Memory that the collector needs beside that of the database and of requests."""

DEFAULT_DB: Final = "sagascope.duckdb"

ENVIRONMENT_PREFIX: Final = "SAGASCOPE_"

FOREVER: Final = "forever"

DEFAULT_KEEP: Final = "30d"


class Address(NamedTuple):
    """A host and a port to listen on; port 0 means any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses ``HOST:PORT``; an IPv6 address is in brackets.

        Raises:
            BadValue: the text does not have this form.
        """
        host, colon, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 0xFFFF):
            raise BadValue(f"{text!r} is not an address; write HOST:PORT, for example 127.0.0.1:4318.")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether the address is reachable from this machine only."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        """Returns ``HOST:PORT``, as `parse` accepts it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


OTLP_GRPC: Final = Address("127.0.0.1", 4317)
OTLP_HTTP: Final = Address("127.0.0.1", 4318)
API: Final = Address("127.0.0.1", 4319)


@dataclass(frozen=True, slots=True)
class Option:
    """The command-line form of a setting."""

    metavar: str | None = None
    is_text: bool = False
    """Whether the option is a text that the setting's validator parses."""
    default: str | None = None
    """The default as text, if it differs from that of the setting."""
    show_default: bool = True


def _address(value: Any) -> Any:
    return Address.parse(value) if isinstance(value, str) else value


def _retention(value: Any) -> Any:
    return None if value == FOREVER else _duration(value)


def _duration(value: Any) -> Any:
    return _positive(value, parse_duration(value)) if isinstance(value, str) else value


def _size(value: Any) -> Any:
    return _positive(value, parse_size(value)) if isinstance(value, str) else value


def _positive(text: str, value: float) -> float:
    if not value:
        raise BadValue(f"{text!r} is not allowed: the value must be greater than zero.")
    return value


def _step_timeouts(value: Any) -> Any:
    return value if isinstance(value, Mapping) else dict(map(_step_timeout, value))


def _step_timeout(text: str) -> tuple[tuple[str, str], float]:
    saga_and_step, _, seconds = text.rpartition("=")
    name, _, step = saga_and_step.partition("/")
    try:
        timeout = float(seconds)
    except ValueError:
        timeout = 0.0
    if not (name and step and 0 < timeout <= MAX_STEP_TIMEOUT_SECONDS):
        raise BadValue(f"{text!r} is not a step timeout; write NAME/STEP=SECONDS, for example payment/book=60.")
    return (name, step), timeout


HostAndPort = Annotated[Address, BeforeValidator(_address), Option("HOST:PORT", is_text=True)]
PathOption = Annotated[Path | None, Option("PATH")]
FileOption = Annotated[Path | None, Option("FILE")]
Bytes = Annotated[int, Option("BYTES")]


class Settings(BaseModel):
    """All settings. The option of ``keep_size`` is ``--keep-size``, its variable ``SAGASCOPE_KEEP_SIZE``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    db: Annotated[str, Option("PATH")] = Field(DEFAULT_DB, description="Path of the database file.")
    lake: Annotated[str | None, Option("URL")] = Field(
        None,
        repr=False,
        description="Database in PostgreSQL with the catalog of a lake, postgresql://...; the file of --db is then a "
        "copy. See docs/scale.md.",
    )
    lake_data: Annotated[str | None, Option("PLACE")] = Field(
        None, description="Folder of the lake's files, or s3://BUCKET/PREFIX with keys in AWS_* variables."
    )
    lake_keep: Annotated[float | None, BeforeValidator(_retention), Option("TIME", is_text=True, default=FOREVER)] = (
        Field(
            None,
            description="Retention of the lake's records, but for transactions that are open or need attention: 90d, "
            "forever. The same for all collectors, and not shorter than --keep.",
        )
    )
    s3_endpoint: Annotated[str | None, Option("URL")] = Field(
        None, description="Endpoint of an object store that is not AWS, for example http://127.0.0.1:8333."
    )
    otlp_grpc: HostAndPort = Field(OTLP_GRPC, description="Address for OTLP over gRPC.")
    otlp_http: HostAndPort = Field(OTLP_HTTP, description="Address for OTLP over HTTP.")
    api: HostAndPort = Field(API, description="Address of the HTTP API.")
    step_timeout: Annotated[
        dict[tuple[str, str], float], BeforeValidator(_step_timeouts), Option("NAME/STEP=SECONDS", is_text=True)
    ] = Field(default_factory=dict, description="Timeout of a step whose telemetry has none. Can be repeated.")
    ready_file: PathOption = Field(None, description="File to write when all ports listen: their addresses, as JSON.")
    max_request_bytes: Bytes = Field(
        64 * MEBIBYTE, ge=1024, le=2**31 - 1, description="Maximum size of an OTLP request after decompression."
    )
    queue_bytes: Bytes = Field(
        256 * MEBIBYTE,
        ge=MEBIBYTE,
        le=MAX_MEMORY_BYTES,
        description="Maximum size of the ingest queue; less where the process itself has a limit. "
        "When it is full, senders get a retryable error.",
    )
    readers: Annotated[int, Option("NUMBER")] = Field(
        4, ge=1, le=64, description="Maximum number of API calls that read concurrently; others wait."
    )
    read_seconds: Annotated[float, Option("SECONDS")] = Field(
        10.0, ge=0.01, le=3600, description="Maximum time for which an API call waits, and then reads."
    )
    memory_bytes: Bytes = Field(
        MEMORY_BYTES,
        ge=MIN_MEMORY_BYTES,
        le=MAX_MEMORY_BYTES,
        description="Memory limit of the database; less where the process itself has a limit. "
        "Queries that need more use the disk.",
    )
    keep: Annotated[float | None, BeforeValidator(_retention), Option("TIME", is_text=True, default=DEFAULT_KEEP)] = (
        Field(
            parse_duration(DEFAULT_KEEP),
            description="Retention of transactions that ended and need no attention: 30d, 12h, forever.",
        )
    )
    keep_size: Annotated[int | None, BeforeValidator(_size), Option("SIZE", is_text=True)] = Field(
        None,
        description="Maximum size of the database, for example 200GB. "
        "The oldest transactions that ended and need no attention are deleted when it is exceeded.",
    )
    summary_only_after: Annotated[float | None, BeforeValidator(_duration), Option("TIME", is_text=True)] = Field(
        None, description="Age from which only the summary of a completed transaction is kept, for example 7d."
    )
    accept_data_loss: bool = Field(
        False,
        description="Start although acknowledged records may be missing, "
        "for example after the write-ahead log was lost.",
    )
    ingest_token_file: PathOption = Field(
        None, description="File with the token that senders need; or set SAGASCOPE_INGEST_TOKEN."
    )
    read_token_file: PathOption = Field(
        None, description="File with the token that readers need; or set SAGASCOPE_READ_TOKEN."
    )
    change_token_file: PathOption = Field(
        None, description="File with the token that changes need; or set SAGASCOPE_CHANGE_TOKEN."
    )
    cors_origin: Annotated[tuple[str, ...], Option("ORIGIN", is_text=True)] = Field(
        (), description="Origin of web pages that may send and read. Can be repeated. Default: none."
    )
    allowed_host: Annotated[tuple[str, ...], Option("NAME", is_text=True)] = Field(
        (),
        description="Name by which the API may be called, beside localhost, IP addresses and its own address. "
        "Can be repeated.",
    )
    tls_cert: PathOption = Field(None, description="Certificate chain for all ports.")
    tls_key: PathOption = Field(None, description="Private key of the certificate.")
    tls_client_ca: PathOption = Field(None, description="CA that must have signed the certificates of clients.")
    sql: Annotated[bool | None, Option(show_default=False)] = Field(
        None, description="Allow readers to query with SQL. Default: only if the API listens on loopback."
    )
    runbooks: FileOption = Field(None, description="YAML file with further recommended actions; see docs/diagnosis.md.")
    mapping: FileOption = Field(
        None,
        description="YAML file that maps attributes of other telemetry to sagas and steps; "
        "see docs/engines/attribute-mapping.md.",
    )
    scrub: FileOption = Field(
        None, description="YAML file that names data to remove, beside card numbers; see docs/privacy.md."
    )
    scrub_key_file: PathOption = Field(
        None,
        description="File with the key for pseudonyms; or set SAGASCOPE_SCRUB_KEY. "
        "Default: a key that is generated beside the database.",
    )
    log_format: Format = Field(Format.TEXT, description="Text for people, or one JSON object a line.")
    log_level: Level = Field(Level.INFO, description="Minimum severity of log messages.")
    alerts: FileOption = Field(None, description="YAML file with alert rules and receivers; see docs/alerts.md.")

    def within_memory(self, limit_bytes: int) -> Self:
        """Returns the settings with memory limits that fit into this limit of the process.

        Half of what the process itself leaves is for the database, an eighth each for requests that arrive and wait.
        """
        left = max(0, limit_bytes - PROCESS_BYTES)
        memory_bytes = min(self.memory_bytes, max(MIN_MEMORY_BYTES, left // 2))
        queue_bytes = min(self.queue_bytes, max(MEBIBYTE, left // 8))
        return self.model_copy(update={"memory_bytes": memory_bytes, "queue_bytes": queue_bytes})

    @property
    def retention(self) -> RetentionPolicy:
        """The retention periods and the size limit."""
        return RetentionPolicy(seconds=self.keep, bytes=self.keep_size, summary_seconds=self.summary_only_after)

    @property
    def serves_sql(self) -> bool:
        """Whether the API answers SQL queries."""
        return self.api.is_loopback if self.sql is None else self.sql


def variable(name: str) -> str:
    """Returns the environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


# --- the limit of a control group, as containers and services of systemd have -------------------------

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")

UNLIMITED_BYTES: Final = 2**60
"""Version 1 of control groups writes a number of this size where there is no limit."""


def memory_limit_bytes(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Returns the smallest memory limit of this process's control groups, of version 1 or 2; None: there is none."""
    found = (int(text) for path in _limit_files(groups, membership) if (text := _content(path).strip()).isdecimal())
    return min((each for each in found if each < UNLIMITED_BYTES), default=None)


def _limit_files(groups: Path, membership: Path) -> Iterator[Path]:
    """Yields the files of each group and its parents; a container sees its own group as the root."""
    for entry in _content(membership).splitlines():
        _, controllers, path = entry.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        parts = Path(path.lstrip("/")).parts
        yield from (root.joinpath(*parts[:number], name) for number in range(len(parts) + 1))


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
