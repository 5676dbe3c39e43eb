"""`sagascope bridge sql` against a real PostgreSQL server and a real collector."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import preloaded
from support.collector import RunningCollector, running_collector
from support.postgres import Server
from support.samples import wait_until
from support.state_tables import COMMAND, bridging, states, wait_for

pytestmark = pytest.mark.xdist_group("tables")

SAGAS = """
CREATE TABLE sagas (
    id text PRIMARY KEY, type text, state text, step text, attempts int, last_error text, next_retry_at timestamptz,
    created_at timestamptz DEFAULT now() - interval '1 hour', updated_at timestamptz DEFAULT now()
)
"""
STEPS = """
CREATE TABLE saga_steps (
    id bigserial PRIMARY KEY, saga_id text, name text, state text, attempts int, last_error text, compensates text,
    next_retry_at timestamptz, started_at timestamptz DEFAULT clock_timestamp(),
    updated_at timestamptz DEFAULT clock_timestamp()
)
"""


@pytest.fixture(scope="module", autouse=True)
def sagas(server: Server) -> None:
    run(server, "DROP TABLE IF EXISTS sagas, saga_steps")
    run(server, SAGAS)
    run(server, STEPS)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    timeouts = [part for step in ("ledger", "wallet") for part in ("--step-timeout", f"payment/{step}=1")]
    with running_collector(tmp_path_factory.mktemp("collector"), *timeouts) as running:
        yield running


def run(server: Server, statement: str, *values: Any) -> None:
    with server.connect("shop") as connection:
        connection.execute(statement, values)


def insert(
    server: Server, saga: str, state: str = "running", step: str | None = "wallet", error: str | None = None
) -> None:
    statement = "INSERT INTO sagas (id, type, state, step, attempts, last_error) VALUES (%s, 'payment', %s, %s, 1, %s)"
    run(server, statement, saga, state, step, error)


def update(server: Server, saga: str, **values: Any) -> None:
    assignments = ", ".join(f"{name} = %s" for name in values)
    run(server, f"UPDATE sagas SET {assignments}, updated_at = clock_timestamp() WHERE id = %s", *values.values(), saga)


@pytest.mark.shows("tables", "stuck", "hung")
@pytest.mark.shows("tables", "healthy", "completed")
def test_a_row_without_progress_is_hung_until_it_is_updated(
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


@pytest.mark.shows("tables", "compensated", "compensated")
@pytest.mark.shows("tables", "retrying", "retrying")
def test_rows_of_steps_are_shown_with_their_attempts(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    insert(server, "b1", step=None)
    step = "INSERT INTO saga_steps (saga_id, name, state, attempts, last_error) VALUES ('b1', %s, %s, %s, %s)"
    run(server, step, "wallet", "done", 1, None)
    run(server, step, "record", "retrying", 4, "the ledger answers 503")
    with bridging(server, collector, tmp_path, mapping="steps"):
        found = wait_for(collector, "b1", attention="retrying")
        assert (found["step"], found["attempts"]) == ("record", 4)
        assert found["error"]["message"] == "the ledger answers 503"
        assert "alive" not in str(found["verdict"]), "rows do not identify processes"
        run(server, "UPDATE saga_steps SET state = 'failed', updated_at = clock_timestamp() WHERE name = 'record'")
        compensation = (
            "INSERT INTO saga_steps (saga_id, name, state, compensates) VALUES ('b1', 'refund', 'succeeded', 'wallet')"
        )
        run(server, compensation)
        update(server, "b1", state="compensated")
        found = wait_for(collector, "b1", status="compensated", attention=None)
        assert states(found)["refund"] == ["ok"]
        assert found["ledger"][0]["state"] == "compensated"


@pytest.mark.parametrize(("mapping", "name", "saga"), [("outbox", "unknown", "c1"), ("outbox-alone", "outbox", "1")])
@pytest.mark.shows("tables", "message lost", "blocked")
def test_the_error_of_an_unpublished_message_is_the_reason(
    server: Server, collector: RunningCollector, tmp_path: Path, mapping: str, name: str, saga: str
) -> None:
    """Also in an outbox that counts no attempts."""
    run(server, "DROP TABLE IF EXISTS outbox")
    run(
        server,
        "CREATE TABLE outbox (id bigserial PRIMARY KEY, aggregate_id text, type text, last_error text,"
        " created_at timestamptz DEFAULT clock_timestamp(), published_at timestamptz)",
    )
    run(server, "INSERT INTO outbox (aggregate_id, type) VALUES ('c1', 'Paid')")
    with bridging(server, collector, tmp_path, mapping=mapping):
        wait_for(collector, saga, name, status="running", attention=None)
        run(server, "UPDATE outbox SET last_error = 'no route to the exchange payments'")
        found = wait_for(collector, saga, name, attention="blocked")
        assert found["step"] == "publish Paid"
        assert found["headline"].endswith("no route to the exchange payments.")
        assert "Fix the error of the outbox" in found["verdict"]["actions"][0]
        run(server, "UPDATE outbox SET last_error = NULL")
        wait_for(collector, saga, name, attention=None)
        run(server, "UPDATE outbox SET last_error = 'no connection'")
        wait_for(collector, saga, name, attention="blocked")
        run(server, "UPDATE outbox SET published_at = clock_timestamp()")
        found = wait_for(collector, saga, name, attention=None)
        assert states(found) == {"publish Paid": ["ok"]}


@pytest.mark.shows("tables", "compensation failed", "compensation_failed")
def test_a_failed_compensation_without_a_step_needs_attention(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    insert(server, "f1")
    with bridging(server, collector, tmp_path):
        wait_for(collector, "f1", step="wallet")
        update(server, "f1", step="ledger")
        wait_for(collector, "f1", step="ledger")
        update(server, "f1", state="compensation_failed", step=None, last_error="the bank refused the refund")
        found = wait_for(collector, "f1", status="failed", attention="compensation_failed")
        assert found["error"]["message"] == "the bank refused the refund"
        assert states(found)["compensation_failed"] == ["error"]


@pytest.mark.parametrize(
    ("state", "step", "attention"),
    [
        ("failed", None, "uncompensated"),
        ("failed", "ledger", "uncompensated"),
        ("compensation_failed", None, "compensation_failed"),
        ("compensation_failed", "ledger", "compensation_failed"),
    ],
)
def test_a_row_that_is_first_read_as_failed_needs_attention_and_claims_nothing_of_its_steps(
    server: Server, collector: RunningCollector, tmp_path: Path, state: str, step: str | None, attention: str
) -> None:
    saga = f"u-{state}-{step}"
    insert(server, f"{saga}-known")
    with bridging(server, collector, tmp_path):
        wait_for(collector, f"{saga}-known", step="wallet")
        insert(server, saga, state=state, step=step, error="the bank refused it")
        found = wait_for(collector, saga, status="failed", attention=attention)
        update(server, f"{saga}-known", state="failed")
        wait_for(collector, f"{saga}-known", status="failed", attention=None)
    assert found["verdict"]["confidence"] == "possible"
    assert "the bank refused it" in found["headline"]
    assert "its row was first read after that, so that it is not known which steps took effect" in found["headline"]
    assert found["verdict"]["actions"][0].startswith("Verify in the row of sagas and in the services which steps of ")
    claimed = [each["step"] for each in found["ledger"] if each["state"] in ("committed", "not_done")]
    assert claimed == (["ledger"] if (state, step) == ("failed", "ledger") else [])  # the step that the row names
    assert found["amount_at_risk"] == []


def test_a_retry_of_a_step_that_was_due_before_the_bridge_started_needs_attention(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    insert(server, "y1", step=None)
    run(
        server,
        """INSERT INTO saga_steps (saga_id, name, state, attempts, last_error, next_retry_at, updated_at)
        VALUES ('y1', 'wallet', 'pending', 1, 'refused', now() - interval '5 min', now() - interval '6 min')""",
    )
    with bridging(server, collector, tmp_path, mapping="steps"):
        found = wait_for(collector, "y1", attention="next_step_missing", step="wallet")
    assert states(found)["wallet"] == ["error"]
    assert "refused" in found["headline"] + "".join(each["text"] for each in found["verdict"]["evidence"])


def test_a_scheduled_row_is_late_only_when_its_time_has_passed_by_a_margin(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    schedule = """INSERT INTO sagas (id, type, state, created_at, updated_at, next_retry_at)
        VALUES (%s, 'payment', 'scheduled', now() - interval '100 s', now() - interval '100 s', now() + %s::interval)"""
    run(server, schedule, "w1", "-40 s")
    run(server, schedule, "w2", "1 h")
    with bridging(server, collector, tmp_path):
        found = wait_for(collector, "w1", attention="hung", step="scheduled")
        wait_for(collector, "w2", attention=None, step="scheduled")
        run(
            server,
            "UPDATE sagas SET next_retry_at = now() + interval '1 h', updated_at = clock_timestamp() WHERE id = 'w1'",
        )
        wait_for(collector, "w1", attention=None)
        update(server, "w1", state="running", step="wallet")
        wait_for(collector, "w1", step="wallet", attention="hung")
    assert found["verdict"]["confidence"] == "possible"


def test_a_state_without_a_step_is_not_in_the_ledger(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    insert(server, "v1", step=None)
    with bridging(server, collector, tmp_path):
        wait_for(collector, "v1", step="running")
        update(server, "v1", state="failed")
        found = wait_for(collector, "v1", status="failed")
    assert states(found)["running"] == ["error"]
    assert [each["step"] for each in found["ledger"] if each["step"] == "running"] == []


def test_a_kill_while_the_collector_is_down_loses_and_repeats_nothing(server: Server, tmp_path: Path) -> None:
    with running_collector(tmp_path) as first:
        addresses = {"api": first.api, "otlp_http": first.otlp_http, "otlp_grpc": first.otlp_grpc}
        addresses = {name: text.removeprefix("http://") for name, text in addresses.items()}
        insert(server, "c1")
        with bridging(server, first, tmp_path) as bridge:
            wait_for(first, "c1", step="wallet")
            first.stop(signal.SIGKILL)
            update(server, "c1", step="ledger")
            checkpoint = tmp_path / "cursor.json"
            wait_until(lambda: "ledger" in checkpoint.read_text(), "the change is not in the checkpoint")
            assert checkpoint.stat().st_mode & 0o777 == 0o600
            bridge.kill()
            bridge.wait()
        update(server, "c1", state="completed")
        with running_collector(tmp_path, addresses=addresses) as again, bridging(server, again, tmp_path) as bridge:
            found = wait_for(again, "c1", status="completed")
            assert states(found) == {"wallet": ["ok"], "ledger": ["ok"]}
            assert found["spans_total"] == 3
            bridge.terminate()
            assert bridge.wait(30) == 0


def bridge_state(collector: RunningCollector, kind: str) -> dict[str, Any]:
    """Returns the latest heartbeat of the bridge; an empty dictionary before the first one."""
    known = httpx.get(f"{collector.api}/api/v1/services", trust_env=False, timeout=60).json()["items"]
    return next((one for each in known for one in each["instances"] if (one["bridge"] or {}).get("kind") == kind), {})


def test_heartbeats_report_lag_and_errors(server: Server, collector: RunningCollector, tmp_path: Path) -> None:
    insert(server, "d1")
    with bridging(server, collector, tmp_path) as bridge:
        wait_until(
            lambda: bridge_state(collector, "sql").get("bridge", {}).get("watching"), "no heartbeat was received"
        )
        heartbeat = bridge_state(collector, "sql")
        assert (heartbeat["alive"], heartbeat["heartbeats"], heartbeat["bridge"]["error"]) == (True, True, None)
        run(server, "ALTER TABLE sagas RENAME TO away")
        trouble = 'sagas cannot be read: relation "sagas" does not exist.'
        wait_until(lambda: bridge_state(collector, "sql")["bridge"]["error"] == trouble, "the error was not reported")
        run(server, "ALTER TABLE away RENAME TO sagas")
        bridge.terminate()
        assert bridge.wait(30) == 0
    wait_until(lambda: not bridge_state(collector, "sql")["alive"], "the final heartbeat was not received")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dsn", "nonsense", "--mapping", "sagas"), "--dsn is neither a URL nor key-value pairs"),
        (("--dsn", "dbname=x", "--mapping", "nowhere.yaml"), "nowhere.yaml is neither a file nor a built-in mapping"),
    ],
)
def test_invalid_options_end_the_command_with_a_message(options: tuple[str, ...], message: str) -> None:
    done = preloaded.run("sagascope_collector", *COMMAND, *options, "--otlp-http", "127.0.0.1:9")
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
