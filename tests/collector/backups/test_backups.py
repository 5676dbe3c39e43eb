"""A copy of everything, made while a collector is at work: whole, verified, and put back as it was."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import duckdb
import httpx
import pytest

from sagascope_collector import backups
from sagascope_collector.errors import BadValue
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from support.collector import RunningCollector, running_collector
from support.command import run
from support.disks import fill, small_disk
from support.otlp import NOON, of_saga, span, traces
from support.samples import wait_until

SPANS = 5


def request(saga: int) -> bytes:
    """All spans of a saga."""
    numbers = range(saga * SPANS, (saga + 1) * SPANS)
    return traces(*(span(each, trace=saga, attributes=of_saga(str(saga))) for each in numbers)).SerializeToString()


def filled(path: Path, sagas: int) -> Path:
    """A database that no collector has open."""
    store = Storage(str(path))
    for saga in range(1, sagas + 1):
        store.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, request(saga), NOON)]).batch)
    store.close()
    return path


def spans_of(path: Path, sagas: int) -> list[int]:
    """How many spans the database has of each saga up to this one."""
    store = Storage(str(path))
    ids = [SagaId("", str(each)) for each in range(1, sagas + 1)]
    found = store.lookup.facts(ids)
    store.close()
    return [len(found[each].spans) if each in found else 0 for each in ids]


class Sender(threading.Thread):
    """Sends a saga a request until it is told to stop."""

    def __init__(self, collector: RunningCollector) -> None:
        super().__init__()
        self.acknowledged = 0
        self.enough = threading.Event()
        self.over = threading.Event()
        self._url = f"{collector.otlp_http}/v1/traces"

    def run(self) -> None:
        with httpx.Client(headers={"content-type": "application/x-protobuf"}, timeout=60, trust_env=False) as http:
            while not self.over.is_set():
                http.post(self._url, content=request(self.acknowledged + 1)).raise_for_status()
                self.acknowledged += 1
                if self.acknowledged >= 100:
                    self.enough.set()


def test_what_was_acknowledged_is_in_a_backup_under_load_and_every_saga_is_whole(tmp_path: Path) -> None:
    file, db = tmp_path / "copy.duckdb", tmp_path / "restored.duckdb"
    with running_collector(tmp_path) as collector:
        sender = Sender(collector)
        sender.start()
        try:
            assert sender.enough.wait(60)
            before = sender.acknowledged
            made = run("backup", str(file), url=collector.api)
        finally:
            sender.over.set()
            sender.join()
        assert made.returncode == 0, made.stderr
        assert "has" in made.stdout
        assert not list(tmp_path.glob("*.copy-*"))
    restored = run("restore", str(file), "--db", str(db))
    assert restored.returncode == 0, restored.stderr
    found = spans_of(db, sender.acknowledged)
    assert found[:before] == [SPANS] * before
    assert set(found) <= {0, SPANS}


def test_a_restored_database_is_served_and_goes_on(tmp_path: Path) -> None:
    at_rest = filled(tmp_path / "original.duckdb", 10)
    assert run("backup", str(tmp_path / "copy.duckdb"), "--db", str(at_rest)).returncode == 0
    assert run("restore", str(tmp_path / "copy.duckdb"), "--db", str(tmp_path / "restored.duckdb")).returncode == 0
    with running_collector(tmp_path, db=tmp_path / "restored.duckdb") as collector:
        assert run("show", "7", "--json", url=collector.api).returncode == 0
        headers = {"content-type": "application/x-protobuf"}
        url = f"{collector.otlp_http}/v1/traces"
        assert httpx.post(url, content=request(11), headers=headers, trust_env=False, timeout=60).status_code == 200
        assert run("show", "11", "--json", url=collector.api).returncode == 0


def test_nothing_is_replaced(tmp_path: Path) -> None:
    db, file = filled(tmp_path / "sagascope.duckdb", 2), tmp_path / "copy.duckdb"
    run("backup", str(file), "--db", str(db))
    refused = run("restore", str(file), "--db", str(db))
    assert refused.returncode == 2
    assert "exists and was not changed" in " ".join(refused.stderr.split())
    assert spans_of(db, 2) == [SPANS, SPANS]


def test_an_older_backup_stays_if_a_new_one_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "copy.duckdb"
    whole = b"".join(archived(filled(tmp_path / "sagascope.duckdb", 2)))
    backups.save([whole], file)
    for wrong in (whole[: len(whole) // 2], whole[:-3000], b""):
        with pytest.raises(BadValue):
            backups.save([wrong], file)
    assert file.read_bytes() == whole
    assert {each.name for each in tmp_path.glob("*copy*")} | {each.name for each in tmp_path.glob(".*")} == {
        "copy.duckdb"
    }


def test_what_is_no_file_is_not_replaced_and_a_link_is_followed(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link.duckdb", tmp_path / "copy.duckdb"
    os.mkfifo(pipe)
    link.symlink_to(file)
    whole = b"".join(archived(filled(tmp_path / "sagascope.duckdb", 2)))
    with pytest.raises(BadValue, match="is not a file, and was not changed"):
        backups.save([whole], pipe)
    assert pipe.is_fifo()
    backups.save([whole], link)
    assert link.is_symlink()
    assert file.read_bytes() == whole


def test_without_room_the_older_backup_stays(tmp_path: Path) -> None:
    db = filled(tmp_path / "sagascope.duckdb", 5)
    with small_disk(tmp_path) as disk:
        file = disk / "copy.duckdb"
        assert run("backup", str(file), "--db", str(db)).returncode == 0
        older = file.read_bytes()
        fill(disk)
        refused = run("backup", str(file), "--db", str(db))
        assert refused.returncode == 2
        assert "cannot be written: No space left on device" in " ".join(refused.stderr.split())
        assert file.read_bytes() == older
        assert {each.name for each in disk.iterdir()} == {"copy.duckdb", "filler"}


def test_a_collector_that_dies_while_it_is_copied_leaves_no_copy_after_the_next_start(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        left = Path(f"{collector.db}.copy-1-1")
        left.write_bytes(b"half")
        with httpx.stream("GET", f"{collector.api}/api/v1/backup", trust_env=False, timeout=60) as answer:
            next(answer.iter_raw(1))
            collector.stop(signal.SIGKILL)
    with running_collector(tmp_path) as collector:
        assert not list(tmp_path.glob("*.copy-*"))


def archived(db: Path) -> list[bytes]:
    store = Storage(str(db))
    try:
        with store.backups.copied() as copy:
            return list(backups.pieces(copy))
    finally:
        store.close()


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def bent(content: bytes) -> bytes:
    """The same with a byte of a block in use changed."""
    at = content.index(b"saga.id")
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def text(_: bytes) -> bytes:
    return b"hello " * 1000


def nothing(_: bytes) -> bytes:
    return b""


def of_another_program(_: bytes) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "orders.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
        return path.read_bytes()


def later(content: bytes) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "later.duckdb"
        path.write_bytes(content)
        with duckdb.connect(str(path)) as connection:
            connection.execute("INSERT INTO migrations VALUES (9999, 'later', now(), '99.0')")
        return path.read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return b"".join(archived(filled(tmp_path_factory.mktemp("sound") / "sagascope.duckdb", 4)))


@pytest.mark.parametrize("damage", [cut, bent, text, nothing, of_another_program, later])
def test_what_is_no_sound_backup_is_refused_in_one_sentence(
    damage: Callable[[bytes], bytes], sound: bytes, tmp_path: Path
) -> None:
    file, db = tmp_path / "copy.duckdb", tmp_path / "in" / "restored.duckdb"
    file.write_bytes(damage(sound))
    db.parent.mkdir()
    with pytest.raises(BadValue, match=str(file)):
        backups.restore(file, db)
    assert not list(db.parent.iterdir())


@pytest.mark.parametrize("place", ["missing.duckdb", "a folder", "text.duckdb"])
def test_an_invalid_backup_is_reported_in_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "text.duckdb").write_text("hello " * 1000)
    refused = run("restore", str(tmp_path / place), "--db", str(tmp_path / "restored.duckdb"))
    assert refused.returncode == 2
    assert ("does not exist, or is not a file" in refused.stderr) is (place != "text.duckdb")
    assert "Traceback" not in refused.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"a folder", "text.duckdb"}


def test_backups_that_are_not_read_fill_no_disk(tmp_path: Path) -> None:
    body = traces(*(span(each, attributes={"x": os.urandom(30_000).hex()}) for each in range(1, 301)))
    with running_collector(tmp_path) as collector, ExitStack() as unread:
        headers, url = {"content-type": "application/x-protobuf"}, f"{collector.otlp_http}/v1/traces"
        sent = httpx.post(url, content=body.SerializeToString(), headers=headers, trust_env=False, timeout=60)
        assert sent.status_code == 200
        place = urlsplit(collector.api)
        for _ in range(2):
            connection = unread.enter_context(socket.create_connection((place.hostname, place.port), timeout=60))
            connection.sendall(b"GET /api/v1/backup HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        refused = httpx.get(f"{collector.api}/api/v1/backup", trust_env=False, timeout=60)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert "2 backups are being read already" in refused.json()["detail"]
        assert len(list(tmp_path.glob("*.copy-*"))) == 2
        unread.close()
        wait_until(lambda: not list(tmp_path.glob("*.copy-*")), "the copies stayed")
        assert run("backup", str(tmp_path / "copy.duckdb"), url=collector.api).returncode == 0
