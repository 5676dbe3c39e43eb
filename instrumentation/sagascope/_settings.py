"""What can be set, and where each setting comes from."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time_ns
from urllib.parse import unquote

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"


@dataclass(frozen=True, slots=True)
class Settings:
    """How saga telemetry is made and sent."""

    endpoint: str = DEFAULT_ENDPOINT
    """OTLP/HTTP base address; ``/v1/traces`` and ``/v1/logs`` are added."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    compression: str = "none"
    """``none`` or ``gzip``."""
    certificate: str | None = None
    """File of the certificate authority, for https."""
    timeout: float = 5.0
    """Seconds that one request may take."""
    announce_after: float = 0.25
    """Seconds after which an open span is announced."""
    heartbeat_interval: float = 5.0
    """Seconds between heartbeats while an announced span is open."""
    queue_size: int = 8192
    """Ended spans, and as many log records, held for sending. Beyond it the newest are dropped, and counted."""
    log_level: int | None = 20
    """Least level of `logging` records that are sent; None: none are."""
    clock: Callable[[], int] = time_ns
    """Nanoseconds since the Unix epoch."""


def endpoint(given: str | None) -> str:
    """As given, else from ``SAGASCOPE_ENDPOINT``, else from ``OTEL_EXPORTER_OTLP_ENDPOINT``, else on this machine."""
    environment = os.environ
    return (
        given
        or environment.get("SAGASCOPE_ENDPOINT")
        or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or DEFAULT_ENDPOINT
    )


def headers(given: Mapping[str, str] | None) -> dict[str, str]:
    """As given, else from ``OTEL_EXPORTER_OTLP_HEADERS``."""
    if given is not None:
        return dict(given)
    pairs = os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")
    split = (pair.partition("=") for pair in pairs if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in split}
