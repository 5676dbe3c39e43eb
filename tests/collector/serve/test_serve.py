"""The collector as a process: how it starts, what it says, how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import duckdb
import httpx
import pytest

from sagascope_collector.storage import Storage
from support import preloaded
from support.collector import running_collector, serve_command
from support.otlp import of_saga, span, traces

PROTOBUF = {"content-type": "application/x-protobuf"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end at once."""
    return preloaded.run(*command[2:])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_stop_it_cleanly_and_keep_everything(tmp_path: Path, number: int) -> None:
    with running_collector(tmp_path, own_python=True) as collector:
        content = traces(span(1, attributes=of_saga())).SerializeToString()
        response = httpx.post(
            f"{collector.otlp_http}/v1/traces", content=content, headers=PROTOBUF, trust_env=False, timeout=60
        )
        assert response.status_code == 200
        assert collector.stop(number) == 0
    assert not Path(f"{collector.db}.wal").exists()
    store = Storage(str(collector.db))
    assert store.records.counters.stored == 1
    store.close()


def test_the_log_names_the_listening_addresses(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        said = collector.logged()
        for place in (collector.otlp_grpc, collector.otlp_http, collector.api, str(collector.db)):
            assert place in said
        ready = json.loads((tmp_path / "ready.json").read_text())
        assert f"http://{ready['api']}" == collector.api


def test_every_option_has_an_environment_variable(tmp_path: Path) -> None:
    db = tmp_path / "named by the environment.duckdb"
    variables = {"SAGASCOPE_DB": str(db), "SAGASCOPE_STEP_TIMEOUT": "payment/book=60 refund/pay=5"}
    ports = {f"SAGASCOPE_{name}": "127.0.0.1:0" for name in ("OTLP_GRPC", "OTLP_HTTP", "API")}
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "sagascope_collector", "serve"]
    environment = {**os.environ, **variables, **ports, "SAGASCOPE_READY_FILE": str(ready)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert str(db) in process.stdout.readline()
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert set(json.loads(ready.read_text())) == {"otlp_grpc", "otlp_http", "api"}
    assert db.exists()


@pytest.mark.parametrize("option", ["otlp_grpc", "otlp_http", "api"])
def test_a_port_that_is_taken_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(*serve_command(tmp_path / "x.duckdb", addresses={option: place}))
    assert ended.returncode == 2
    assert f"Port {place.partition(':')[2]} on 127.0.0.1 is in use" in ended.stderr
    assert f"--{option.replace('_', '-')}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_collectors_cannot_share_a_port_or_a_database(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        ended = run(*serve_command(tmp_path / "y.duckdb", addresses={"otlp_grpc": collector.otlp_grpc}))
        assert (ended.returncode, "is in use" in ended.stderr) == (2, True)
        ended = run(*serve_command(collector.db))
        assert ended.returncode == 2
        assert "in use by another process" in ended.stderr
        assert str(collector.process.pid) in ended.stderr


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    Storage(str(db)).close()
    with duckdb.connect(str(db)) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', now(), '99.0')")
    ended = run(*serve_command(db))
    assert ended.returncode == 2
    assert "later version of Sagascope" in ended.stderr


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    db.write_text("my diary")
    ended = run(*serve_command(db))
    assert ended.returncode == 2
    assert ended.stderr.startswith("sagascope: ")
    assert "not a DuckDB database" in ended.stderr
    assert db.read_text() == "my diary"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--api", "4319"], "HOST:PORT"),
        (["--api", "127.0.0.1:99999"], "HOST:PORT"),
        (["--step-timeout", "payment=5"], "NAME/STEP=SECONDS"),
        (["--step-timeout", "payment/book=soon"], "NAME/STEP=SECONDS"),
        (["--step-timeout", "payment/book=-1"], "NAME/STEP=SECONDS"),
        (["--db", "/nonexistent/x.duckdb"], "folder that does not exist"),
        (["--api", "192.0.2.1:0"], "Cannot listen on 192.0.2.1:0"),
        (["--lake-data", "/nonexistent"], "Name it with --lake, too"),
        (["--lake-keep", "90d"], "Name it with --lake, too"),
    ],
)
def test_invalid_options_are_reported(tmp_path: Path, options: list[str], said: str) -> None:
    ended = run(*serve_command(tmp_path / "x.duckdb", *options))
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    with running_collector(
        tmp_path, addresses={"api": "[::1]:0", "otlp_http": "[::1]:0", "otlp_grpc": "[::1]:0"}
    ) as it:
        assert "[::1]:" in it.otlp_grpc
        assert httpx.get(f"{it.api}/healthz", trust_env=False, timeout=60).status_code == 200


def test_it_never_writes_a_traceback_and_is_quiet_in_use(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        for _ in range(3):
            httpx.post(f"{collector.otlp_http}/v1/logs", content=b"?", headers=PROTOBUF, trust_env=False, timeout=60)
        collector.stop()
    assert len(collector.logged().splitlines()) == 4


def test_no_command_reports_leaks_of_a_library_when_it_ends(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "sagascope_collector"]
    with running_collector(tmp_path, own_python=True) as collector:
        otlp = ("--otlp-grpc", collector.otlp_grpc, "--otlp-http", collector.otlp_http.removeprefix("http://"))
        for words in (("sql", "SELECT 1"), ("doctor", *otlp), ("backup", str(tmp_path / "copy.duckdb"))):
            done = subprocess.run(
                [*program, *words, "--url", collector.api], capture_output=True, text=True, timeout=120, check=False
            )
            assert (done.returncode, "nanobind" in done.stderr) == (0, False), done
        assert collector.stop() == 0
        assert "nanobind" not in collector.logged()
