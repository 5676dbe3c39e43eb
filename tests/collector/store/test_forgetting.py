"""Forgetting: nothing of a saga is left in any byte of the database's files, whenever the process is killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq
import pytest

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import (
    Change,
    DuckDBStore,
    LessonRow,
    Notification,
    SagaFilter,
    SagaRow,
    Stake,
    Standing,
    Store,
    Told,
    compaction,
    resting,
)
from sagascope_collector.store.database import Database
from sagascope_collector.store.opening import MEMORY
from support.otlp import NOON, SECOND, log, logs, of_saga, span, traces

from .conftest import append

SECRET = b"Lovelace"
"""In everything that tells of the sagas that are forgotten."""

GONE = [SagaId("", f"{SECRET.decode()}-{number}") for number in range(6)]
KEPT = [SagaId("", f"other-{number}") for number in range(6)]
OVER, OPEN, HOT = GONE[:2], GONE[2:4], GONE[4:]

LATER = NOON + 3600 * SECOND

KILLED = """
import os, signal, sys
from sagascope_collector.records import SagaId
from sagascope_collector.store import DuckDBStore
from sagascope_collector.store.database import Database
store, left = DuckDBStore(sys.argv[1], clock=lambda: int(sys.argv[2])), int(sys.argv[3])
borrowed, exchange = Database._borrowed, Database._exchange
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def counted(self):
    global left
    left -= 1
    left or die()
    return borrowed(self)
def exchanged(self, new):
    exchange(self, new)
    left > 0 or die()
Database._borrowed, Database._exchange = counted, exchanged
store.forget([SagaId("", each) for each in sys.argv[5:]], [sys.argv[4]])
print(f"done {left}", flush=True)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few summaries be many."""
    monkeypatch.setattr(resting, "TOGETHER", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def telemetry(id_: SagaId, number: int) -> tuple[object, object]:
    said = of_saga(id_.id) | {"saga.key.customer": f"{id_.id} and sons"}
    own = span(number, trace=number, attributes=said, links=[(99, 1, said | of_saga(KEPT[0].id))])
    return traces(own), logs(log(f"for {id_.id}", attributes=said))


def fill(store: DuckDBStore) -> None:
    """Sagas at rest, open, and young, of each kind; an incident, alerts, and what was learned."""
    for number, id_ in enumerate((*OVER, *OPEN, *KEPT), 1):
        append(store, *telemetry(id_, number))
    named = [(50, 1, {"saga.id": OPEN[0].id, "saga.key.customer": OPEN[0].id}), (51, 1, of_saga(KEPT[1].id))]
    append(store, traces(span(70, trace=70, attributes=of_saga(KEPT[2].id), links=named)))
    store.seal()
    ids = [*OVER, *OPEN, *KEPT]
    store.changed_ids(1_000)
    store.put_summaries(ids, [row(id_, is_over=id_ in (*OVER, *KEPT)) for id_ in ids])
    while store.tend():
        pass
    store.put_lessons([LessonRow(row(id_).key, NOON, f'"{id_.id}"') for id_ in ids], 100)
    document = orjson.dumps({"key": "i1", "error": f"for {OPEN[0].id}", "examples": [OPEN[0].id], "note": "n"}).decode()
    store.incidents.keep(
        {"i1": document, "i2": document.replace("Love", "Like").replace("i1", "i2")},
        [change("opened"), change("noted")],
    )
    told = Told("w", "i1", NOON, 1, False, None)
    store.alerts.tell([told], [Notification("n1", "w", NOON, "opened", document)])
    for number, id_ in enumerate(HOT, 30):
        append(store, *telemetry(id_, number))


def change(what: str) -> Change:
    return Change("i1", NOON, what, None, f"call {OPEN[1].id}" if what == "noted" else "", 2)


def row(id_: SagaId, *, is_over: bool = True) -> SagaRow:
    stake = (Stake("EUR", Decimal(5), Decimal(0)),)
    stands = Standing("i1", "debit", "wallet", "forward", "hung", "f", f"for {id_.id}", "resume", NOON, stake)
    key = SagaKey(id_.environment, "payment", id_.id, "")
    keys, document = {"customer": f"{id_.id} and sons"}, orjson.dumps({"id": id_.id}).decode()
    ended, reason, standing = (NOON, None, None) if is_over else (None, "hung", stands)
    told = "completed" if is_over else "running", reason, None, None, ("debit",), ("wallet",)
    return SagaRow(key, *told, NOON, NOON, ended, None, keys, document, standing=standing)


def holding(path: Path) -> list[str]:
    """What has the secret, compressed or not, as far as it can be read; and any file that has it in its bytes."""
    found = []
    for file in [path, Path(f"{path}.wal"), *Path(f"{path}.d").rglob("*")]:
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += str(pq.read_table(file).to_pylist()).encode()
            if SECRET in content:
                found.append(file.name)
    with duckdb.connect(str(path)) as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            if SECRET.decode() in str(connection.execute(f"SELECT {table}::VARCHAR FROM {table}").fetchall()):
                found.append(table)
    return sorted(found)


def opened(path: Path) -> DuckDBStore:
    return DuckDBStore(str(path), clock=lambda: LATER)


@pytest.fixture
def filled(path: Path) -> Path:
    store = opened(path)
    fill(store)
    store.close()
    tables = {"sagas", "lessons", "incidents", "incident_changes", "alert_notifications", "standing", "stakes"}
    assert tables | {path.name, "shelf-00000001.parquet", "hot-00000002"} <= set(holding(path))
    return path


def looked_at(path: Path, before: dict[SagaId, object]) -> None:
    assert holding(path) == []
    store = opened(path)
    assert store.facts([*GONE, *KEPT]) == before
    assert {each.key.id for each in store.saga_rows(SagaFilter(), limit=100).rows} == {each.id for each in KEPT}
    assert store.search(GONE[0].id, limit=5) == []
    assert not store.has_expired(GONE[0].id)
    assert not store.has_trace(f"{1:032x}")
    assert not Path(f"{path}.anew").exists()
    assert store.incidents.groups() == []
    assert set(store.incidents.kept()) == {"i1", "i2"}
    assert "Likelace" in store.incidents.kept()["i2"]
    assert len(store.lessons()) == len(KEPT)
    store.close()


def test_nothing_of_what_is_forgotten_is_left_in_any_file(filled: Path) -> None:
    store = opened(filled)
    assert store.forget(GONE, [SECRET.decode()]) == 2 * len(GONE)
    after = store.facts(KEPT)
    (span_,) = [each for each in after[KEPT[2]].spans if each.trace_id == f"{70:032x}"]
    assert [each.attributes["saga.id"] for each in span_.links] == [KEPT[1].id]
    assert store.changed().sagas <= len(KEPT)
    store.close()
    looked_at(filled, after)


def test_what_was_killed_in_the_midst_is_done_at_the_next_start(filled: Path, tmp_path: Path) -> None:
    store = opened(filled)
    facts = store.facts(KEPT)
    store.close()
    total = _forgotten(_copy(filled, tmp_path / "whole"), 10_000)
    for at in (4, *(total * part // 6 for part in (1, 3, 5)), 0):
        path = _copy(filled, tmp_path / f"killed-{at}")
        assert _forgotten(path, at) is None
        opened(path).close()
        store = opened(path)
        after = store.facts(KEPT)
        store.close()
        assert after.keys() == facts.keys()
        assert [len(each.spans) + len(each.logs) for each in after.values()] == [
            len(each.spans) + len(each.logs) - _by_links(id_) for id_, each in facts.items()
        ]
        looked_at(path, after)


def _by_links(id_: SagaId) -> int:
    """Spans of forgotten sagas that were a saga's by their links."""
    return len(GONE) if id_ == KEPT[0] else 0


def _copy(filled: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copyfile(filled, folder / filled.name)
    shutil.copytree(f"{filled}.d", folder / f"{filled.name}.d")
    return folder / filled.name


def _forgotten(path: Path, at: int) -> int | None:
    """Be killed at a call of the database, 0: when the file was exchanged; how many calls there were, if not killed."""
    command = [sys.executable, "-c", KILLED, str(path), str(LATER), str(at), SECRET.decode(), *(i.id for i in GONE)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, timeout=120)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return at - int(done.stdout.split()[-1])


def test_what_the_disk_did_not_take_is_ended_by_asking_again(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(filled)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "copy_to", _no_room)
        with pytest.raises(StoreUnavailable):
            store.forget(GONE, [SECRET.decode()])
    assert store.facts(GONE) == {}
    assert store.forget([], []) == 0
    after = store.facts(KEPT)
    store.close()
    looked_at(filled, after)


def _no_room(_: Database, file: Path) -> None:
    file.write_bytes(SECRET)
    raise StoreUnavailable("No room.")


def test_a_chunk_that_is_half_made_is_not_left_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MANY", 1)
    store = opened(path)
    for number, id_ in enumerate((*GONE, *KEPT), 1):
        append(store, *telemetry(id_, number))
        store.seal()
    assert store._compaction.step()
    made = max(int(each.name[:8]) for each in Path(f"{path}.d").glob("*.parquet"))
    assert store.forget(GONE, []) == 2 * len(GONE)
    counted = {each.entry.number for each in store._tiers.view.chunks}
    assert made not in counted
    assert {int(each.name[:8]) for each in Path(f"{path}.d").glob("*.parquet")} == counted
    store.close()
    assert holding(path) == []


def test_a_summary_of_facts_that_were_forgotten_meanwhile_is_not_kept(store: Store) -> None:
    append(store, *telemetry(GONE[0], 1))
    store.changed_ids(10)
    late = row(GONE[0])
    store.forget([GONE[0]], [])
    store.put_summaries([GONE[0]], [late])
    assert store.saga_rows(SagaFilter(), limit=10).rows == []
    append(store, *telemetry(GONE[0], 2))
    assert store.changed_ids(10) == [GONE[0], KEPT[0]] or set(store.changed_ids(10)) == {GONE[0], KEPT[0]}
    store.put_summaries([GONE[0]], [late])
    assert len(store.saga_rows(SagaFilter(), limit=10).rows) == 1


def test_others_go_on_while_the_file_is_written_anew(path: Path) -> None:
    store, over = opened(path), threading.Event()
    fill(store)
    failed: list[BaseException] = []

    def work(numbers: Iterator[int]) -> None:
        try:
            while not over.is_set():
                number = next(numbers)
                append(store, traces(span(number, trace=number, attributes=of_saga(KEPT[3].id))))
                store.saga_rows(SagaFilter(), limit=10)
                with store._database.transaction():
                    store.stay_alive()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(iter(range(1_000, 10**9)),))]
    threads += [threading.Thread(target=_read, args=(store, over, failed)) for _ in range(2)]
    for each in threads:
        each.start()
    for _ in range(3):
        store._database.rewrite()
    assert store.forget(GONE, []) == 2 * len(GONE)
    over.set()
    for each in threads:
        each.join()
    assert not failed
    assert store.facts(GONE) == {}
    store.close()


def _read(store: Store, over: threading.Event, failed: list[BaseException]) -> None:
    try:
        while not over.is_set():
            store.facts(KEPT)
            store.incidents.groups()
    except BaseException as error:
        failed.append(error)


def test_where_backups_are_is_remembered(path: Path) -> None:
    store = DuckDBStore(str(path), clock=iter(range(100)).__next__, memory_bytes=MEMORY)
    store.note_backup("/mnt/first.tar")
    store.note_backup("/mnt/second.tar")
    store.note_backup("/mnt/first.tar")
    assert store.backups(0) == ["/mnt/second.tar", "/mnt/first.tar"]
    assert store.backups(3) == ["/mnt/first.tar"]
    assert store.backups(99) == []
    store.close()
