"""Where the parts of the demo listen."""

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
"""Below the ports that systems give to outgoing connections, so that none takes one before the part is up."""


class CannotStart(Exception):
    """The demo cannot run as it was asked to. The text says what to change."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``HOST:PORT``; ``:PORT`` is on loopback.

        Raises:
            ValueError: it is neither.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The HTTP address, as a client on this machine reaches it."""
        reached = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104  read, not bound
        return f"http://{Address(reached, self.port)}"


@dataclass(frozen=True, slots=True)
class Listener:
    """One thing that listens: what a person calls it, and the option that moves it."""

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
    """Where everything listens; no port is 0 any more."""

    otlp_grpc: Address
    otlp_http: Address
    api: Address
    dashboard: Address
    services: Mapping[str, Address]

    @classmethod
    def choose(cls, asked: Mapping[str, Address], *, free: bool) -> "Addresses":
        """Take what was asked for, else a free port (``free``), else the usual one.

        Raises:
            CannotStart: ports are taken; the text names each, what wanted it, and the option that moves it.
        """
        wanted = {
            name: asked.get(name) or Address(LOOPBACK, 0 if free else listener.default.port)
            for name, listener in LISTENERS.items()
        }
        ports = _free_ports()
        one = {name: _settle(address, ports) for name, address in wanted.items() if name != "services"}
        row = [_settle(address, ports) for address in _row(wanted["services"])]
        _check([*one.items(), *(("services", address) for address in row)])
        return cls(**one, services=dict(zip(SERVICES, row, strict=True)))


def _row(first: Address) -> list[Address]:
    step = 1 if first.port else 0
    return [Address(first.host, first.port + step * place) for place in range(len(SERVICES))]


def _settle(address: Address, ports: Iterator[int]) -> Address:
    return address if address.port else Address(address.host, next(ports))


def _free_ports() -> Iterator[int]:
    """Free ports without end, none twice."""
    for port in SystemRandom().sample(FREE_RANGE, len(FREE_RANGE)):
        if _hindrance(Address(LOOPBACK, port)) is None:
            yield port


def _check(wanted: Sequence[tuple[str, Address]]) -> None:
    """Raise if something cannot listen where it is to, naming everything that cannot."""
    times = Counter(address for _, address in wanted)
    hindered = [
        (name, address, "is asked for twice" if times[address] > 1 else _hindrance(address)) for name, address in wanted
    ]
    lines = [
        f"{address} {why}, and {LISTENERS[name].title} was to listen there; "
        f"{LISTENERS[name].option} HOST:PORT moves it, {LISTENERS[name].option} :0 takes any that is free."
        for name, address, why in hindered
        if why
    ]
    if lines:
        raise CannotStart("\n".join(lines))


def _hindrance(address: Address) -> str | None:
    """What keeps a process of this user from listening there; None if nothing does."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
