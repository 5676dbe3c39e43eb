"""Files that are locked, cut, spoiled or taken away: one sentence, facts left alone, nothing acknowledged lost."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import Storage
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
    """What a collector says that will not start on it; the facts are the same afterwards."""
    folder = Path(f"{db}.d")
    before = {each: each.read_bytes() for each in folder.glob("*")}
    ended = subprocess.run(serve_command(db), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert {each: each.read_bytes() for each in folder.glob("*")} == before
    return ended.stderr


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database with facts in a sealed file and in a journal."""
    path = tmp_path / "sagascope.duckdb"
    store = Storage(str(path))
    for number in range(1, 40):
        store.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, request(number), NOON)]).batch)
        if number == 20:
            store.seal()
    store.close()
    return path


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def journal(db: Path) -> Path:
    return max(Path(f"{db}.d").glob("hot-*"), key=lambda each: each.stat().st_size)


def test_a_database_that_another_process_holds_is_taken_once_it_is_let_go(tmp_path: Path, db: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        ended = subprocess.run(serve_command(db), capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, "in use by another process" in ended.stderr) == (2, True)
        assert str(holder.pid) in ended.stderr
        holder.communicate()
    with running_collector(tmp_path) as collector:
        assert stored(collector) == 39


def stored(collector: RunningCollector) -> int:
    return int(httpx.get(f"{collector.api}/api/v1/status", trust_env=False).json()["stored"])


def test_a_journal_that_is_spoiled_in_its_midst_is_refused(db: Path) -> None:
    spoil(journal(db))
    assert "is damaged at byte" in refused(db)


def test_a_journal_with_a_torn_end_gives_all_that_was_whole(tmp_path: Path, db: Path) -> None:
    with journal(db).open("ab") as file:
        file.write(b"\xf5fr\n" + bytes(30))
    with running_collector(tmp_path) as collector:
        assert stored(collector) == 39


@pytest.mark.parametrize(
    ("kind", "harm"),
    [("*.spans.parquet", cut), ("*.spans.parquet", Path.unlink), ("*.sagas.npy", cut), ("hot-*", Path.unlink)],
)
def test_a_file_that_is_cut_or_missing_is_refused(db: Path, kind: str, harm: Callable[[Path], None]) -> None:
    found = sorted(Path(f"{db}.d").glob(kind))
    assert found, sorted(Path(f"{db}.d").iterdir())
    for each in found:
        harm(each)
    assert str(db) in refused(db)


def test_a_folder_that_disappears_is_said_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    away = tmp_path / "away"
    with running_collector(tmp_path) as collector:
        acknowledged = {number for number in range(1, 20) if send(collector, number).is_success}
        Path(f"{collector.db}.d").rename(away)
        soon(lambda: httpx.get(f"{collector.api}/readyz", trust_env=False).status_code == 503, seconds=30)
        for number in range(20, 25):
            answer = send(collector, number)
            assert answer.status_code in {200, 503}, answer.content
            if answer.is_success:
                acknowledged.add(number)
        away.rename(f"{collector.db}.d")
        soon(lambda: httpx.get(f"{collector.api}/readyz", trust_env=False).is_success, seconds=30)
        assert send(collector, 30).is_success
        collector.stop(signal.SIGKILL)
    with running_collector(tmp_path) as collector:
        for number in [*acknowledged, 30]:
            asked = {"name": "payment", "id": str(number)}
            assert httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False).is_success, number


def test_a_folder_that_is_removed_takes_no_more_in(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        assert send(collector, 1).is_success
        shutil.rmtree(f"{collector.db}.d")
        answer = soon(lambda: next((each for each in [send(collector, 2)] if not each.is_success), None), seconds=30)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{collector.api}/healthz", trust_env=False).is_success
        assert "Traceback" not in collector.logged()
