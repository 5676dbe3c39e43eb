"""The options of `configure` and `install`, and the settings that result from them and the environment."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from time import time_ns
from typing import Any, TypedDict
from urllib.parse import unquote

from sagascope._errors import SettingInvalid

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"


class Options(TypedDict, total=False):
    """Settings of how saga telemetry is made and sent; all are optional."""

    endpoint: str
    """OTLP/HTTP base address of the collector; else ``SAGASCOPE_ENDPOINT``, else ``OTEL_EXPORTER_OTLP_ENDPOINT``, else
    ``http://127.0.0.1:4318``."""
    headers: Mapping[str, str]
    """Headers of every request, for example for authentication; else ``OTEL_EXPORTER_OTLP_HEADERS``."""
    compression: str
    """``none`` (the default) or ``gzip``; else ``OTEL_EXPORTER_OTLP_COMPRESSION``."""
    certificate: str
    """File of the certificate authority that verifies https; else ``OTEL_EXPORTER_OTLP_CERTIFICATE``."""
    timeout: float
    """Seconds that one request to the collector may take (5). Your code never waits for it."""
    announce_after: float
    """Seconds after which a saga span that is still open is announced (0.25)."""
    heartbeat_interval: float
    """Seconds between heartbeats while an announced span is open (5)."""
    queue_size: int
    """Ended spans, and as many log records, held in memory (8192). Beyond it the newest are dropped and counted."""
    spool: str
    """Folder for records that the collector does not accept; else ``SAGASCOPE_SPOOL``, else they stay in memory."""
    spool_size: int
    """Bytes that the spool may hold (64 MiB)."""
    propagate_to: Callable[[str], bool] | Iterable[str]
    """Hosts that a saga's baggage may be sent to: a function of the host name, or patterns (``*.example.com``,
    ``10.0.0.0/8``). ``private``, the default, is private and loopback addresses and names without a public suffix."""
    trust_incoming: bool | Callable[[Any], bool]
    """Whether to continue the saga that incoming headers name (True). False at a public entry; or a function of the
    headers."""
    redact: Callable[[str, Any], Any]
    """Called with the key and the value of everything that leaves the process, for lists with each item. Returns the
    value to send, or None to send nothing. Log bodies have the key ``body``, status messages ``status.message``."""
    max_value_length: int
    """Characters of one attribute value or log body (8192). A longer one is cut and marked."""
    log_level: int | str | None
    """Minimum level of `logging` records that are sent from inside sagas (``INFO``); None sends none."""
    log_rate: float
    """Log records that may be sent in one second (1000). Beyond it they are dropped and counted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How saga telemetry is made and sent; `Options` documents each field."""

    endpoint: str = DEFAULT_ENDPOINT
    headers: Mapping[str, str] = field(default_factory=dict)
    compression: str = "none"
    certificate: str | None = None
    timeout: float = 5.0
    announce_after: float = 0.25
    heartbeat_interval: float = 5.0
    queue_size: int = 8192
    spool: str | None = None
    spool_size: int = 64 * 1024 * 1024
    propagate_to: Callable[[str], bool] | Iterable[str] | None = None
    trust_incoming: bool | Callable[[Any], bool] = True
    redact: Callable[[str, Any], Any] | None = None
    max_value_length: int = 8192
    log_level: int | str | None = logging.INFO
    log_rate: float = 1000.0
    clock: Callable[[], int] = time_ns
    """Nanoseconds since the Unix epoch."""

    def __post_init__(self) -> None:
        for name in ("timeout", "announce_after", "heartbeat_interval", "queue_size", "max_value_length"):
            if not getattr(self, name) > 0:
                raise SettingInvalid(f"{name} must be greater than 0, not {getattr(self, name)!r}")
        if self.compression not in {"none", "gzip"}:
            raise SettingInvalid(f"compression must be 'none' or 'gzip', not {self.compression!r}")

    @property
    def log_level_number(self) -> int | None:
        """`log_level` as a number."""
        if not isinstance(self.log_level, str):
            return self.log_level
        number = logging.getLevelName(self.log_level.upper())
        if not isinstance(number, int):
            raise SettingInvalid(f"log_level must be a level of logging, not {self.log_level!r}")
        return number


def resolve_settings(options: Mapping[str, Any]) -> Settings:
    """Returns the settings: options first, then environment variables, then defaults.

    Raises:
        SettingInvalid: An option is unknown, or its value is invalid.
    """
    unknown = set(options) - {each.name for each in fields(Settings)}
    if unknown:
        raise SettingInvalid(f"Unknown setting: {', '.join(sorted(unknown))}")
    given = {name: value for name, value in options.items() if value is not None or name == "log_level"}
    return Settings(**{**_from_environment(), **given})


def _from_environment() -> dict[str, Any]:
    found = {
        "endpoint": _first_variable("SAGASCOPE_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "spool": _first_variable("SAGASCOPE_SPOOL"),
        "compression": _first_variable("OTEL_EXPORTER_OTLP_COMPRESSION"),
        "certificate": _first_variable("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "headers": _parse_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")),
    }
    if found["compression"] not in {"none", "gzip"}:
        found["compression"] = None
    return {name: value for name, value in found.items() if value}


def _first_variable(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _parse_headers(text: str) -> dict[str, str]:
    """Parses headers as OpenTelemetry's variables write them: ``name=value,name=value``, percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
