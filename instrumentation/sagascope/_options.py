"""What may be set with `configure` and `install`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict


class Options(TypedDict, total=False):
    """Settings of how saga telemetry is made and sent; each may be left out."""

    endpoint: str
    """OTLP/HTTP base address of the collector; else ``SAGASCOPE_ENDPOINT``, else ``OTEL_EXPORTER_OTLP_ENDPOINT``, else
    ``http://127.0.0.1:4318``."""
    headers: Mapping[str, str]
    """Sent with every request, for example for authentication; else ``OTEL_EXPORTER_OTLP_HEADERS``."""
    compression: str
    """``none`` (as if left out) or ``gzip``; else ``OTEL_EXPORTER_OTLP_COMPRESSION``."""
    certificate: str
    """File of the certificate authority that https is checked with; else ``OTEL_EXPORTER_OTLP_CERTIFICATE``."""
    timeout: float
    """Seconds that one request to the collector may take (5). Your code never waits for it."""
    announce_after: float
    """Seconds after which a saga span that is still open is announced (0.25)."""
    heartbeat_interval: float
    """Seconds between heartbeats while an announced span is open (5)."""
    queue_size: int
    """Ended spans, and as many log records, held in memory (8192); beyond it the newest are dropped, and counted."""
    spool: str
    """Folder in which waits on disk what the collector does not take; else ``SAGASCOPE_SPOOL``, else there is none."""
    spool_size: int
    """Bytes that the spool may hold (64 MiB)."""
    propagate_to: Callable[[str], bool] | Iterable[str]
    """Hosts that a saga's baggage may be sent to: a function of the host name, or patterns (``*.example.com``,
    ``10.0.0.0/8``); ``private`` stands for private and loopback addresses and names without a public suffix, which is
    what is allowed when this is left out."""
    trust_incoming: bool | Callable[[Any], bool]
    """Whether the saga that incoming headers name is taken up (True). False at a public entry; or a function of the
    headers."""
    redact: Callable[[str, Any], Any]
    """Called with the key and value of everything that is to leave the process, of lists with each item; returns what
    may leave, None for nothing. Log bodies have the key ``body``, status messages ``status.message``."""
    max_value_length: int
    """Characters of one attribute value or log body (8192); a longer one is cut, and says so."""
    log_level: int | str | None
    """Least level of `logging` records that are sent from inside sagas (``INFO``); None: none are."""
    log_rate: float
    """Log records that may be sent in one second (1000); beyond it they are dropped, and counted."""
