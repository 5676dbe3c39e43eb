"""What is examined: where a collector is, or would be, and what it is shown."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sagascope_collector.client.credentials import Credentials
from sagascope_collector.settings import Address


@dataclass(frozen=True, slots=True)
class Patient:
    """A collector, as its options name it."""

    url: str
    otlp_grpc: Address
    otlp_http: Address
    db: Path
    credentials: Credentials
    ingest_token: str | None = field(default=None, repr=False)
    wait: float = 5.0
    """Seconds that one answer may take, and that a test span may take to be found."""

    @property
    def is_tls(self) -> bool:
        """Whether its ports speak TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or would run, on this machine."""
        return Address(urlsplit(self.url).hostname or "", 0).is_loopback

    @property
    def ingest_headers(self) -> dict[str, str]:
        """What to show when something is sent."""
        return {"authorization": f"Bearer {self.ingest_token}"} if self.ingest_token else {}
