"""A real PostgreSQL server for tests: a folder and a free port of its own, prepared transactions allowed."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from support.samples import wait_until

HOMES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")
OPTIONS = (
    "max_prepared_transactions=50",
    "fsync=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "track_commit_timestamp=on",
)


def programs() -> Path:
    """Where the server's programs are; skips the test where there are none."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    homes = [path.parent for home in HOMES for path in sorted(Path(home).glob("**/bin/initdb"))]
    if not homes:
        pytest.skip("PostgreSQL's server is not installed here (apt-get install postgresql)")
    return homes[-1]


@dataclass
class Server:
    """One server; `start` and `stop` may be called again and again."""

    programs: Path
    folder: Path
    port: int
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for each in OPTIONS for part in ("-c", each)]
        command = [str(self.programs / "postgres"), "-D", str(self.folder), "-p", str(self.port), *options]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=self.user)
        wait_until(self._answers, "PostgreSQL did not start")

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it at once; what is prepared stays prepared."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
        self.process = None

    def create(self, database: str) -> None:
        """Make a database."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection that commits each statement by itself."""
        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=5)

    def dsn(self, database: str) -> str:
        """How to reach a database."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres(place: Path | None = None, *options: str) -> Iterator[Server]:
    """A server that runs, with its folder in a place and options of `initdb`; it is stopped and its folder removed."""
    found = programs()
    folder = Path(mkdtemp(prefix="sagascope-postgres-", dir=place))
    user = _unprivileged()
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    command = [str(found / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(
        [*command, *options], check=True, capture_output=True, user=user, cwd=folder, env={**os.environ, "LC_ALL": "C"}
    )
    server = Server(found, data, _free_port(), user)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
