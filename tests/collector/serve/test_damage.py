"""Files that are locked, cut or missing: one sentence, and the file is left as it was."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import Storage
from support import preloaded
from support.collector import RunningCollector, running_collector, serve_command
from support.otlp import NOON, of_saga, span, traces
from support.payments import soon

PROTOBUF = {"content-type": "application/x-protobuf"}
HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def request(number: int) -> bytes:
    return traces(span(number, trace=number, attributes=of_saga(str(number)))).SerializeToString()


def send(collector: RunningCollector, number: int) -> httpx.Response:
    url = f"{collector.otlp_http}/v1/traces"
    return httpx.post(url, content=request(number), headers=PROTOBUF, timeout=60, trust_env=False)


def refused(db: Path) -> str:
    """What a collector says that will not start on it; the file is the same afterwards."""
    before = db.read_bytes()
    ended = preloaded.run(*serve_command(db)[2:])
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert db.read_bytes() == before
    return ended.stderr


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database with records, stopped cleanly."""
    path = tmp_path / "sagascope.duckdb"
    storage = Storage(str(path))
    for number in range(1, 40):
        storage.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, request(number), NOON)]).batch)
    storage.close()
    return path


def test_a_database_that_another_process_holds_is_taken_once_it_is_let_go(tmp_path: Path, db: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        ended = preloaded.run(*serve_command(db)[2:])
        assert (ended.returncode, "in use by another process" in ended.stderr) == (2, True)
        assert str(holder.pid) in ended.stderr
        holder.communicate()
    with running_collector(tmp_path) as collector:
        assert stored(collector) == 39


def stored(collector: RunningCollector) -> int:
    return int(httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=60).json()["stored"])


def test_a_database_that_is_cut_is_refused(db: Path) -> None:
    db.write_bytes(db.read_bytes()[: db.stat().st_size // 2])
    assert str(db) in refused(db)


def killed(folder: Path) -> tuple[Path, int]:
    """A database as it is after a crash, and how many records were acknowledged."""
    with running_collector(folder) as collector:
        acknowledged = sum(send(collector, number).is_success for number in range(1, 20))
        collector.stop(signal.SIGKILL)
    return collector.db, acknowledged


def test_a_log_with_a_torn_end_gives_all_that_was_acknowledged(tmp_path: Path) -> None:
    db, acknowledged = killed(tmp_path)
    with Path(f"{db}.wal").open("ab") as log:
        log.write(b"\x40" + bytes(30))
    with running_collector(tmp_path) as collector:
        assert stored(collector) == acknowledged
        assert httpx.get(f"{collector.api}/readyz", trust_env=False, timeout=60).is_success


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_log_that_is_missing_or_cut_is_reported_and_nothing_is_taken_in_until_that_is_accepted(
    tmp_path: Path, share: float
) -> None:
    db, acknowledged = killed(tmp_path)
    log = Path(f"{db}.wal")
    log.write_bytes(log.read_bytes()[: round(log.stat().st_size * share)])
    if not share:
        log.unlink()
    with running_collector(tmp_path, probe="/healthz") as collector:
        answer = soon(lambda: httpx.get(f"{collector.api}/readyz", trust_env=False, timeout=60))
        assert answer.status_code == 503
        assert "acknowledged records" in answer.text
        assert "--accept-data-loss" in answer.text
        assert not send(collector, 100).is_success
        notices = httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=60).json()["notices"]
        assert any(each.startswith("data_loss: ") for each in notices)
        assert stored(collector) < acknowledged
    with running_collector(tmp_path, "--accept-data-loss") as collector:
        assert send(collector, 100).is_success
    with running_collector(tmp_path) as collector:
        assert httpx.get(f"{collector.api}/readyz", trust_env=False, timeout=60).is_success
