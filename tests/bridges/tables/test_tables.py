"""`sagascope bridge sql` against a real PostgreSQL server and a real collector."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.postgres import Server, running_postgres
from support.samples import wait_until

pytestmark = pytest.mark.xdist_group("postgres")

COMMAND = (sys.executable, "-m", "sagascope_collector", "bridge", "sql")
SAGAS = """
CREATE TABLE sagas (
    id text PRIMARY KEY, type text, state text, step text, attempts int, last_error text,
    created_at timestamptz DEFAULT now() - interval '1 hour', updated_at timestamptz DEFAULT now()
)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgres() as server:
        server.create("shop")
        with server.connect("shop") as connection:
            connection.execute(SAGAS)
        yield server


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    timeouts = [part for step in ("ledger", "wallet") for part in ("--step-timeout", f"payment/{step}=1")]
    with running_collector(tmp_path_factory.mktemp("collector"), *timeouts) as running:
        yield running


@contextmanager
def bridging(
    server: Server, collector: RunningCollector, folder: Path, *options: str, mapping: str = "sagas"
) -> Iterator[subprocess.Popen[str]]:
    """A bridge that runs; killed at the end if it still does."""
    command = [*COMMAND, "--dsn", server.dsn("shop"), "--mapping", mapping, "--url", collector.api, "--every", "0.1"]
    with (folder / "bridge.log").open("a") as output:
        cursor = ["--cursor", str(folder / "cursor.json")]
        process = subprocess.Popen([*command, *cursor, *options], stderr=output, stdout=output, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(server: Server, statement: str, *values: Any) -> None:
    with server.connect("shop") as connection:
        connection.execute(statement, values)


def insert(server: Server, saga: str, state: str = "running", step: str | None = "wallet") -> None:
    statement = "INSERT INTO sagas (id, type, state, step, attempts) VALUES (%s, 'payment', %s, %s, 1)"
    run(server, statement, saga, state, step)


def update(server: Server, saga: str, **said: Any) -> None:
    words = ", ".join(f"{name} = %s" for name in said)
    run(server, f"UPDATE sagas SET {words}, updated_at = clock_timestamp() WHERE id = %s", *said.values(), saga)


def seen(collector: RunningCollector, saga: str, name: str = "payment") -> dict[str, Any]:
    """The saga in full; empty before it was heard of."""
    answer = httpx.get(f"{collector.api}/api/v1/saga", params={"name": name, "id": saga}, trust_env=False)
    return answer.json() if answer.status_code == 200 else {}


def wait_for(collector: RunningCollector, saga: str, name: str = "payment", **wanted: Any) -> dict[str, Any]:
    """The saga once its fields are so."""

    def found() -> dict[str, Any] | None:
        read = seen(collector, saga, name)
        return read if read and all(read[key] == value for key, value in wanted.items()) else None

    try:
        return wait_until(found, f"{saga} never had {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen(collector, saga, name)}") from None


def states(saga: dict[str, Any]) -> dict[str, list[str]]:
    return {each["name"]: [one["state"] for one in each["attempts"]] for each in saga["steps"]}


def test_a_row_that_does_not_move_is_seen_to_hang_and_the_move_is_told(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    insert(server, "a1")
    with bridging(server, collector, tmp_path):
        found = wait_for(collector, "a1", attention="hung")
        assert (found["step"], found["service"]) == ("wallet", "shop")
        assert found["verdict"]["confidence"] == "possible"
        update(server, "a1", step="ledger")
        found = wait_for(collector, "a1", step="ledger", attention="hung")
        assert states(found) == {"wallet": ["ok"], "ledger": ["in_flight"]}
        update(server, "a1", state="Completed")
        found = wait_for(collector, "a1", status="completed", attention=None)
        assert states(found) == {"wallet": ["ok"], "ledger": ["ok"]}
        assert found["spans_total"] == 3
