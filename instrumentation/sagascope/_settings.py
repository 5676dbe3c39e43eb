"""The settings in force: as given, else from the environment, else as here."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from time import time_ns
from typing import Any
from urllib.parse import unquote

from sagascope.errors import SettingInvalid

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"


@dataclass(frozen=True, slots=True)
class Settings:
    """How saga telemetry is made and sent; `Options` says what each means."""

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
    def level(self) -> int | None:
        """`log_level` as a number."""
        if not isinstance(self.log_level, str):
            return self.log_level
        number = logging.getLevelName(self.log_level.upper())
        if not isinstance(number, int):
            raise SettingInvalid(f"log_level must be a level of logging, not {self.log_level!r}")
        return number


def settle(options: Mapping[str, Any]) -> Settings:
    """The settings for what was given.

    Raises:
        SettingInvalid: An option is unknown, or its value cannot be used.
    """
    unknown = set(options) - {each.name for each in fields(Settings)}
    if unknown:
        raise SettingInvalid(f"There is no setting called {', '.join(sorted(unknown))}")
    return Settings(
        **{**_from_environment(), **{name: value for name, value in options.items() if _is_given(name, value)}}
    )


def _is_given(name: str, value: Any) -> bool:
    return value is not None or name == "log_level"


def _from_environment() -> dict[str, Any]:
    found = {
        "endpoint": _first("SAGASCOPE_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "spool": _first("SAGASCOPE_SPOOL"),
        "compression": _first("OTEL_EXPORTER_OTLP_COMPRESSION"),
        "certificate": _first("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "headers": _headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")),
    }
    if found["compression"] not in {"none", "gzip"}:
        found["compression"] = None
    return {name: value for name, value in found.items() if value}


def _first(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _headers(text: str) -> dict[str, str]:
    """Headers as OpenTelemetry's environment variables write them: ``name=value,name=value``, percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
