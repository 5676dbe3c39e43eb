"""Chooses the addresses of the processes of the demo, starts and watches them, and leaves none behind."""

import asyncio
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Final, NoReturn, Self

import httpx

from sagascope_samples.chassis import Settings

# --- addresses -------------------------------------------------------------------------------------

SERVICES: Final = ("orchestrator", "fraud", "wallet", "ledger", "shipping", "notification")

LOOPBACK: Final = "127.0.0.1"

MAX_PORT: Final = 65_535

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
        if not colon or not port.isdecimal() or int(port) > MAX_PORT:
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
    if address.port > MAX_PORT:
        return f"cannot be used (the highest port is {MAX_PORT})"
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None


# --- processes -------------------------------------------------------------------------------------

STOP_TIMEOUT_SECONDS: Final = 5.0
"""Time after which a process that does not stop is killed."""

READY_TIMEOUT_SECONDS: Final = 60.0
READY_REQUEST_TIMEOUT_SECONDS: Final = 2.0
POLL_INTERVAL_SECONDS: Final = 0.1

LOG_TAIL_LINES: Final = 20
"""Lines of a log that an error message shows."""

PR_SET_PDEATHSIG: Final = 1
"""Option of Linux's prctl: the signal that a process receives when its parent ends."""


class ProcessDied(Exception):
    """A process ended unexpectedly. The message names it and contains the end of its log."""


class ProcessNotReady(Exception):
    """A process runs but is not ready in time."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to start a process of the demo."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready_url: str
    """Responds with status 200 once the process is ready."""


class Supervisor:
    """Owns the processes; a context manager that stops all of them at its end.

    If this process itself is killed, Linux kills the others with it.
    """

    def __init__(
        self, folder: Path, *, stop_timeout: float = STOP_TIMEOUT_SECONDS, ready_timeout: float = READY_TIMEOUT_SECONDS
    ) -> None:
        self._folder = folder
        self._stop_timeout = stop_timeout
        self._ready_timeout = ready_timeout
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self, spec: ProcessSpec) -> None:
        """Starts a process; its output is appended to ``<name>.log``."""
        with self.log_of(spec.name).open("ab") as log:
            self._running[spec.name] = subprocess.Popen(
                spec.command,
                env={**os.environ, **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # a group of its own: Ctrl-C reaches the demo only, which stops each process with its children, in order
                start_new_session=True,
                preexec_fn=_kill_with_parent(),
            )

    async def wait_ready(self, spec: ProcessSpec) -> None:
        """Waits until a process is ready.

        Raises:
            ProcessDied: This process or another one ended.
            ProcessNotReady: It is not ready in time.
        """
        deadline = asyncio.get_running_loop().time() + self._ready_timeout
        async with httpx.AsyncClient(timeout=READY_REQUEST_TIMEOUT_SECONDS, trust_env=False) as http:
            while asyncio.get_running_loop().time() < deadline:
                self.check()
                if await _is_ready(http, spec.ready_url):
                    return
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        raise ProcessNotReady(f"{spec.name} is not ready after {self._ready_timeout:g} s.\n{self._log_tail(spec.name)}")

    async def kill(self, name: str) -> None:
        """Kills a process with SIGKILL and waits for its end; `watch` does not report it."""
        process = self._running.pop(name)
        process.kill()
        await asyncio.to_thread(process.wait)

    def check(self) -> None:
        """Checks every process once.

        Raises:
            ProcessDied: A process ended.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                status = _exit_status(process.returncode)
                raise ProcessDied(f"{name} died unexpectedly ({status}).\n{self._log_tail(name)}")

    async def watch(self) -> NoReturn:
        """Checks the processes until one dies, then raises `ProcessDied`."""
        while True:
            self.check()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def stop(self) -> None:
        """Stops all processes with SIGTERM, and with SIGKILL those that do not stop in time.

        The process that was started first, the collector, stops last, so that it receives the others' final records.
        """
        names = list(self._running)
        try:
            for group in (names[1:], names[:1]):
                self._signal(group, signal.SIGTERM)
                await self._wait_for_end(group)
        finally:
            self._signal(names, signal.SIGKILL)
            for process in self._running.values():
                process.wait()
            self._running.clear()

    def log_of(self, name: str) -> Path:
        """Returns the file with the output of a process."""
        return self._folder / f"{name}.log"

    async def _wait_for_end(self, names: Sequence[str]) -> None:
        """Waits until these processes have ended, at most until the timeout."""
        deadline = asyncio.get_running_loop().time() + self._stop_timeout
        while any(self._running[name].poll() is None for name in names):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(POLL_INTERVAL_SECONDS / 4)

    def _signal(self, names: Sequence[str], number: signal.Signals) -> None:
        """Sends a signal to processes and their children: each process has its own process group."""
        for name in names:
            process = self._running[name]
            if process.poll() is None:
                os.killpg(process.pid, number)

    def _log_tail(self, name: str) -> str:
        log = self.log_of(name)
        lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines or ["(nothing)"])])


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.TransportError:
        return False


def _exit_status(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _kill_with_parent() -> Callable[[], None] | None:
    """Returns a function for a new process that makes the system kill it when this one ends; None except on Linux."""
    if sys.platform != "linux":
        return None
    set_death_signal = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def call() -> None:
        set_death_signal(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the option was set, and sends no signal any more
            os.kill(os.getpid(), signal.SIGKILL)

    return call


DEFAULT_FOLDER: Final = Path(".demo")

RUN_FILES: Final = ("*.log", "*.sqlite*", "sagascope.duckdb*", "nats", "temporal.db*")
"""Files of a run, which the next run in the folder deletes."""


def collector(addresses: Addresses, folder: Path, options: Sequence[str] = ()) -> ProcessSpec:
    """Returns the collector, with a database in the folder of the run."""
    listeners = {"--otlp-grpc": addresses.otlp_grpc, "--otlp-http": addresses.otlp_http, "--api": addresses.api}
    listen = [word for option, address in listeners.items() for word in (option, str(address))]
    database = str(folder / "sagascope.duckdb")
    command = module("sagascope_collector", "serve", "--db", database, *listen, *options)
    return ProcessSpec("collector", command, {}, f"{addresses.api.url}/readyz")


def dashboard(addresses: Addresses) -> ProcessSpec:
    """Returns the dashboard of that collector."""
    options = ["--address", str(addresses.dashboard), "--url", addresses.api.url]
    command = module("sagascope_dashboard", *options)
    return ProcessSpec("dashboard", command, {}, f"{addresses.dashboard.url}/_stcore/health")


def services(addresses: Addresses, folder: Path) -> list[ProcessSpec]:
    """Returns the six sample services."""
    return [_service(name, addresses, folder) for name in SERVICES]


def _service(name: str, addresses: Addresses, folder: Path) -> ProcessSpec:
    address = addresses.services[name]
    peers = {peer: each.url for peer, each in addresses.services.items()}
    settings = Settings(address.host, address.port, folder / f"{name}.sqlite", peers)
    environment = {**settings.to_environment(), "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}
    return ProcessSpec(name, module("sagascope_samples.services", name), environment, f"{address.url}/healthz")


def module(name: str, *arguments: str) -> list[str]:
    """Returns the command that runs a module."""
    return [sys.executable, "-m", name, *arguments]


def find_program(name: str, install_command: str) -> str:
    """Returns the path of a program, for example in this virtual environment.

    Raises:
        CannotStart: It is not installed.
    """
    program = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if program is None:
        raise CannotStart(f"No {name} is installed. Run: {install_command}")
    return program


@contextmanager
def persistent_folder(folder: Path) -> Iterator[Path]:
    """Opens a folder that is kept after the run, without the files of an earlier run, for one run at a time.

    Raises:
        CannotStart: Another run uses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(f"Another demo uses {folder}. Choose another folder with --folder FOLDER.") from error
        _delete_run_files(folder)
        yield folder.resolve()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Opens a folder that is deleted after the run, or kept for inspection if the run fails."""
    folder = Path(tempfile.mkdtemp(prefix="sagascope-demo-"))
    failed = False
    try:
        yield folder
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _delete_run_files(folder: Path) -> None:
    for path in (path for pattern in RUN_FILES for path in folder.glob(pattern)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
