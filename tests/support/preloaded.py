"""Processes that are forked from one that has imported our modules: a new Python takes two seconds for that.

They are processes like any other: arguments, environment, files, signals and exit statuses of their own. What depends
on how Python starts (its own options and variables, the imports themselves, the command line as `ps` shows it) is
tested with `subprocess`.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest.mock import patch

from sagascope_collector.__main__ import COMMANDS

LATE_IMPORTS = (
    "sagascope_collector.bridges.postgres",
    "sagascope_collector.bridges.tables",
    "pydantic.v1.dataclasses",
    "uvicorn.lifespan.off",
)
"""What commands, FastAPI and uvicorn import late."""

DASHBOARD = (
    "altair",
    "httpcore",
    "sagascope_collector.client",
    "sagascope_collector.http_server.connections",
    "sagascope_dashboard.viewmodels",
    "streamlit.elements.arrow",
    "streamlit.elements.vega_charts",
    "streamlit.starlette",
    "streamlit.web.server.starlette.starlette_server",
    "pandas",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
"""What the dashboard imports that does not depend on its environment."""

SAMPLES = (
    "httpx",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._logs.export",
    "opentelemetry.sdk.trace.export",
    "starlette.applications",
    "tenacity",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
)
"""What sample services import beside our own modules, so that each instruments itself as any process does."""

OTHER_DUCKDB = Path(__file__).parents[2] / ".duckdb-other"
"""The other version of DuckDB, with the extensions for a lake."""

LAKE_PATH = f"{OTHER_DUCKDB}:{Path(__file__).parents[1]}"
"""`PYTHONPATH` of the processes of a lake: they run on the other DuckDB."""

COLLECTOR = ("pytest", *(each.module for each in COMMANDS.values()), *LATE_IMPORTS)
"""What every other process imports."""

LATER_PATH = f"{Path(__file__).parent / 'later_version'}:{LAKE_PATH}"
"""`PYTHONPATH` of the processes of a lake that have a later version."""

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC reads it before a forked process could set it
_CONTEXT = multiprocessing.get_context("forkserver")


class _ForkServer(forkserver.ForkServer):
    """One of several fork servers of a test process; `multiprocessing` itself has one."""

    def __init__(self, modules: list[str], path: str) -> None:
        super().__init__()
        self._path = path
        self.set_forkserver_preload(modules)

    def ensure_running(self) -> None:
        """Starts it, with the folders of `path` first."""
        folders = self._path.split(os.pathsep) if self._path else []
        variables = {"PYTHONPATH": self._path} if self._path else {}
        with patch.dict(os.environ, variables), patch.object(sys, "path", [*folders, *sys.path]):
            super().ensure_running()


@cache
def _server(modules: tuple[str, ...], path: str) -> _ForkServer:
    return _ForkServer([*modules], path)


class Process:
    """A process that was started by `start`, with the methods of `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], process: ForkServerProcess) -> None:
        self.args = args
        self.pid = process.pid or 0
        self._process = process

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while the process runs; minus the number of the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Returns `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; returns the exit status."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

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


Spawned = Process | subprocess.Popen[str]


def start(
    module: str,
    *arguments: str,
    output: Path,
    errors: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Process:
    """Runs a module as `python -m` does, or code as `python -c` does.

    Args:
        module: its name; or ``-c``.
        arguments: its arguments; after ``-c`` the code comes first.
        output: the file to which its output is appended.
        errors: the file to which its errors are appended; that of the output by default.
        environment: variables beside this process's own.
        folder: its working directory; that of this process by default.
    """
    assert is_possible(environment)
    streams = [output.absolute(), (errors or output).absolute()]
    for each in streams:
        each.touch()
    variables = {**os.environ, **(environment or {})}
    words = [module, *arguments]
    process = _CONTEXT.Process(target=_become, args=(words, streams, variables, folder or Path.cwd()), daemon=True)
    modules = {"sagascope_dashboard": DASHBOARD, "sagascope_samples": SAMPLES}.get(module.partition(".")[0], COLLECTOR)
    server = _server(modules, (environment or {}).get("PYTHONPATH", ""))
    with (
        patch.object(forkserver, "connect_to_new_process", server.connect_to_new_process),
        # multiprocessing would run this process's main module there, and Streamlit's tests put a screen in its place
        patch.dict(sys.modules, {"__main__": ModuleType("__main__")}),
    ):
        process.start()
    return Process([module, *arguments], process)


def spawn(
    module: str,
    *arguments: str,
    output: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    own_python: bool = False,
) -> Spawned:
    """Runs a module as `start` does, or in a Python of its own if its environment or `own_python` asks for one."""
    if not own_python and is_possible(environment):
        return start(module, *arguments, output=output, environment=environment, folder=folder)
    with output.open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=file,
            stderr=file,
            text=True,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )


def run(
    module: str, *arguments: str, timeout: float = 60.0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a module to its end, as `subprocess.run` does."""
    with TemporaryDirectory() as name:
        output, errors = Path(name, "output"), Path(name, "errors")
        process = start(module, *arguments, output=output, errors=errors, environment=environment)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, code, output.read_text("utf-8"), errors.read_text("utf-8"))


@contextmanager
def running(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A process whose output is appended to a file, killed at the end if it still runs."""
    process = start(module, *arguments, output=log, environment=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_possible(environment: Mapping[str, str] | None) -> bool:
    """Whether a process with these variables may be forked: some are read when Python starts."""
    changed = {name: value for name, value in (environment or {}).items() if os.environ.get(name) != value}
    path = changed.pop("PYTHONPATH", LAKE_PATH)
    return path in (LAKE_PATH, LATER_PATH) and not any(
        name.startswith("PYTHON") and name != "PYTHONIOENCODING" for name in changed
    )


def _become(words: Sequence[str], streams: Sequence[Path], variables: Mapping[str, str], folder: Path) -> None:
    """In the new process: runs the module, or the code."""
    for descriptor, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    encoding, _, on_error = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout.reconfigure(encoding=encoding, errors=on_error or "strict")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    sys.path[:0] = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = list(words)
    sys.modules.pop(f"{words[0]}.__main__", None)
    try:
        if words[0] == "-c":
            del sys.argv[1]
            exec(words[1], {"__name__": "__main__"})
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
