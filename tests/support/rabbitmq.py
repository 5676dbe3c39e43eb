"""A real RabbitMQ server on free ports, with a folder, a node name and a port mapper of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.receiver import wait_for
from support.temporal import free_ports

PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server")
"""The server itself; Debian's command of the same name starts it as another user, with other settings."""


def server_program() -> str:
    """The server that the package rabbitmq-server brings."""
    program = next(filter(os.path.exists, PROGRAMS), None)
    if program is None or shutil.which("epmd") is None:
        pytest.skip("RabbitMQ is not installed here (apt-get install rabbitmq-server)")
    return program


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[str]:
    """Its URL, while it runs."""
    program = server_program()
    port, distribution, mapper = free_ports(3)
    home = folder / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        # in the foreground: the server would leave a port mapper of its own behind
        commands = (["epmd", "-address", "127.0.0.1", "-port", str(mapper)], [program])
        processes = [subprocess.Popen(each, env=environment, stdout=output, stderr=output) for each in commands]
        try:
            wait_for(lambda: processes[1].poll() is not None or _answers(port), "RabbitMQ did not start")
            assert processes[1].poll() is None, log.read_text()
            yield f"amqp://guest:guest@127.0.0.1:{port}/"
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return bool(connection.recv(1))
    return False
