"""The sample services as real processes on free ports, without the demo around them."""

import contextlib
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sagascope_samples.calls import KEY_HEADER, Order
from sagascope_samples.chassis import Settings
from sagascope_samples.demo import SERVICES, Address, Addresses
from support import preloaded
from support.waiting import DEADLINE, wait_until

CLOSED = "http://127.0.0.1:9"
"""Where no collector listens: the services must work all the same."""


@dataclass
class Samples:
    """Running services; every call is real HTTP."""

    addresses: Mapping[str, Address]
    folder: Path
    telemetry: str = CLOSED
    processes: dict[str, preloaded.Process] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10.0, trust_env=False))

    def start(self, name: str, **peers: str) -> None:
        """Start one service; ``peers`` puts others in the place of the real ones."""
        here = self.addresses[name]
        urls = {peer: address.url for peer, address in self.addresses.items()} | peers
        settings = Settings(here.host, here.port, self.folder / f"{name}.sqlite", urls, heartbeat_seconds=1.0)
        environment = {**settings.to_environment(), "SAGASCOPE_ENDPOINT": self.telemetry}
        log = self.folder / f"{name}.log"
        self.processes[name] = preloaded.start("sagascope_samples.services", name, output=log, environment=environment)

    def wait_ready(self, name: str) -> None:
        wait_until(lambda: self._healthy(name), f"{name} is not ready:\n{self.log_of(name)}")

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """Stop one service and return its exit status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(DEADLINE)
        finally:
            process.kill()

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def post(self, service: str, path: str, body: Any, key: str = "", **headers: str) -> httpx.Response:
        url = self.addresses[service].url + path
        return self.http.post(url, json=body, headers={KEY_HEADER: key, **headers} if key else headers)

    def pay(self, order: Order) -> None:
        assert self.post("orchestrator", "/payments", order.write(), order.payment).status_code == 202

    def state(self, payment: str) -> str:
        answer = self.http.get(f"{self.addresses['orchestrator'].url}/payments/{payment}")
        return str(answer.raise_for_status().json()["state"])

    def wait_for(self, payment: str, state: str) -> None:
        wait_until(lambda: self.state(payment) == state, f"{payment} is not {state}")

    def plant(self, service: str, payment: str, step: str, kind: str, message: str = "planted") -> None:
        url = f"{self.addresses[service].url}/faults/{payment}/{step}"
        assert self.http.put(url, json={"kind": kind, "message": message}).status_code == 204

    def repair(self, service: str, payment: str, step: str) -> None:
        assert self.http.delete(f"{self.addresses[service].url}/faults/{payment}/{step}").status_code == 204

    def rows(self, service: str, query: str, *values: str) -> list[tuple[Any, ...]]:
        """What a service has in its file."""
        with contextlib.closing(sqlite3.connect(self.folder / f"{service}.sqlite")) as database:
            return database.execute(query, values).fetchall()

    def _healthy(self, name: str) -> bool:
        status = self.processes[name].poll()
        assert status is None, f"{name} died with {status}:\n{self.log_of(name)}"
        try:
            return self.http.get(f"{self.addresses[name].url}/healthz").is_success
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running_samples(
    folder: Path, *names: str, telemetry: str = CLOSED, addresses: Mapping[str, Address] | None = None, **peers: str
) -> Iterator[Samples]:
    """These services (all six unless named), ready, until the block ends; ports are free ones, if not given."""
    samples = Samples(addresses or Addresses.choose({}, free=True).services, folder, telemetry)
    try:
        for name in names or SERVICES:
            samples.start(name, **peers)
        for name in names or SERVICES:
            samples.wait_ready(name)
        yield samples
    finally:
        for process in samples.processes.values():
            process.kill()
        for process in samples.processes.values():
            process.wait()
        samples.http.close()
