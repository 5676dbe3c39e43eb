"""The addresses that the processes of the demo listen on."""

import errno
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

SERVICES: Final = ("orchestrator", "fraud", "wallet", "ledger", "shipping", "notification")

LOOPBACK: Final = "127.0.0.1"

FREE_RANGE: Final = range(20_000, 32_000)
"""Below the ephemeral ports of outgoing connections, so that none takes a port before its process listens."""


class CannotStart(Exception):
    """The demo cannot start. The message says what to change."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 is any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parses ``HOST:PORT`` or, on loopback, ``:PORT``.

        Raises:
            ValueError: The text is neither.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The HTTP URL for a client on this machine."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104  read, not bound
        return f"http://{Address(host, self.port)}"


@dataclass(frozen=True, slots=True)
class Listener:
    """Something that listens: its name for people, and the option that sets its address."""

    title: str
    option: str
    default: Address
    note: str = ""


LISTENERS: Final = {
    "otlp_grpc": Listener("the collector's OTLP/gRPC", "--otlp-grpc", Address(LOOPBACK, 4317)),
    "otlp_http": Listener("the collector's OTLP/HTTP", "--otlp-http", Address(LOOPBACK, 4318)),
    "api": Listener("the collector's API", "--api", Address(LOOPBACK, 4319)),
    "dashboard": Listener("the dashboard", "--dashboard", Address(LOOPBACK, 8501)),
    "services": Listener(
        "one of the six sample services", "--services", Address(LOOPBACK, 4330), ", six ports in a row"
    ),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of all processes; no port is 0."""

    otlp_grpc: Address
    otlp_http: Address
    api: Address
    dashboard: Address
    services: Mapping[str, Address]

    @classmethod
    def choose(cls, requested: Mapping[str, Address], *, free: bool) -> "Addresses":
        """Chooses the requested addresses, otherwise free ports (``free``), otherwise the defaults.

        Raises:
            CannotStart: Ports are in use; the message names each with the option that sets it.
        """
        wanted = {
            name: requested.get(name) or Address(LOOPBACK, 0 if free else listener.default.port)
            for name, listener in LISTENERS.items()
        }
        ports = _free_ports()
        single = {name: _resolved(address, ports) for name, address in wanted.items() if name != "services"}
        row = [_resolved(address, ports) for address in _row(wanted["services"])]
        _check([*single.items(), *(("services", address) for address in row)])
        return cls(**single, services=dict(zip(SERVICES, row, strict=True)))


def _row(first: Address) -> list[Address]:
    step = 1 if first.port else 0
    return [Address(first.host, first.port + step * index) for index in range(len(SERVICES))]


def _resolved(address: Address, ports: Iterator[int]) -> Address:
    return address if address.port else Address(address.host, next(ports))


def _free_ports() -> Iterator[int]:
    """Yields different free ports."""
    for port in SystemRandom().sample(FREE_RANGE, len(FREE_RANGE)):
        if _bind_error(Address(LOOPBACK, port)) is None:
            yield port


def _check(wanted: Sequence[tuple[str, Address]]) -> None:
    """Raises CannotStart if addresses cannot be used, and names all of them."""
    counts = Counter(address for _, address in wanted)
    errors = [
        (name, address, "is requested twice" if counts[address] > 1 else _bind_error(address))
        for name, address in wanted
    ]
    lines = [
        f"{address} {error}, so {LISTENERS[name].title} cannot listen there. Choose another address with "
        f"{LISTENERS[name].option} HOST:PORT, or any free port with {LISTENERS[name].option} :0."
        for name, address, error in errors
        if error
    ]
    if lines:
        raise CannotStart("\n".join(lines))


def _bind_error(address: Address) -> str | None:
    """Returns why this user cannot listen on an address; None if nothing prevents it."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
