"""`sagascope bridge postgres` against real PostgreSQL servers and a real collector."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import sagascope
from sagascope import semconv
from sagascope_collector.bridges.bridge import PollResult
from sagascope_collector.bridges.postgres import Checkpoint, Database, GlobalIdFormat, PostgresSource, statement_start
from support import preloaded
from support.collector import RunningCollector, running_collector
from support.command import run
from support.postgres import Server, running_postgres
from support.samples import wait_until

pytestmark = pytest.mark.xdist_group("postgres")

COMMAND = ("bridge", "postgres")
GID = r"\A(?P<name>\w+):(?P<id>\w+):(?P<participant>\w+)\Z"
NAMES = ("wallet", "ledger")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_postgres() as server:
        for name in NAMES:
            server.create(name)
            with server.connect(name) as connection:
                connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, amount int)")
                connection.execute("INSERT INTO accounts SELECT g, 100 FROM generate_series(0, 20) AS g")
        yield server


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    timeouts = [part for name in NAMES for part in ("--step-timeout", f"transfer/{name}=1")]
    with running_collector(tmp_path_factory.mktemp("collector"), *timeouts) as running:
        yield running


@contextmanager
def bridging(server: Server, collector: RunningCollector, folder: Path, *options: str) -> Iterator[preloaded.Process]:
    """Runs a bridge, and kills it at the end."""
    dsns = [part for name in NAMES for part in ("--dsn", f"{name}={server.dsn(name)}")]
    command = [*COMMAND, *dsns, "--gid", GID, "--url", collector.api, "--every", "0.1", *options]
    cursor = ["--cursor", str(folder / "cursor.json")]
    with preloaded.running("sagascope_collector", *command, *cursor, log=folder / "bridge.log") as process:
        yield process


def prepare(server: Server, saga: str, row: int, name: str) -> None:
    with server.connect(name) as connection:
        connection.execute("BEGIN")
        connection.execute(f"UPDATE accounts SET amount = amount + 1 WHERE id = {row}")
        connection.execute(f"PREPARE TRANSACTION 'transfer:{saga}:{name}'")


def end(server: Server, saga: str, name: str, verb: str = "COMMIT") -> None:
    with server.connect(name) as connection:
        connection.execute(f"{verb} PREPARED 'transfer:{saga}:{name}'")


def show(collector: RunningCollector, saga: str) -> dict[str, Any]:
    """Returns the saga from the API; an empty dictionary if it is unknown."""
    answer = httpx.get(
        f"{collector.api}/api/v1/saga", params={"name": "transfer", "id": saga}, trust_env=False, timeout=60
    )
    return answer.json() if answer.status_code == 200 else {}


def wait_for(collector: RunningCollector, saga: str, **wanted: Any) -> dict[str, Any]:
    """Returns the saga once its fields have these values."""

    def matching() -> dict[str, Any] | None:
        shown = show(collector, saga)
        return shown if shown and all(shown[name] == value for name, value in wanted.items()) else None

    try:
        return wait_until(matching, f"{saga} never had {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {show(collector, saga)}") from None


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://u:se%zzcret@127.0.0.1/db",
        "postgres://u:se@cret@127.0.0.1/db",
        "postgres://u:se/cret@127.0.0.1/db",
        "host=127.0.0.1 password=se cret",
    ],
)
def test_a_dsn_that_could_not_be_used_is_refused_at_once_and_never_quoted(dsn: str, tmp_path: Path) -> None:
    names = ("--dsn", f"wallet={dsn}", "--gid", GID, "--cursor", str(tmp_path / "cursor.json"))
    result = preloaded.run("sagascope_collector", *COMMAND, *names, "--otlp-http", "127.0.0.1:9")
    assert result.returncode != 0
    assert "The DSN of wallet" in result.stderr
    assert "se%zz" not in result.stderr
    assert "cret" not in result.stderr


@pytest.mark.shows("two-phase commit", "stuck", "in_doubt")
def test_a_prepared_transaction_is_in_doubt_until_it_is_decided(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path):
        for name in NAMES:
            prepare(server, "a1", 1, name)
        found = wait_for(collector, "a1", attention="in_doubt")
        assert [each["name"] for each in found["steps"]] == ["wallet", "ledger"]
        actions = "\n".join(found["verdict"]["actions"])
        for verb in ("COMMIT", "ROLLBACK"):
            for name in NAMES:
                assert f"Run in {name}: {verb} PREPARED 'transfer:a1:{name}';" in actions

        end(server, "a1", "wallet")
        found = wait_until(
            lambda: (
                (shown := show(collector, "a1"))["attention"] and "it decided to commit, as" in str(shown) and shown
            ),
            "the first decision was not shown",
        )
        assert found["step"] == "ledger"
        check, settle = found["verdict"]["actions"]
        assert check.startswith("Verify in the coordinator's log that it decided to commit, as wallet committed at ")
        assert settle == "Then have ledger commit, too. Run in ledger: COMMIT PREPARED 'transfer:a1:ledger';"

        shown = run("show", "a1", "--url", collector.api).stdout
        assert re.search(r"✓ done +wallet \(prepare ✓, commit ✓\)", shown), shown
        assert re.search(r"▶ prepared +ledger \(prepare ✓\)", shown), shown
        end(server, "a1", "ledger")
        wait_for(collector, "a1", status="completed", attention=None)


def test_sessions_that_wait_for_its_locks_are_listed(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path), server.connect("wallet") as waiting:
        prepare(server, "b1", 2, "wallet")
        waiting.execute("SET application_name = 'checkout'; SET lock_timeout = '60s'")
        asking = subprocess.Popen(
            [sys.executable, "-c", WAIT, server.dsn("wallet")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(
                lambda: "1 session waits for it: checkout" in bodies(collector, "b1"), "no waiting session was shown"
            )
            assert "holds accounts (RowExclusiveLock)" in bodies(collector, "b1")
            found = wait_for(collector, "b1", attention="in_doubt")
            (waits,) = [each["text"] for each in found["verdict"]["evidence"] if "holds accounts" in each["text"]]
            session = r"checkout \(pid \d+, since \d\d:\d\d:\d\dZ: UPDATE accounts SET amount = …\)$"
            assert re.search(f"; 1 session waits for it: {session}", waits), waits
            shown = run("show", "b1", "--url", collector.api).stdout
            assert "UPDATE accounts SET amount = …" in " ".join(shown.split()), shown
            assert "WHERE id = 2" not in shown
            end(server, "b1", "wallet", "ROLLBACK")
            assert asking.wait(30) == 0
        finally:
            asking.kill()
            asking.wait()
        found = wait_for(collector, "b1", status="failed", attention="mixed_outcome")
        assert "whether ledger took part, and committed, is not known" in found["headline"]


WAIT = """
import sys, psycopg
with psycopg.connect(sys.argv[1], application_name="checkout", autocommit=True) as connection:
    connection.execute("UPDATE accounts SET amount = 0 WHERE id = 2")
"""


def bodies(collector: RunningCollector, saga: str) -> str:
    return "\n".join(each["body"] for each in show(collector, saga).get("logs", []))


def test_a_decision_while_the_bridge_is_down_is_reported_once(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path) as bridge:
        for name in NAMES:
            prepare(server, "c1", 3, name)
        wait_for(collector, "c1", attention="in_doubt")
        cursor = tmp_path / "cursor.json"
        wait_until(
            lambda: cursor.exists() and all(f"transfer:c1:{name}" in cursor.read_text() for name in NAMES),
            "the checkpoint was not saved",
        )
        bridge.send_signal(signal.SIGKILL)
        bridge.wait()
    for name in NAMES:
        end(server, "c1", name, "ROLLBACK")
    with bridging(server, collector, tmp_path) as bridge:
        found = wait_for(collector, "c1", status="compensated", attention=None)
        assert found["spans_total"] == 5
        bridge.terminate()
        assert bridge.wait(20) == 0
    with bridging(server, collector, tmp_path):
        prepare(server, "c2", 3, "wallet")
        wait_for(collector, "c2", attention="in_doubt")
        end(server, "c2", "wallet")
        assert wait_for(collector, "c2", status="completed")["spans_total"] == 3
    assert show(collector, "c1")["spans_total"] == 5


def test_a_decision_that_is_not_readable_yet_is_read_by_a_later_poll(server: Server) -> None:
    prepare(server, "u1", 19, "ledger")
    (undecided,) = polled(server, Checkpoint(), time.time_ns(), "ledger").checkpoint.databases["ledger"].values()
    # its id is in progress, and the database that is asked has no prepared transaction of it
    known = Checkpoint(databases={"wallet": {undecided.prepared.xid: undecided}})
    first = polled(server, known, time.time_ns(), "wallet")
    assert (first.in_flight, first.telemetry.spans) == (1, [])
    end(server, "u1", "ledger")
    second = polled(server, first.checkpoint, time.time_ns(), "wallet")
    assert [span.name for span in second.telemetry.spans] == ["COMMIT PREPARED", "two-phase commit"]


def test_different_decisions_of_participants_are_a_mixed_outcome(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path):
        for name in NAMES:
            prepare(server, "d1", 4, name)
        wait_for(collector, "d1", attention="in_doubt")
        end(server, "d1", "wallet", "COMMIT")
        wait_until(
            lambda: "it decided to commit, as" in str(show(collector, "d1")["verdict"]), "the decision was not shown"
        )
        end(server, "d1", "ledger", "ROLLBACK")
        wait_for(collector, "d1", status="failed", attention="mixed_outcome")


def test_a_participant_decided_before_the_first_look_is_to_be_verified(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    for name in NAMES:
        prepare(server, "p1", 14, name)
    end(server, "p1", "wallet")
    sagascope.configure("coordinator", endpoint=collector.otlp_http, announce_after=0.01)
    try:
        with sagascope.Saga("transfer", ["wallet", "ledger"]).begin("p1"), bridging(server, collector, tmp_path):
            wait_for(collector, "p1", attention="in_doubt")
            found = wait_until(
                lambda: (shown := show(collector, "p1"))["steps"][-1]["name"] == "wallet" and shown, "no plan was shown"
            )
    finally:
        sagascope.shutdown()
        end(server, "p1", "ledger")
    assert [each["state"] for each in found["steps"]] == ["done", "not_seen"]
    _, verify, *rest = found["verdict"]["actions"]
    assert verify.startswith(
        "Verify in wallet whether it took part, and committed or rolled back: nothing was received from it"
    )
    assert rest == [
        "Only then have ledger carry out what the coordinator decided, and never the opposite of what others did."
    ]
    assert not STATEMENT.search(json.dumps(found))


STATEMENT = re.compile("(COMMIT|ROLLBACK) PREPARED '")
"""A statement that ends a prepared transaction, as a person would copy it."""


def test_the_outcome_of_a_participant_that_no_plan_names_is_not_claimed(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    for name in NAMES:
        prepare(server, "q1", 15, name)
    end(server, "q1", "wallet")
    with bridging(server, collector, tmp_path):
        found = wait_for(collector, "q1", attention="in_doubt")
        assert ("wallet", "not_seen") in [(each["name"], each["state"]) for each in found["steps"]]
        shown = run("show", "q1", "--url", collector.api).stdout
        assert "whether it took part" in " ".join(shown.split())
        assert not STATEMENT.search(json.dumps(found) + shown)

        end(server, "q1", "ledger", "ROLLBACK")
        found = wait_for(collector, "q1", status="failed", attention="mixed_outcome")
    assert found["verdict"]["confidence"] == "possible"
    assert "long after it was prepared; whether wallet took part, and committed, is not known" in found["headline"]
    assert found["verdict"]["actions"][1].startswith("Verify in wallet whether it took part, and how it ended")


@pytest.mark.shows("two-phase commit", "healthy", "completed")
def test_a_quick_decision_needs_no_attention_and_names_what_was_not_seen(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path):
        prepare(server, "r1", 16, "wallet")
        wait_until(lambda: show(collector, "r1"), "the transaction was not shown")
        end(server, "r1", "wallet")
        found = wait_for(collector, "r1", status="completed", attention=None)
    assert "Only wallet reported a decision; no plan tells whether others took part." in found["headline"]


def polled(server: Server, checkpoint: Checkpoint, now: int, *names: str) -> PollResult[Checkpoint]:
    """Polls once, at a time."""
    databases = [Database(name, server.dsn(name)) for name in names]
    with PostgresSource(databases, GlobalIdFormat(GID)) as source:
        return source.poll(checkpoint, now)


def outcomes(result: PollResult[Checkpoint]) -> list[object]:
    """Returns the outcomes that a poll reports."""
    found = [span.attributes.get(semconv.SAGA_OUTCOME) for span in result.telemetry.spans]
    return [each for each in found if each]


def test_no_outcome_is_claimed_while_a_database_does_not_respond(server: Server) -> None:
    prepare(server, "s1", 17, "wallet")
    names, now = ("wallet", "missing"), time.time_ns()
    first = polled(server, Checkpoint(), now, *names)
    assert "missing does not respond" in first.error
    end(server, "s1", "wallet")
    second = polled(server, first.checkpoint, now, *names)
    assert [span.name for span in second.telemetry.spans] == ["COMMIT PREPARED"]
    server.create("missing")
    third = polled(server, second.checkpoint, now, *names)
    assert outcomes(third) == ["completed"]
    assert polled(server, third.checkpoint, now, *names).telemetry.spans == []


def test_a_decision_that_cannot_be_read_is_read_again_and_then_reported(server: Server) -> None:
    for name in NAMES:
        prepare(server, "t1", 18, name)
    now = time.time_ns()
    checkpoint = polled(server, Checkpoint(), now, *NAMES).checkpoint
    end(server, "t1", "ledger")
    with running_postgres() as restored:  # it has not reached the transaction, like a server restored from a backup
        for name in NAMES:
            restored.create(name)
        first = polled(restored, checkpoint, now, *NAMES)
        assert (first.error, first.in_flight, len(first.telemetry)) == ("", 2, 0)
        later = polled(restored, first.checkpoint, now + 61 * 10**9, *NAMES)
        assert "wallet does not tell how 'transfer:t1:wallet' ended" in later.error
        assert [log.event_name for log in later.telemetry.logs] == [semconv.EVENT_PREPARED_FORGOTTEN] * 2
        again = polled(restored, later.checkpoint, now + 62 * 10**9, *NAMES)
        assert (again.error, len(again.telemetry)) == (later.error, 0)
        given_up = polled(restored, again.checkpoint, now + 90_000 * 10**9, *NAMES)
        assert (given_up.error, given_up.in_flight, len(given_up.telemetry)) == ("", 0, 0)
    end(server, "t1", "wallet", "ROLLBACK")
    found = polled(server, again.checkpoint, now + 63 * 10**9, *NAMES)
    assert found.error == ""
    assert outcomes(found) == ["failed"]


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("UPDATE accounts\n SET owner = 'Ada'", "UPDATE accounts SET owner = …"),
        ("SELECT * FROM t1 WHERE id = 4111111111111111", "SELECT * FROM t1 WHERE id = …"),
        ("UPDATE a SET b = $1", "UPDATE a SET b = …"),
        ("LOCK TABLE accounts", "LOCK TABLE accounts"),
        ("/* user=ada */ SELECT", ""),
        ("<insufficient privilege>", ""),
        (f"SELECT {'column_a, ' * 20}x FROM t", "SELECT " + "column_a, " * 6 + "column_a, …"),
    ],
)
def test_a_statement_is_shown_up_to_its_first_value(query: str, start: str) -> None:
    assert statement_start(query) == start


def test_a_server_restart_loses_nothing_and_does_not_delay_other_servers(
    collector: RunningCollector, server: Server, tmp_path: Path
) -> None:
    with running_postgres() as second:
        second.create("ledger")
        options = ("--dsn", f"spare={second.dsn('ledger')}", "--metrics", "127.0.0.1:0")
        with bridging(server, collector, tmp_path, *options) as bridge:
            with second.connect("ledger") as connection:
                connection.execute("BEGIN")
                connection.execute("CREATE TABLE kept (id int)")
                connection.execute("PREPARE TRANSACTION 'transfer:e1:spare'")
            wait_until(lambda: show(collector, "e1"), "the second server was not polled")
            second.stop()
            prepare(server, "e2", 5, "wallet")
            wait_until(lambda: show(collector, "e2"), "a server that is down delays the other one")
            second.start()
            with second.connect("ledger") as connection:
                connection.execute("COMMIT PREPARED 'transfer:e1:spare'")
            assert wait_for(collector, "e1", status="completed")["spans_total"] == 3
            assert bridge.poll() is None
        end(server, "e2", "wallet")


def test_a_decision_while_the_collector_is_down_is_reported_afterwards(server: Server, tmp_path: Path) -> None:
    with running_collector(tmp_path) as first:
        addresses = {"api": first.api, "otlp_http": first.otlp_http, "otlp_grpc": first.otlp_grpc}
        addresses = {name: text.removeprefix("http://") for name, text in addresses.items()}
        with bridging(server, first, tmp_path):
            prepare(server, "f1", 6, "wallet")
            wait_until(lambda: show(first, "f1"), "the transaction was not shown")
            first.stop(signal.SIGKILL)
            end(server, "f1", "wallet")
            with running_collector(tmp_path, addresses=addresses) as again:
                assert wait_for(again, "f1", status="completed")["spans_total"] == 3


def services(collector: RunningCollector, saga: str) -> set[str]:
    """Returns the services with spans in a saga."""
    return {each["service"] for each in show(collector, saga).get("spans", [])}


@pytest.mark.shows("two-phase commit", "worker lost", "in_doubt")
def test_the_last_report_of_a_killed_coordinator_is_part_of_the_verdict(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    dsns = [f"{name}={server.dsn(name)}" for name in NAMES]
    decisions = ["--decisions", str(tmp_path / "decisions.log")]
    coordinator = subprocess.Popen(
        [sys.executable, "-m", "sagascope_samples.two_phase", "g1", *dsns, "--pause", "60", *decisions],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http, "SAGASCOPE_HEARTBEAT_INTERVAL": "0.5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with bridging(server, collector, tmp_path):
            wait_until(lambda: {*NAMES} <= services(collector, "g1"), "the prepared transactions were not shown")
            coordinator.kill()
            coordinator.wait()
            found = wait_for(collector, "g1", attention="in_doubt")
            assert found["verdict"]["headline"].startswith("In doubt: wallet and ledger have been prepared since ")
            assert "unknown" not in found["verdict"]["headline"]
            assert "coordinator" in found["verdict"]["actions"][0]
            # the learned plan may have the participants of other sagas
            prepared = [each for each in found["steps"] if each["type"] == "prepare"]
            assert [len(each["attempts"]) for each in prepared] == [1, 1], (found["steps"], found["spans"])
            for name in NAMES:
                end(server, "g1", name, "ROLLBACK")
            wait_for(collector, "g1", attention=None)
    finally:
        coordinator.kill()
        coordinator.wait()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dsn", "wallet"), "--dsn is NAME=DSN"),
        (("--dsn", "a=x", "--dsn", "a=y"), "Two databases have the same name"),
        (("--dsn", "a=x", "--gid", "("), "--gid is not a regular expression"),
        (("--dsn", "a=x", "--gid", "x"), "--gid needs a group"),
        (("--dsn", "a=dbname=x", "--metrics", "nowhere"), "is not an address"),
    ],
)
def test_invalid_options_end_the_command_with_a_message(options: tuple[str, ...], message: str) -> None:
    done = run(*COMMAND, *options, "--otlp-http", "127.0.0.1:9")
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_checkpoint_file_is_locked_for_one_bridge(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    with bridging(server, collector, tmp_path):
        prepare(server, "h1", 7, "wallet")
        wait_until(lambda: show(collector, "h1"), "the transaction was not shown")
        with bridging(server, collector, tmp_path) as second:
            assert second.wait(30) == 2
        end(server, "h1", "wallet")
        wait_for(collector, "h1", status="completed")
    assert "Another bridge uses" in (tmp_path / "bridge.log").read_text()
