"""A real `sagascope serve` process for tests: free ports, a database of its own, always stopped."""

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from support import preloaded

START_WITHIN = 90.0
STOP_WITHIN = 60.0


@dataclass(slots=True)
class RunningCollector:
    """A collector that is ready. `api` and `otlp_http` are URLs, `otlp_grpc` is HOST:PORT."""

    api: str
    otlp_http: str
    otlp_grpc: str
    db: Path
    process: preloaded.Spawned
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def logged(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()


@contextmanager
def running_collector(
    folder: Path | None = None,
    *options: str,
    db: Path | None = None,
    environment: Mapping[str, str] | None = None,
    addresses: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    probe: str = "/readyz",
    own_python: bool = False,
) -> Iterator[RunningCollector]:
    """Start a collector, wait for its /readyz, and stop it at the end.

    Args:
        folder: where database, log and ready file go; a temporary one by default.
        options: further options of `sagascope serve`.
        db: another database than `folder`'s.
        environment: variables beside this process's own.
        addresses: HOST:PORT by option name (`otlp_grpc`, `otlp_http`, `api`), to come back on the same ports.
        tls: what to ask over, if `options` make it speak TLS.
        probe: what is waited for; ``/healthz`` for a collector that runs, but is not ready.
        own_python: start a Python of its own, which is slower: where the start itself is tested.
    """
    if folder is None:
        with (
            TemporaryDirectory() as name,
            running_collector(
                Path(name),
                *options,
                db=db,
                environment=environment,
                addresses=addresses,
                tls=tls,
                probe=probe,
                own_python=own_python,
            ) as collector,
        ):
            yield collector
        return
    database, log, ready = db or folder / "sagascope.duckdb", folder / "collector.log", folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = serve_command(database, "--ready-file", str(ready), *options, addresses=addresses)
    process = preloaded.spawn(*command[2:], output=log, environment=environment, own_python=own_python)
    try:
        yield _ready(process, ready, database, log, tls, probe)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serve_command(db: Path | str, *options: str, addresses: Mapping[str, str] | None = None) -> Sequence[str]:
    """The command line of a collector; ports that are not given are free ones."""
    places = {"otlp_grpc": "127.0.0.1:0", "otlp_http": "127.0.0.1:0", "api": "127.0.0.1:0", **(addresses or {})}
    listening = [part for name, place in places.items() for part in (f"--{name.replace('_', '-')}", place)]
    return [sys.executable, "-m", "sagascope_collector", "serve", "--db", str(db), *listening, *options]


def _ready(
    process: preloaded.Spawned, ready: Path, db: Path, log: Path, tls: ssl.SSLContext | None, probe: str
) -> RunningCollector:
    deadline = time.monotonic() + START_WITHIN
    while not ready.exists():
        _still_starting(process, log, deadline)
    said = json.loads(ready.read_text())
    scheme = "https" if tls else "http"
    api = f"{scheme}://{said['api']}"
    while not _answers(f"{api}{probe}", tls):
        _still_starting(process, log, deadline)
    return RunningCollector(api, f"{scheme}://{said['otlp_http']}", said["otlp_grpc"], db, process, log)


def _still_starting(process: preloaded.Spawned, log: Path, deadline: float) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"The collector ended with status {process.returncode}:\n{log.read_text()}")
    if time.monotonic() > deadline:
        raise TimeoutError(f"The collector was not ready within {START_WITHIN:.0f} s:\n{log.read_text()}")
    time.sleep(0.01)


def _answers(url: str, tls: ssl.SSLContext | None) -> bool:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False, verify=tls or True)
        return answer.status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
