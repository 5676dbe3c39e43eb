"""The whole demo as a user starts it: `sagascope demo`, a real process with all its parts."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from sagascope_samples.demo import Addresses
from sagascope_samples.demo.scenario import SAGA
from support.samples import wait_until

COMMAND = (sys.executable, "-m", "sagascope_collector", "demo")
READY_WITHIN = 90.0
STOP_WITHIN = 30.0


@dataclass
class RunningDemo:
    """A demo that plays."""

    process: subprocess.Popen[bytes]
    addresses: Addresses
    output: Path

    def output_text(self) -> str:
        return self.output.read_text()

    def get(self, path: str, **query: str) -> Any:
        """Ask the collector's API."""
        answer = httpx.get(self.addresses.api.url + path, params=query, timeout=10, trust_env=False)
        return answer.raise_for_status().json()

    def knows(self, payment: str) -> bool:
        return bool(self.get("/api/v1/sagas", q=payment)["items"])

    def saga(self, payment: str) -> Any:
        return self.get("/api/v1/saga", name=SAGA, id=payment)

    def parts(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send the signal of Ctrl-C; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_WITHIN)


@contextlib.contextmanager
def running_demo(folder: Path) -> Iterator[RunningDemo]:
    """An interactive demo on free ports, past its start; killed at the end if it still runs."""
    addresses = Addresses.choose({}, free=True)
    options = {
        "--folder": folder / "run",
        "--otlp-grpc": addresses.otlp_grpc,
        "--otlp-http": addresses.otlp_http,
        "--api": addresses.api,
        "--dashboard": addresses.dashboard,
        "--services": ":0",
    }
    words = [str(word) for pair in options.items() for word in pair]
    output = folder / "output_text.txt"
    with output.open("wb") as output_text:
        process = subprocess.Popen(
            [*COMMAND, *words], stdout=output_text, stderr=output_text, cwd=folder, env={**os.environ}
        )
    demo = RunningDemo(process, addresses, output)
    try:
        wait_until(lambda: _plays(demo), f"the demo does not play:\n{demo.output_text()}", READY_WITHIN)
        yield demo
    finally:
        process.kill()
        process.wait()


def _plays(demo: RunningDemo) -> bool:
    assert demo.process.poll() is None, f"the demo ended:\n{demo.output_text()}"
    return "/saga?name=" in demo.output_text()
