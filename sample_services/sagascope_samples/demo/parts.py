"""What the demo consists of: the command and the environment of each part."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sagascope_samples.chassis import Settings
from sagascope_samples.demo.addresses import SERVICES, Addresses
from sagascope_samples.demo.supervisor import Part

HEARTBEAT_SECONDS: Final = 2.0
"""Short, so that a killed process is found out soon; long enough for a busy machine."""


def collector(addresses: Addresses, folder: Path, more: Sequence[str] = ()) -> Part:
    """The collector, with a database in the run's folder, and further words of its command."""
    listen = {"--otlp-grpc": addresses.otlp_grpc, "--otlp-http": addresses.otlp_http, "--api": addresses.api}
    options = [word for option, address in listen.items() for word in (option, str(address))]
    return Part(
        "collector",
        [*_module("sagascope_collector"), "serve", "--db", str(folder / "sagascope.duckdb"), *options, *more],
        {},
        f"{addresses.api.url}/readyz",
    )


def dashboard(addresses: Addresses) -> Part:
    """The dashboard, reading that collector."""
    options = ["--address", str(addresses.dashboard), "--url", addresses.api.url]
    return Part(
        "dashboard",
        [*_module("sagascope_dashboard"), *options],
        {},
        f"{addresses.dashboard.url}/_stcore/health",
    )


def services(addresses: Addresses, folder: Path) -> list[Part]:
    """The six sample services."""
    return [_service(name, addresses, folder) for name in SERVICES]


def _service(name: str, addresses: Addresses, folder: Path) -> Part:
    here = addresses.services[name]
    peers = {peer: address.url for peer, address in addresses.services.items()}
    settings = Settings(here.host, here.port, folder / f"{name}.sqlite", peers, HEARTBEAT_SECONDS)
    environment = {**settings.to_environment(), "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}
    return Part(name, _module(f"sagascope_samples.{name}"), environment, f"{here.url}/healthz")


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
