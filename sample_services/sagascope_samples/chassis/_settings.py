"""What a service is told by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "SAMPLE_ADDRESS"
"""``HOST:PORT`` to listen on."""

DATABASE = "SAMPLE_DATABASE"
"""The service's own SQLite file; made when it is not there."""

PEERS = "SAMPLE_PEERS"
"""``name=URL`` of the other services, separated by commas."""

HEARTBEAT = "SAMPLE_HEARTBEAT"
"""Seconds between heartbeats while work is under way."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a service listens, keeps what it knows, and finds the others."""

    host: str
    port: int
    database: Path
    peers: Mapping[str, str]
    heartbeat: float = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables; the heartbeat alone may be missing.

        Raises:
            KeyError: one is missing.
            ValueError: one cannot be read.
        """
        host, _, port = environment[ADDRESS].rpartition(":")
        named = (peer.partition("=") for peer in environment[PEERS].split(","))
        peers = {name: url for name, _, url in named}
        heartbeat = float(environment.get(HEARTBEAT, "5.0"))
        return cls(host, int(port), Path(environment[DATABASE]), peers, heartbeat)

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back."""
        return {
            ADDRESS: f"{self.host}:{self.port}",
            DATABASE: str(self.database),
            PEERS: ",".join(f"{name}={url}" for name, url in self.peers.items()),
            HEARTBEAT: str(self.heartbeat),
        }
