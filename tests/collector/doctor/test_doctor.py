"""Runs `sagascope doctor` against real collectors, ports, folders and disks."""

import itertools
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from sagascope_collector.__main__ import build
from sagascope_collector.client import Client, SagaFilters
from support import preloaded
from support.certificates import make_certificates
from support.collector import RunningCollector, running_collector
from support.payments import soon

READ, INGEST = "r" * 20, "i" * 20
BOTH = ("test span, OTLP over HTTP", "test span, OTLP over gRPC")


def doctor(*words: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Returns the exit status, and the results by check."""
    ran = CliRunner().invoke(build(["doctor"]), ["doctor", "--json", *words], env=environment)
    report = json.loads(ran.stdout)
    assert report["ok"] is (ran.exit_code == 0)
    assert all(each["advice"] for each in report["checks"] if each["state"] in {"problem", "warning"})
    return ran.exit_code, {each["check"]: each for each in report["checks"]}


def addresses(collector: RunningCollector) -> tuple[str, ...]:
    http = collector.otlp_http.partition("://")[2]
    return ("--url", collector.api, "--otlp-http", http, "--otlp-grpc", collector.otlp_grpc, "--db", str(collector.db))


def free_ports() -> tuple[str, ...]:
    """Returns options that name ports on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        http, grpc = (f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
        url = "http://127.0.0.1:9"
    return ("--url", url, "--otlp-http", http, "--otlp-grpc", grpc)


def problems(found: dict[str, dict[str, Any]]) -> set[str]:
    return {check for check, each in found.items() if each["state"] == "problem"}


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


def test_the_ports_come_from_the_api(collector: RunningCollector) -> None:
    status, found = doctor("--url", collector.api, "--db", str(collector.db), "--wait", "30")
    assert (status, problems(found)) == (0, set())
    assert all(found[check]["state"] == "ok" for check in BOTH)


def test_a_healthy_collector_passes_and_returns_the_test_spans(collector: RunningCollector) -> None:
    status, found = doctor(*addresses(collector), "--wait", "30")
    assert (status, problems(found)) == (0, set())
    assert all("was read back" in found[each]["text"] for each in BOTH)
    assert f"process {collector.process.pid}" in found["database"]["text"]
    assert found["clock"]["state"] == "ok"
    with Client(collector.api) as client:
        tests = soon(lambda: client.sagas(SagaFilters(environment="sagascope.doctor")).items, seconds=60)
        assert {(each.name, each.environment, each.status) for each in tests} == {
            ("sagascope.doctor", "sagascope.doctor", "completed")
        }
        assert client.sagas().items == []


def test_each_check_is_printed_as_a_line(collector: RunningCollector) -> None:
    ran = preloaded.run("sagascope_collector", "doctor", *addresses(collector), environment={"COLUMNS": "200"})
    assert ran.returncode == 0
    assert "collector: A collector of version" in ran.stdout.splitlines()[0]


def test_a_collector_that_is_down(tmp_path: Path) -> None:
    status, found = doctor(*free_ports(), "--db", str(tmp_path / "new.duckdb"))
    assert (status, problems(found)) == (1, {"collector"})
    assert "sagascope serve" in found["collector"]["advice"]
    assert all("is free" in found[f"port {each}"]["text"] for each in ("OTLP over HTTP", "OTLP over gRPC"))
    assert all(found[each]["state"] == "skipped" for each in BOTH)
    assert "does not exist yet" in found["database"]["text"]
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_collector_that_has_ended(tmp_path: Path) -> None:
    with running_collector(tmp_path) as running:
        pass
    before = running.db.read_bytes()
    _, found = doctor(*free_ports(), "--db", str(running.db))
    assert (found["database"]["state"], "is current" in found["database"]["text"]) == ("ok", True)
    assert running.db.read_bytes() == before


def test_ports_that_another_program_uses(collector: RunningCollector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        # it accepts and never answers
        port = f"127.0.0.1:{stranger.getsockname()[1]}"
        status, found = doctor(*addresses(collector), "--otlp-http", port, "--otlp-grpc", port, "--wait", "1")
    assert status == 1
    assert problems(found) == {"port OTLP over HTTP", "port OTLP over gRPC"}
    assert {found[each]["state"] for each in BOTH} == {"skipped"}


def test_a_url_that_is_not_an_api(collector: RunningCollector) -> None:
    _, found = doctor(*addresses(collector), "--url", collector.otlp_http)
    assert "collector" in problems(found)
    assert "--url" in found["collector"]["advice"]


def test_otlp_ports_that_are_not_the_collectors(collector: RunningCollector) -> None:
    status, found = doctor(*addresses(collector), *free_ports()[2:])
    assert status == 1
    assert "but the collector's API answers" in found["port OTLP over HTTP"]["text"]


def test_test_spans_that_go_to_another_collector_are_not_found(collector: RunningCollector, tmp_path: Path) -> None:
    with running_collector(tmp_path) as other:
        _, found = doctor(*addresses(collector), "--otlp-http", other.otlp_http.partition("://")[2], "--wait", "2")
    assert "test span, OTLP over HTTP" in problems(found)
    assert "not found within" in found["test span, OTLP over HTTP"]["text"]


def test_tokens_that_are_missing_wrong_and_right(tmp_path: Path) -> None:
    asked = {"SAGASCOPE_READ_TOKEN": READ, "SAGASCOPE_INGEST_TOKEN": INGEST}
    with running_collector(tmp_path, environment=asked) as running:
        status, found = doctor(*addresses(running))
        assert (status, problems(found)) == (1, {"collector", *BOTH})
        assert "--token-file" in found["collector"]["advice"]
        assert "--ingest-token-file" in found[BOTH[0]]["advice"]
        assert found["port OTLP over HTTP"]["state"] == found["port OTLP over gRPC"]["state"] == "ok"
        wrong, found = doctor(*addresses(running), SAGASCOPE_TOKEN="wrong" * 5, SAGASCOPE_INGEST_TOKEN=INGEST)
        assert (wrong, problems(found)) == (1, {"collector"})
        right, found = doctor(*addresses(running), "--wait", "30", SAGASCOPE_TOKEN=READ, SAGASCOPE_INGEST_TOKEN=INGEST)
        assert (right, problems(found)) == (0, set())


def test_over_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    named = {name: str(made / f"{name}.pem") for name in ("server", "client", "ca")}
    keys = {name: str(made / f"{name}.key") for name in ("server", "client")}
    options = ("--tls-cert", named["server"], "--tls-key", keys["server"], "--tls-client-ca", named["ca"])
    shown = ("--ca-file", named["ca"], "--client-cert", named["client"], "--client-key", keys["client"])
    trusted = ssl.create_default_context(cafile=named["ca"])
    trusted.load_cert_chain(named["client"], keys["client"])
    with running_collector(tmp_path, *options, tls=trusted) as running:
        status, found = doctor(*addresses(running), *shown, "--wait", "30")
        assert (status, problems(found)) == (0, set()), found
        status, found = doctor(*addresses(running), *shown[:2], "--wait", "1")
    assert status == 1
    assert "collector" in problems(found)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    _, found = doctor(*free_ports(), "--db", str(tmp_path / "nowhere" / "sagascope.duckdb"))
    assert "does not exist" in found["disk"]["text"]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mounts a small file system in memory; skips the test if this user may not mount."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    made = subprocess.run(words, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "size=1m", "ro") as folder:
        _, found = doctor(*free_ports(), "--db", str(folder / "sagascope.duckdb"))
    assert (found["disk"]["state"], "cannot be written" in found["disk"]["text"]) == ("problem", True)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "size=1m") as folder:
        (folder / "filler").write_bytes(b"x" * 900_000)
        _, found = doctor(*free_ports(), "--db", str(folder / "sagascope.duckdb"))
    assert "No space left" in found["disk"]["text"]


def test_a_disk_that_is_small(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=8m") as folder:
        _, found = doctor(*free_ports(), "--db", str(folder / "sagascope.duckdb"))
    assert {"space", "collector"} == problems(found)


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database")
    _, found = doctor(*free_ports(), "--db", str(file))
    assert "is not a DuckDB database" in found["database"]["text"]
    assert file.read_text() == "not a database"


def test_a_database_that_a_process_without_ports_holds(tmp_path: Path) -> None:
    file = tmp_path / "held.duckdb"
    hold = f"import duckdb; c = duckdb.connect({str(file)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        _, found = doctor(*free_ports(), "--db", str(file))
        assert f"process {holder.pid}" in found["database"]["text"]
        assert "database" in problems(found)
        holder.communicate(b"\n")


def test_a_malformed_address_is_a_usage_error() -> None:
    ran = preloaded.run("sagascope_collector", "doctor", "--otlp-http", "nowhere")
    assert (ran.returncode, "HOST:PORT" in ran.stderr) == (2, True)


def test_one_broken_connection_is_no_other_program(
    collector: RunningCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, calls = httpx.Client.post, itertools.count()

    def broken_once(self: httpx.Client, url: str, **options: Any) -> httpx.Response:
        if url.endswith("/v1/traces") and next(calls) == 0:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return post(self, url, **options)

    monkeypatch.setattr(httpx.Client, "post", broken_once)
    status, found = doctor(*addresses(collector), "--wait", "30")
    assert (status, problems(found)) == (0, set()), found
    assert next(calls) > 1
