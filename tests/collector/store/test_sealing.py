"""Sealing: records move to the sealed tier whole, whenever they are read, repeated, or the process is killed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from sagascope_collector.errors import NotADatabase
from sagascope_collector.records import SagaId
from sagascope_collector.store import DuckDBStore, tiers
from sagascope_collector.store import sealing as sealing_module
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.fingerprints import Fingerprints
from sagascope_collector.store.generation import Decoded
from support.otlp import NOON, SECOND, heartbeat, log, logs, of_saga, span, traces

from .conftest import append

SAGA = SagaId("", "8492")
MEBIBYTE = 2**20

KILLED = """
import sys
from sagascope_collector.store import DuckDBStore, chunkfile, compaction, sealing, tiers
from support.otlp import log, logs, of_saga, span, traces
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
import threading, time
tiers.RECORDS, sealing.SMALL, sealing.TOGETHER = 40, 100, 3
compaction.TOGETHER, compaction.MANY, compaction.PIECE, chunkfile.ROW_GROUP = 3, 1, 40, 8
store = DuckDBStore(sys.argv[1])
def tend():
    while True:
        store.tend() or time.sleep(0.001)  # whoever never waits keeps the other thread from appending
threading.Thread(target=tend, daemon=True).start()
begin = int(sys.argv[2])
for number in range(begin, begin + 100_000):
    requests = [
        traces(span(number, trace=number, attributes=of_saga(str(number % 7)))),
        logs(log(f"log {number}", attributes=of_saga(str(number % 7)))),
    ]
    kinds = (Signal.TRACES, Signal.LOGS)
    payloads = [Payload(kind, Encoding.PROTOBUF, each.SerializeToString(), 1) for kind, each in zip(kinds, requests)]
    store.append(decode(payloads).batch)
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def files(path: Path, pattern: str) -> list[str]:
    return sorted(each.name for each in Path(f"{path}.d").glob(pattern))


def test_what_was_killed_in_the_midst_of_sealing_has_everything_once(path: Path) -> None:
    chance, acknowledged, begin = random.Random(5), set[int](), 1
    for _ in range(4):
        told = _killed_after(path, chance.uniform(0.05, 0.6), begin)
        acknowledged.update(told)
        begin = max(acknowledged, default=0) + 2  # one may be stored that was not acknowledged
        _check(path, acknowledged)
    assert files(path, "*.parquet")


def _killed_after(path: Path, seconds: float, begin: int) -> list[int]:
    """Let a process append and seal, kill it; the numbers that it said were stored."""
    arguments = [sys.executable, "-c", KILLED, str(path), str(begin)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)  # the kill falls at any instant
        process.send_signal(signal.SIGKILL)
        return [int(first), *(int(line) for line in process.stdout if line.endswith("\n"))]


def _check(path: Path, acknowledged: set[int]) -> None:
    store = DuckDBStore(str(path))
    facts = store.facts([SagaId("", str(number)) for number in range(7)]).values()
    spans = Counter(int(each.span_id, 16) for of in facts for each in of.spans)
    texts = Counter(int(each.body.removeprefix("log ")) for of in facts for each in of.logs)
    assert acknowledged <= set(spans)
    assert spans == texts
    assert set(spans.values()) == {1}
    assert store.counters().stored == 2 * len(spans)
    again = append(store, traces(*(span(each, trace=each, attributes=of_saga(str(each % 7))) for each in spans)))
    assert again == (0, len(spans))
    store.close()


def test_sealed_and_hot_facts_of_one_saga_are_read_together(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())), logs(log("first", attributes=of_saga())))
    store.seal()
    append(store, traces(span(2, attributes=of_saga(), links=[(9, 1, of_saga("9"))])))
    assert len(store.facts([SAGA])[SAGA].spans) == 2
    store.seal()
    append(store, traces(span(3, attributes=of_saga())))
    facts = store.facts([SAGA, SagaId("", "9")])
    assert {each.span_id for each in facts[SAGA].spans} == {f"{number:016x}" for number in (1, 2, 3)}
    assert len(facts[SagaId("", "9")].spans) == 1
    store.close()


def test_nothing_changes_for_a_reader_while_chunks_are_made_and_merged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "RECORDS", 5)
    monkeypatch.setattr(sealing_module, "TOGETHER", 3)
    store = DuckDBStore(str(path))
    append(store, *(traces(span(number, attributes=of_saga())) for number in range(1, 11)))
    seen: list[int] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(len(store.facts([SAGA])[SAGA].spans))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        append(store, traces(span(1000 + number, attributes=of_saga("1"))))
        store.tend()
    over.set()
    reader.join()
    assert set(seen) == {10}
    assert len(files(path, "*.spans.parquet")) < 12
    store.close()


def test_what_is_pending_outlives_sealing_and_restart(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga("1"))), logs(heartbeat(1, 1)))
    store.seal()
    append(store, traces(span(2, attributes=of_saga("2"))))
    store.close()
    store = DuckDBStore(str(path))
    assert set(store.changed_ids(10)) == {SagaId("", "1"), SagaId("", "2")}
    assert [each.heartbeat is not None for each in store.instances()] == [True]
    store.put_summaries(store.changed_ids(10), [])
    assert store.changed_ids(10) == []
    store.close()


def test_a_journal_torn_by_a_crash_loses_only_what_was_never_acknowledged(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    store.close()
    journal = Path(f"{path}.d") / "hot-00000001"
    whole = journal.read_bytes()
    for torn in (whole + b"\xf5fr\n", whole + whole[-400:-200], whole + bytes(5000)):
        journal.write_bytes(torn)
        store = DuckDBStore(str(path))
        assert len(store.facts([SAGA])[SAGA].spans) == 1
        store.close()
        assert journal.read_bytes() == whole


def test_a_damaged_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    append(store, traces(span(2, attributes=of_saga())))
    store.close()
    journal = Path(f"{path}.d") / "hot-00000001"
    content = bytearray(journal.read_bytes())
    content[200] ^= 1
    journal.write_bytes(content)
    with pytest.raises(NotADatabase, match="damaged at byte"):
        DuckDBStore(str(path))
    assert journal.read_bytes() == content


def test_a_database_without_its_folder_is_refused(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    store.close()
    folder = Path(f"{path}.d")
    folder.rename(path.parent / "elsewhere")
    with pytest.raises(NotADatabase, match="Put it back"):
        DuckDBStore(str(path))
    (path.parent / "elsewhere").rename(folder)
    path.unlink()
    with pytest.raises(NotADatabase, match="another database"):
        DuckDBStore(str(path))


@pytest.mark.parametrize("kind", ["spans", "sagas"])
def test_a_sealed_file_that_is_missing_or_cut_short_is_refused(path: Path, kind: str) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    store.seal()
    store.close()
    (file,) = Path(f"{path}.d").glob(f"*.{kind}.*")
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.raises(NotADatabase, match="damaged"):
        DuckDBStore(str(path))
    file.unlink()
    with pytest.raises(NotADatabase, match="missing"):
        DuckDBStore(str(path))
    file.write_bytes(content)
    DuckDBStore(str(path)).close()


def test_late_records_of_a_sealed_saga_change_it(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, end=0, attributes=of_saga())))
    store.seal()
    store.put_summaries(store.changed_ids(10), [])
    append(store, traces(span(1, end=NOON + SECOND, attributes=of_saga())))
    assert store.changed_ids(10) == [SAGA]
    assert [each.end for each in store.facts([SAGA])[SAGA].spans] == [NOON + SECOND]
    store.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count open files")
def test_no_file_is_held_open_for_what_is_sealed(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga())))
    store.seal()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(2, 6):
        append(store, traces(span(number, attributes=of_saga())))
        store.seal()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    store.close()


def test_small_commits_are_held_in_no_more_memory_than_they_may(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "Decoded", lambda: Decoded(4 * MEBIBYTE))
    store = DuckDBStore(str(path))
    _commit(store, range(1, 100))
    before = psutil.Process().memory_info().rss
    _commit(store, range(200, 900))
    assert psutil.Process().memory_info().rss - before < 20 * MEBIBYTE
    store.close()


def test_what_is_sent_again_is_known_although_its_chunk_is_merged_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing_module, "TOGETHER", 3)
    DuckDBStore(str(path)).close()
    store = DuckDBStore(str(path))
    for number in range(1, 4):
        _commit(store, range(number, number + 1))
        store.seal() if number < 3 else store._close_generation()
    store.close()
    store = DuckDBStore(str(path))
    duplicates = store._tiers._duplicates
    read = duplicates._read

    def late(chunk: Chunk) -> Fingerprints:
        while store.tend():
            pass
        return read(chunk)

    monkeypatch.setattr(duplicates, "_read", late)
    assert append(store, traces(span(1, trace=1, attributes=of_saga("1")))) == (0, 1)
    store.close()


def test_many_small_commits_end_a_generation(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "FRAMES", 10)
    store = DuckDBStore(str(path))
    _commit(store, range(1, 25))
    assert len(files(path, "hot-*")) == 3
    assert len(store.facts([SagaId("", "1")])[SagaId("", "1")].spans) == 1
    store.close()


def _commit(store: DuckDBStore, numbers: range) -> None:
    """A commit for each number."""
    for number in numbers:
        append(
            store,
            traces(span(number, trace=number, attributes=of_saga(str(number)))),
            logs(log("x", attributes=of_saga(str(number)))),
        )


def test_sagas_that_are_left_out_leave_the_chunks_and_others_stay_whole(path: Path) -> None:
    store = DuckDBStore(str(path))
    for number in range(1, 9):
        of = of_saga(str(number % 2))
        append(store, traces(span(number, trace=number, attributes=of)), logs(log(f"log {number}", attributes=of)))
        store.seal()
    gone, kept = SagaId("", "0"), SagaId("", "1")
    before = store.facts([gone, kept])
    assert store._leaving.without([gone, SagaId("elsewhere", "1")]) == 8
    assert store.facts([gone, kept]) == {kept: before[kept]}
    assert store._leaving.without([gone]) == 0
    store.close()
    store = DuckDBStore(str(path))
    assert store.facts([gone, kept]) == {kept: before[kept]}
    assert {each for ids in store.saga_ids() for each in ids} == {kept}
    assert not store.has_trace(f"{2:032x}")
    assert append(store, traces(span(1, trace=1, attributes=of_saga("1")))) == (0, 1)
    assert append(store, traces(span(2, trace=2, attributes=of_saga("0")))) == (1, 0)
    store.close()


def test_leaving_out_every_saga_leaves_no_chunk(path: Path) -> None:
    store = DuckDBStore(str(path))
    append(store, traces(span(1, attributes=of_saga(), links=[(9, 1, of_saga("9"))])))
    store.seal()
    assert store._leaving.without([SAGA, SagaId("", "9")]) == 1
    assert files(path, "*.parquet") == files(path, "*.npy") == []
    append(store, traces(span(1, attributes=of_saga())))
    store.seal()
    assert files(path, "*.spans.parquet") == ["00000003.spans.parquet"]
    store.close()
