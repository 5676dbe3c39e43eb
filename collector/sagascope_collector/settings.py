"""How a collector is set up: from flags and environment variables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, Self

from sagascope_collector.access import OPEN, Tls, Tokens
from sagascope_collector.alerting import Alerts
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.engines import BUILT_IN, AttributeMapping
from sagascope_collector.errors import BadValue
from sagascope_collector.logging_setup import Format, Level
from sagascope_collector.scrubbing import Rules
from sagascope_collector.storage import Keep
from sagascope_collector.storage.connection import MEMORY_BYTES

DEFAULT_KEEP: Final = Keep(seconds=30 * 86_400.0)
"""What ended is kept for 30 days, and what needs attention for ever."""

MEBIBYTE: Final = 1024 * 1024


class Address(NamedTuple):
    """Where to listen. Port 0: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST:PORT``; an IPv6 host stands in brackets.

        Raises:
            BadValue: it is not of that form.
        """
        host, colon, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 0xFFFF):
            raise BadValue(f"{text!r} is no address: it is written HOST:PORT, for example 127.0.0.1:4318.")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        """``HOST:PORT``, as `parse` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


OTLP_GRPC: Final = Address("127.0.0.1", 4317)
OTLP_HTTP: Final = Address("127.0.0.1", 4318)
API: Final = Address("127.0.0.1", 4319)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    db: str = "sagascope.duckdb"
    """Path of the database file; ``:memory:`` keeps nothing."""
    otlp_grpc: Address = OTLP_GRPC
    otlp_http: Address = OTLP_HTTP
    api: Address = API
    step_timeouts: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds by (saga name, step name), for steps whose telemetry says none."""
    ready_file: Path | None = None
    """Written once everything listens: the addresses, as JSON."""
    max_request_bytes: int = 64 * MEBIBYTE
    """Of an OTLP request, after decompression too."""
    queue_bytes: int = 256 * MEBIBYTE
    """What may wait for the database; and what may be arriving at one time."""
    tokens: Tokens = OPEN
    """Who may send, read and change."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may send and read; none by default."""
    tls: Tls | None = None
    """None: nothing is encrypted."""
    runbooks: tuple[Runbook, ...] = ()
    """What verdicts add to what is to be done."""
    scrub_rules: Rules = field(default_factory=Rules)
    """What may not be kept; card numbers may not unless a file says otherwise."""
    attribute_mapping: AttributeMapping = BUILT_IN
    """What is understood of others' telemetry."""
    scrub_key: Path | None = None
    """File with the key of the stand-ins for what was taken out."""
    alerts: Alerts | None = None
    """Whom to wake, and for what; None: nobody."""
    log_format: Format = Format.TEXT
    log_level: Level = Level.INFO
    readers: int = 4
    """Calls of the API that read at one time."""
    read_seconds: float = 10.0
    """For which a call of the API may wait, and then read."""
    memory_bytes: int = MEMORY_BYTES
    """What DuckDB may hold; statements that need more use the disk."""
    keep: Keep = DEFAULT_KEEP
    """How long and how much is kept."""
    accept_data_loss: bool = False
    """Go on although acknowledged records may be missing; see docs/operations.md."""
    sql: bool | None = None
    """Whether the API answers SQL; None: where it listens on loopback."""
    drain_seconds: float = 10.0
    """How long a stop may take for what is under way."""


def step_timeouts(texts: Iterable[str]) -> dict[tuple[str, str], float]:
    """Read ``NAME/STEP=SECONDS`` texts.

    Raises:
        BadValue: one is not of that form.
    """
    return dict(_step_timeout(text) for text in texts)


def _step_timeout(text: str) -> tuple[tuple[str, str], float]:
    place, _, seconds = text.rpartition("=")
    name, _, step = place.partition("/")
    try:
        limit = float(seconds)
    except ValueError:
        limit = 0.0
    if not (name and step and 0 < limit < float("inf")):
        raise BadValue(f"{text!r} is no step timeout: it is written NAME/STEP=SECONDS, for example payment/book=60.")
    return (name, step), limit
