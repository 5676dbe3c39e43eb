"""Processes that are forked from one that has imported our modules: a new Python takes two seconds for that.

They are processes like any other: arguments, environment, files, signals and exit statuses of their own. What depends
on how Python starts (its own options and variables, the imports themselves, the command line as `ps` shows it) is
tested with `subprocess`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODULES = (
    "sagascope_collector.__main__",
    "sagascope_collector.app",
    "sagascope_collector.bridges.postgres",
    "sagascope_collector.bridges.tables",
    "pydantic.v1.dataclasses",
    "uvicorn.lifespan.off",
)
"""What is imported beforehand besides the commands; the last two are what FastAPI and uvicorn import late."""

MAX_MESSAGE_BYTES = 1 << 20

STREAMS = (0, 1, 2)


class Process:
    """A process that was started by `start`, with the methods of `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], pid: int, status: socket.socket) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Returns the exit status, or None while the process runs; minus the number of the signal that ended it."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; returns the exit status."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                said = self._status.recv(16)
            except (BlockingIOError, TimeoutError):
                return None
            self._status.close()
            self.returncode = int(said or -signal.SIGKILL)
        return self.returncode


def start(
    module: str, *arguments: str, stdout: int, stderr: int, environment: Mapping[str, str] | None = None
) -> Process:
    """Runs a module as `python -m` does, with these descriptors as its output.

    Args:
        module: its name.
        arguments: its arguments.
        stdout: the descriptor of its output.
        stderr: the descriptor of its errors.
        environment: variables beside this process's own.
    """
    variables = {**os.environ, **(environment or {})}
    asked = {"module": module, "arguments": arguments, "environment": variables, "folder": str(Path.cwd())}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, open(os.devnull) as nothing:  # noqa: PTH123
        descriptors = [nothing.fileno(), stdout, stderr, theirs.fileno()]
        socket.send_fds(_server(), [json.dumps(asked).encode()], descriptors)
    pid = int(ours.recv(16))
    return Process([module, *arguments], pid, ours)


def run(
    module: str, *arguments: str, timeout: float = 60.0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a module to its end, as `subprocess.run` does."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(module, *arguments, stdout=output.fileno(), stderr=errors.fileno(), environment=environment)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = []
        for each in (output, errors):
            each.seek(0)
            texts.append(each.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess([module, *arguments], code, *texts)


@contextmanager
def running(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A process whose output is appended to a file, killed at the end if it still runs."""
    with log.open("a") as output:
        process = start(module, *arguments, stdout=output.fileno(), stderr=output.fileno(), environment=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_possible(environment: Mapping[str, str] | None) -> bool:
    """Whether a process with these variables may be forked: some are read when Python starts."""
    return not any(name.startswith("PYTHON") and name != "PYTHONIOENCODING" for name in environment or ())


def _server() -> socket.socket:
    """The connection to the process that the others are forked from; it ends when this one does."""
    with _STARTING:
        if not _SERVERS:
            _SERVERS.append(_started())
        return _SERVERS[0]


_STARTING = threading.Lock()
_SERVERS: list[socket.socket] = []


def _started() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {here!r}); from support.preloaded import _serve; _serve({theirs.fileno()})"
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


def _serve(descriptor: int) -> None:
    """Forks a process for each request; in that process it runs the module."""
    control = socket.socket(fileno=descriptor)
    sys.path.pop(0)
    _import()
    waking, woken = socket.socketpair()
    for each in (waking, woken):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(woken.fileno())
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(waking, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if waking in ready:
                waking.recv(1024)
                _reap(running)
            if control in ready:
                message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 4)
                if not message:
                    return
                status = socket.socket(fileno=descriptors[3])
                if pid := os.fork():
                    for each in descriptors[:3]:
                        os.close(each)
                    running[pid] = status
                    status.send(str(pid).encode())
                else:
                    for each in (control, waking, woken, status, *running.values()):
                        each.close()
                    break
    _become(json.loads(message), descriptors[:3])


def _import() -> None:
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    from sagascope_collector.__main__ import COMMANDS

    for command in COMMANDS.values():
        importlib.import_module(command.module)
    gc.enable()
    gc.collect()
    gc.freeze()


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as waiting:
            try:
                waiting.send(str(os.waitstatus_to_exitcode(status)).encode())
            except BrokenPipeError:
                continue


def _become(asked: dict[str, Any], descriptors: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, descriptor in zip(STREAMS, descriptors, strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout.reconfigure(encoding=encoding, errors=errors or "strict")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    sys.path.insert(0, asked["folder"])
    sys.argv = [asked["module"], *asked["arguments"]]
    sys.modules.pop(f"{asked['module']}.__main__", None)
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
