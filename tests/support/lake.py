"""A lake for tests: a catalog in PostgreSQL, a folder or a bucket, and processes on a DuckDB with the extensions."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import preloaded
from support.otlp import of_saga, span, traces
from support.postgres import Server
from support.preloaded import OTHER_DUCKDB
from support.samples import wait_until

ROOT = Path(__file__).parents[2]

KEY = "a key for the tests of lakes"

needs_extensions = pytest.mark.skipif(
    not (OTHER_DUCKDB / "duckdb_extension_ducklake").is_dir(), reason="`make test` installs the extensions of DuckDB"
)


@dataclass
class LakePlace:
    """Where a lake is."""

    server: Server
    database: str
    data: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """The options that name it."""
        return ["--lake", self.server.dsn(self.database), "--lake-data", self.data, *self.options]

    def query(self, statement: str) -> list[list[object]]:
        """Reads the lake with DuckDB, as users' own tools do."""
        program = (
            "import json, sys\n"
            "from sagascope_collector.lake import Lake\n"
            "catalog, data, endpoint, statement = sys.argv[1:]\n"
            "print(json.dumps(Lake(catalog, data, endpoint).attached().execute(statement).fetchall(), default=str))"
        )
        endpoint = self.options[1] if self.options else ""
        arguments = [self.server.dsn(self.database), self.data, endpoint, statement]
        done = preloaded.run("-c", program, *arguments, environment=self.variables())
        assert done.returncode == 0, done.stderr
        found: list[list[object]] = json.loads(done.stdout)
        return found

    def catalog(self, statement: str) -> list[tuple[Any, ...]]:
        """Reads the catalog."""
        with self.server.connect(self.database) as connection:
            return connection.execute(statement.encode()).fetchall()

    @contextmanager
    def maintained(self, copy: Path, *, keep: str = "", is_failing: bool = False, **limits: float) -> Iterator[None]:
        """Maintains the lake in another process during the block, and once completely after it.

        It must log nothing, unless it is failing.
        """
        asked, log = copy.with_suffix(".maintained"), copy.with_suffix(".log")
        asked.touch()
        log.unlink(missing_ok=True)
        arguments = [self.server.dsn(self.database), self.data, str(copy), str(asked), keep, json.dumps(limits)]
        process = preloaded.start("support.lake_maintenance", *arguments, output=log, environment=self.variables())
        try:
            yield
        finally:
            asked.unlink()
            try:
                process.wait(120)
            finally:
                process.kill()
        # DuckDB shows progress in a process whose main module is no file
        said = "".join(line for line in log.read_text().splitlines() if "elapsed)" not in line)
        assert process.returncode == 0, said
        assert is_failing or not said, said

    def files(self) -> set[str]:
        """Returns the names of all files, if they are in a folder."""
        return {path.name for path in Path(self.data).rglob("*.parquet")}

    def variables(self) -> dict[str, str]:
        """Returns the environment of a process on a DuckDB with the extensions."""
        paths = {"PYTHONPATH": preloaded.LAKE_PATH, "SAGASCOPE_SCRUB_KEY": KEY}
        return {**os.environ, **paths, **self.environment}

    def with_clock(self, wrong_by_seconds: int) -> "LakePlace":
        """Returns the same lake for processes whose clock is wrong."""
        path = f"{ROOT / 'tests' / 'support' / 'wrong_clock'}:{preloaded.LAKE_PATH}"
        return self._changed(PYTHONPATH=path, WRONG_BY=str(wrong_by_seconds))

    def with_migrations(self, number: int) -> "LakePlace":
        """Returns the same lake for processes of a later version, which knows so many further migrations: two at most.

        The first one adds columns, which the processes write; the second one excludes processes that do not know it.
        """
        return self._changed(PYTHONPATH=preloaded.LATER_PATH, FURTHER_MIGRATIONS=str(number))

    def _changed(self, **variables: str) -> "LakePlace":
        return replace(self, environment={**self.environment, **variables})

    @contextmanager
    def running(self, command: str, folder: Path, *options: str) -> Iterator["LakeProcess"]:
        """Runs `sagascope receive` or `sagascope serve` on free ports, and stops it at the end."""
        folder.mkdir(parents=True, exist_ok=True)
        ready, log = folder / "ready.json", folder / "log"
        ready.unlink(missing_ok=True)
        ports = [part for name in ("otlp-grpc", "otlp-http", "api") for part in (f"--{name}", "127.0.0.1:0")]
        own = ["--db", str(folder / "sagascope.duckdb")] if command == "serve" else []
        words = [command, *own, *ports, "--ready-file", str(ready), *self.arguments, *options]
        process = preloaded.spawn("sagascope_collector", *words, output=log, environment=self.variables())
        try:
            wait_until(lambda: ready.exists() or process.poll() is not None, "It did not start", 60)
            assert process.poll() is None, log.read_text()
            said = json.loads(ready.read_text())
            running = LakeProcess(process, f"http://{said['otlp_http']}", f"http://{said['api']}", log)
            wait_until(running.is_ready, "It did not become ready", 60)
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@dataclass
class LakeProcess:
    """A process that is ready."""

    process: preloaded.Spawned
    otlp_http: str
    api: str
    log: Path

    def is_ready(self) -> bool:
        """Returns whether its probe says so."""
        try:
            return httpx.get(f"{self.api}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def send(self, path: str, body: bytes, timeout: float = 60) -> bool:
        """Sends a request; returns whether it was acknowledged."""
        kind = {"Content-Type": "application/x-protobuf"}
        try:
            answer = httpx.post(f"{self.otlp_http}{path}", content=body, headers=kind, trust_env=False, timeout=timeout)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


def request(number: int, saga: str = "8492", **more: Any) -> bytes:
    """A request with one span, which has a number."""
    return traces(span(number, name=f"span {number}", attributes={**of_saga(saga), **more})).SerializeToString()


def stored_numbers(lake: LakePlace) -> list[int]:
    """The numbers of the spans in a lake."""
    return sorted(int(str(name).split()[1]) for (name,) in lake.query("SELECT name FROM spans"))


def shown_by(collector: LakeProcess, saga: str = "8492") -> list[int]:
    """The numbers of the spans that a collector shows of a payment."""
    asked = {"name": "payment", "id": saga}
    answer = httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=30)
    found = answer.json()["spans"] if answer.status_code == httpx.codes.OK else []
    return sorted(int(each["name"].split()[1]) for each in found)


class ObjectStore:
    """SeaweedFS with a bucket `lake`; `start` and `stop` may be called again and again."""

    def __init__(self, folder: Path) -> None:
        program = OTHER_DUCKDB / "bin" / "weed"
        if not program.exists():
            pytest.skip("`make test` installs SeaweedFS")
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
        ports = [str(each.getsockname()[1]) for each in sockets]
        for each in sockets:
            each.close()
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        options = [f"-{name}={port}" for name, port in zip((*names, "s3.port", "s3.port.grpc"), ports, strict=True)]
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        no_catalogs = ("-s3.port.iceberg=0", "-s3.port.lance=0")  # else on fixed ports
        self._command = [str(program), "server", "-s3", "-ip=127.0.0.1", f"-dir={folder}", *no_catalogs, *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{ports[6]}"

    def start(self) -> None:
        """Starts it, and waits until it stores an object in the bucket."""
        with (self._folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)
        wait_until(lambda: self._stores() or process.poll() is not None, "SeaweedFS did not start", 90)
        assert process.poll() is None, (self._folder / "log").read_text()[-2_000:]

    def _stores(self) -> bool:
        try:
            with httpx.Client(base_url=self.endpoint, trust_env=False, timeout=5) as client:
                has_bucket = client.put("/lake").status_code in {200, 409}
                return has_bucket and client.put("/lake/ready", content=b"yes").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Ends it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        self._process = None


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A store that runs; it is stopped at the end. Skips the test where it is not installed."""
    store = _started(folder)
    try:
        yield store
    finally:
        store.stop()


def _started(folder: Path, attempts: int = 3) -> ObjectStore:
    """Starts a store; on other ports where another program took one of them meanwhile."""
    store = ObjectStore(folder / str(attempts))
    try:
        store.start()
    except BaseException as error:
        store.stop()
        if attempts == 1 or not isinstance(error, AssertionError):
            raise
        return _started(folder, attempts - 1)
    return store
