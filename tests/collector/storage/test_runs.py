"""After a crash every acknowledged record is there once, and what may be missing is said."""

import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from support import preloaded
from support.otlp import log, logs, of_saga, span, traces
from support.payments import soon

from .conftest import append, maintain

PAYLOAD = "x" * 500

CRASHING = """
import os, sys
sys.path[:0] = sys.argv[4].split(os.pathsep)
from pathlib import Path
from sagascope_collector.otlp import decode
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.records import SagaKey
from sagascope_collector.storage import SagaRow, Storage, connection, records, sagas
from support.otlp import of_saga, span, traces
connection.CHECKPOINT_BYTES = sys.argv[3]
records.SNAPSHOT_COMMITS = 7
sagas.SETTLE_INTERVAL_SECONDS = 0.0
def row(id_):
    key = SagaKey(id_.environment, "payment", id_.id, "")
    return SagaRow(key, "completed", None, None, None, (), (), 1, 1, 1, None, {}, "{}")
storage, number = Storage(sys.argv[1]), int(sys.argv[2])
print("open", flush=True)
while True:
    number += 1
    said = of_saga(f"s{number % 50}") | {"x": "x" * 500}
    request = traces(*(span(10 * number + each, trace=number, attributes=said) for each in range(3)))
    payload = Payload(Signal.TRACES, Encoding.PROTOBUF, request.SerializeToString(), number)
    storage.records.append(decode([payload]).batch)
    print(number, flush=True)
    if number % 3 == 0:
        claimed = storage.changes.claim(5)
        storage.sagas.put(claimed, [row(each) for each in claimed])
    storage.maintain()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def crash(path: Path, seconds: float, first: int = 0, checkpoint: str = "64MB") -> int:
    """Lets a process append, and kills it; the number of the last commit that was acknowledged."""
    printed = path.with_suffix(".printed")
    printed.unlink(missing_ok=True)
    words = (CRASHING, str(path), str(first), checkpoint, os.pathsep.join(sys.path))
    with preloaded.running("-c", *words, log=printed):
        soon(lambda: printed.read_text().count("\n") > bool(seconds))
        time.sleep(seconds)  # the kill falls at any moment
    opened, *numbers = [line for line in printed.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert opened == "open\n"
    return int(numbers[-1]) if numbers else first


def spans_of(storage: Storage, last: int) -> list[str]:
    """The span ids of all sagas that the process appended to."""
    facts = storage.lookup.facts([SagaId("", f"s{number}") for number in range(50)])
    return [span.span_id for each in facts.values() for span in each.spans]


def ids(last: int) -> set[str]:
    return {f"{10 * number + each:016x}" for number in range(1, last + 1) for each in range(3)}


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_collector_loses_nothing_that_it_acknowledged(path: Path, seed: int) -> None:
    chance, last = random.Random(seed), 0
    for _ in range(5):
        last = crash(path, chance.uniform(0.05, 0.4), last + 5, chance.choice(("64MB", "100KB")))
        storage = Storage(str(path))
        assert storage.data_loss is None
        assert not storage.is_read_only
        storage.close()
    storage = Storage(str(path))
    found = spans_of(storage, last)
    assert len(found) == len(set(found))
    storage.close()


def test_every_acknowledged_record_is_there_once_and_changes_its_saga_again(path: Path) -> None:
    last = crash(path, 0.3)
    storage = Storage(str(path))
    found = spans_of(storage, last)
    assert len(found) == len(set(found))
    assert set(found) >= ids(last)
    assert len(found) - 3 * last <= 3  # one commit may be on disk whose acknowledgement was not read
    assert storage.records.counters.stored == len(found)
    said = of_saga(f"s{last % 50}") | {"x": PAYLOAD}
    assert SagaId("", f"s{last % 50}") in storage.changes.claim(100)
    again = traces(*(span(10 * last + each, trace=last, attributes=said) for each in range(3)))
    assert append(storage, again, received=last) == (0, 3)
    storage.close()


def test_a_collector_that_is_killed_before_its_first_record_starts_again(path: Path) -> None:
    for _ in range(3):
        crash(path, 0.0)
        storage = Storage(str(path))
        assert storage.data_loss is None
        storage.database.rows("CHECKPOINT")
        storage.close()


def test_a_collector_that_is_killed_after_a_checkpoint_without_records_starts_again(path: Path) -> None:
    Storage(str(path)).close()
    code = (
        "import os, sys; from sagascope_collector.storage import Storage;"
        "storage = Storage(sys.argv[1]); storage.database.rows('CHECKPOINT'); os._exit(9)"
    )
    assert preloaded.run("-c", code, str(path)).returncode == 9
    storage = Storage(str(path))
    assert storage.data_loss is None
    storage.close()


def test_a_clean_stop_leaves_one_file(path: Path) -> None:
    for number in range(1, 3):
        storage = Storage(str(path))
        append(storage, traces(span(number, attributes=of_saga())), logs(log("x", attributes=of_saga())))
        storage.changes.claim(10)
        maintain(storage)
        storage.close()
        assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage()
    append(storage, traces(span(1, attributes=of_saga())))
    storage.close()
    assert list(tmp_path.iterdir()) == []


def copied(path: Path, folder: Path, *, log_bytes: int | None, has_mark: bool = True) -> Path:
    """The database as it may be copied after a crash; `log_bytes` None: without the log."""
    folder.mkdir()
    copy = folder / path.name
    shutil.copyfile(path, copy)
    if log_bytes is not None:
        (folder / f"{path.name}.wal").write_bytes(Path(f"{path}.wal").read_bytes()[:log_bytes])
    if has_mark:
        shutil.copyfile(f"{path}.commit", folder / f"{path.name}.commit")
    return copy


def test_a_database_without_its_log_is_read_only_and_reports_what_is_missing(path: Path, tmp_path: Path) -> None:
    last = crash(path, 0.3)
    size = Path(f"{path}.wal").stat().st_size
    assert size > 1_000
    for name, log_bytes, has_mark in (("no log", None, True), ("half", size // 2, True), ("nothing", None, False)):
        copy = copied(path, tmp_path / name, log_bytes=log_bytes, has_mark=has_mark)
        for _ in range(2):  # it is said until it is accepted
            storage = Storage(str(copy))
            assert storage.is_read_only, name
            assert storage.data_loss is not None
            assert "acknowledged records" in storage.data_loss.lower()
            assert "\n" not in storage.data_loss
            assert set(spans_of(storage, last)) < ids(last + 1)
            with pytest.raises(StorageUnavailable):
                append(storage, traces(span(1)))
            storage.close()
        storage = Storage(str(copy), accept_data_loss=True)
        assert storage.data_loss is not None
        assert not storage.is_read_only
        assert append(storage, traces(span(777_777, attributes=of_saga("new")))) == (1, 0)
        storage.close()
        storage = Storage(str(copy))
        assert storage.data_loss is None
        assert len(storage.lookup.facts([SagaId("", "new")])) == 1
        storage.close()


def test_the_torn_tail_of_a_commit_that_was_not_acknowledged_is_no_fault(path: Path, tmp_path: Path) -> None:
    last = crash(path, 0.3)
    with Path(f"{path}.wal").open("ab") as log_file:
        log_file.write(b"\x40" + bytes(range(200)))
    copy = copied(path, tmp_path / "torn", log_bytes=10**9)
    storage = Storage(str(copy))
    assert storage.data_loss is None
    assert set(spans_of(storage, last)) >= ids(last)
    storage.close()


def test_accepted_data_loss_is_not_reported_after_a_crash_either(path: Path, tmp_path: Path) -> None:
    crash(path, 0.3)
    copy = copied(path, tmp_path / "copy", log_bytes=None)
    code = (
        "import os, sys; from sagascope_collector.storage import Storage;"
        "Storage(sys.argv[1], accept_data_loss=True); os._exit(9)"
    )
    assert preloaded.run("-c", code, str(copy)).returncode == 9
    storage = Storage(str(copy))
    assert storage.data_loss is None
    storage.close()


def test_a_stop_that_could_not_write_leaves_everything_for_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(path))
    append(storage, traces(span(1, attributes=of_saga())))
    monkeypatch.setattr(storage.outages, "stop", _refuse)
    storage.close()
    storage = Storage(str(path))
    assert storage.data_loss is None
    assert len(storage.lookup.facts([SagaId("", "8492")])) == 1
    storage.close()


def _refuse(_: int) -> None:
    raise StorageUnavailable("No space.")


def test_a_backup_has_no_data_loss(path: Path, tmp_path: Path) -> None:
    storage = Storage(str(path))
    append(storage, traces(span(1, attributes=of_saga())))
    with storage.backups.copied() as copy:
        shutil.copyfile(copy, tmp_path / "backup.duckdb")
    storage.close()
    restored = Storage(str(tmp_path / "backup.duckdb"))
    assert restored.data_loss is None
    assert len(restored.lookup.facts([SagaId("", "8492")])) == 1
    restored.close()


def test_files_are_readable_by_their_owner_only(path: Path) -> None:
    previous = os.umask(0o022)
    try:
        storage = Storage(str(path))
        append(storage, traces(span(1, attributes=of_saga())))
        with storage.backups.copied() as copy:
            files = [path, Path(f"{path}.wal"), Path(f"{path}.commit"), copy]
            assert {each.name: oct(each.stat().st_mode & 0o777) for each in files} == {
                each.name: "0o600" for each in files
            }
        storage.erasure.erase([SagaId("", "8492")], [])
        append(storage, traces(span(2, attributes=of_saga())))
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
        storage.close()
    finally:
        os.umask(previous)
