"""Erasure: nothing of a saga is left in any byte of the database's files, whenever the process is killed."""

import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import orjson
import pytest

from sagascope_collector.api import database
from sagascope_collector.client import schemas
from sagascope_collector.errors import StorageUnavailable, Unavailable
from sagascope_collector.incident_records import AlertState, AmountAtRisk, IncidentChange, IncidentSaga, Notification
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import BaselineRow, SagaRow, Storage, lookup as index, maintenance, statistics
from sagascope_collector.storage.changes import Bounds
from sagascope_collector.storage.copies import Rewriting
from support import preloaded
from support.otlp import NOON, SECOND, log, logs, of_saga, span, traces

from .conftest import append, maintain

pytestmark = pytest.mark.usefixtures("eager")

SECRET = "Lovelace"
"""In everything that names the sagas that are erased."""

GONE = [SagaId("", f"{SECRET}-{number}") for number in range(6)]
OTHERS = [SagaId("", f"other-{number}") for number in range(6)]
ENDED, OPEN, CHANGED = GONE[:2], GONE[2:4], GONE[4:]

LATER = NOON + 3600 * SECOND

KILLED = """
import os, signal, sys
from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage
from sagascope_collector.storage.database import Database
storage, left = Storage(sys.argv[1], clock=lambda: int(sys.argv[2])), int(sys.argv[3])
borrowed, replace = Database._thread_cursor, Database.replace_with
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def counted(self):
    global left
    left -= 1
    left or die()
    return borrowed(self)
def replaced(self, new):
    replace(self, new)
    left > 0 or die()
Database._thread_cursor, Database.replace_with = counted, replaced
storage.erasure.erase([SagaId("", each) for each in sys.argv[5:]], [sys.argv[4]])
print(left, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def telemetry(id_: SagaId, number: int) -> tuple[object, object]:
    said = of_saga(id_.id) | {"saga.key.customer": f"{id_.id} and sons"}
    own = span(number, trace=number, attributes=said, links=[(99, 1, said | of_saga(OTHERS[0].id))])
    return traces(own), logs(log(f"for {id_.id}", attributes=said))


def fill(storage: Storage) -> None:
    """Sagas that ended, are open, and have only just changed; an incident, alerts, and what was learned."""
    for number, id_ in enumerate((*ENDED, *OPEN, *OTHERS), 1):
        append(storage, *telemetry(id_, number))
    named = [(50, 1, {"saga.id": OPEN[0].id, "saga.key.customer": OPEN[0].id}), (51, 1, of_saga(OTHERS[1].id))]
    append(storage, traces(span(70, trace=70, attributes=of_saga(OTHERS[2].id), links=named)))
    ids = [*ENDED, *OPEN, *OTHERS]
    storage.changes.claim(1_000)
    storage.sagas.put(ids, [row(id_, is_ended=id_ in (*ENDED, *OTHERS)) for id_ in ids])
    maintain(storage)
    storage.baselines.put([BaselineRow(row(id_).key, NOON, f'"{id_.id}"') for id_ in ids], 100)
    document = orjson.dumps({"key": "i1", "error": f"for {OPEN[0].id}", "examples": [OPEN[0].id], "note": "n"}).decode()
    storage.incidents.store(
        {"i1": document, "i2": document.replace("Love", "Like").replace("i1", "i2")},
        [change("opened"), change("noted")],
    )
    state = AlertState("w", "i1", NOON, 1, False, None)
    storage.alerts.put([state], [Notification("n1", "w", NOON, "opened", document)])
    for number, id_ in enumerate(CHANGED, 30):
        append(storage, *telemetry(id_, number))


def change(what: str) -> IncidentChange:
    return IncidentChange("i1", NOON, what, None, f"call {OPEN[1].id}" if what == "noted" else "", 2)


def row(id_: SagaId, *, is_ended: bool = True) -> SagaRow:
    amounts = (AmountAtRisk("EUR", Decimal(5), Decimal(0)),)
    stuck = IncidentSaga("i1", "debit", "wallet", "forward", "hung", "f", f"for {id_.id}", "resume", NOON, amounts)
    key = SagaKey(id_.environment, "payment", id_.id, "")
    keys, document = {"customer": f"{id_.id} and sons"}, orjson.dumps({"id": id_.id}).decode()
    ended, reason, incident = (NOON, None, None) if is_ended else (None, "hung", stuck)
    said = "completed" if is_ended else "running", reason, None, None, ("debit",), ("wallet",)
    return SagaRow(key, *said, NOON, NOON, ended, None, keys, document, incident=incident)


def holding(path: Path, secret: str = SECRET) -> list[str]:
    """What has the secret: tables, and files that have it in their bytes."""
    found = [each.name for each in path.parent.glob(f"{path.name}*") if secret.encode() in each.read_bytes()]
    with duckdb.connect(str(path)) as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            if secret in str(connection.execute(f"SELECT {table}::VARCHAR FROM {table}").fetchall()):
                found.append(table)
        hashes = [f"md5_number_lower('{each.id}')" for each in GONE]
        for table, column in (
            ("ended_terms", "term_hash"),
            ("recent_ended_terms", "term_hash"),
            ("ended_sagas", "id_hash"),
        ):
            query = f"SELECT count(*) FROM {table} WHERE {column} IN ({', '.join(hashes)})"
            if secret == SECRET and connection.execute(query).fetchall() != [(0,)]:
                found.append(f"hash in {table}")
        if secret == SECRET and connection.execute("SELECT count(*) FROM trace_commits").fetchall() != [(0,)]:
            found.append("hash in trace_commits")
    return sorted(found)


def opened(path: Path) -> Storage:
    return Storage(str(path), clock=lambda: LATER)


@pytest.fixture
def filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as context:
        context.setattr(index, "INDEX_RECORDS", 4)
        storage = opened(path)
        fill(storage)
        maintain(storage)
        storage.close()
    assert "hash in trace_commits" in holding(path)
    tables = {"open_sagas", "ended_sagas", "baselines", "incidents", "incident_changes", "alert_notifications"}
    assert tables | {path.name, "incident_sagas", "span_records", "log_records"} <= set(holding(path))
    return path


def check(path: Path, before: dict[SagaId, object]) -> None:
    """Whether nothing is left of what was erased, and everything of the others."""
    assert holding(path) == []
    assert [each.name for each in path.parent.glob(f"{path.name}*")] == [path.name]
    storage = opened(path)
    assert storage.lookup.facts([*GONE, *OTHERS]) == before
    assert {each.key.id for each in storage.listing.page(SagaFilters(), limit=100).rows} == {each.id for each in OTHERS}
    assert storage.search(GONE[0].id, limit=5) == []
    assert [each.key.id for _, each in storage.search(OTHERS[0].id, limit=5)] == [OTHERS[0].id]
    assert not storage.retention.has_expired(GONE[0].id)
    assert not storage.lookup.sagas_with(f"{1:032x}")
    assert storage.incidents.groups() == []
    assert set(storage.incidents.documents()) == {"i1", "i2"}
    assert "Likelace" in storage.incidents.documents()["i2"]
    assert len(storage.baselines.all()) == len(OTHERS)
    storage.close()


def test_nothing_of_an_erased_saga_is_left_in_any_file(filled: Path) -> None:
    storage = opened(filled)
    assert storage.erasure.erase(GONE, [SECRET]) == 2 * len(GONE)
    after = storage.lookup.facts(OTHERS)
    (linking,) = [each for each in after[OTHERS[2]].spans if each.trace_id == f"{70:032x}"]
    assert [each.attributes["saga.id"] for each in linking.links] == [OTHERS[1].id]
    assert storage.changes.backlog().sagas <= len(OTHERS)
    assert SECRET.encode() not in Path(f"{filled}").read_bytes()
    assert not Path(f"{filled}.wal").exists() or SECRET.encode() not in Path(f"{filled}.wal").read_bytes()
    storage.close()
    check(filled, after)


def test_an_erasure_that_was_killed_is_carried_out_at_the_next_start(filled: Path, tmp_path: Path) -> None:
    storage = opened(filled)
    facts = storage.lookup.facts(OTHERS)
    storage.close()
    total = _killed(_copy(filled, tmp_path / "whole"), 10_000)
    assert total is not None
    for at in (4, *(total * part // 6 for part in (1, 3, 5)), 0):
        path = _copy(filled, tmp_path / f"killed-{at}")
        assert _killed(path, at) is None
        opened(path).close()
        storage = opened(path)
        after = storage.lookup.facts(OTHERS)
        storage.close()
        assert after.keys() == facts.keys()
        assert [len(each.spans) + len(each.logs) for each in after.values()] == [
            len(each.spans) + len(each.logs) - (len(GONE) if id_ == OTHERS[0] else 0) for id_, each in facts.items()
        ]
        check(path, after)


def _copy(filled: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copyfile(filled, folder / filled.name)
    return folder / filled.name


def _killed(path: Path, at: int) -> int | None:
    """Kills an erasure at a call of the database, 0: when the file was exchanged; how many calls there were, if not."""
    done = preloaded.run("-c", KILLED, str(path), str(LATER), str(at), SECRET, *(each.id for each in GONE))
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return at - int(done.stdout.split()[-1])


def _no_space(*_: object, **__: object) -> Iterator[None]:
    raise StorageUnavailable("No space.")


def test_what_a_full_disk_prevented_is_done_by_the_next_start_or_erasure(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_restarted in (True, False):
        path = _copy(filled, tmp_path / str(is_restarted))
        storage = opened(path)
        with monkeypatch.context() as patched:
            patched.setattr(Rewriting, "copy", _no_space)
            with pytest.raises(StorageUnavailable):
                storage.erasure.erase(GONE, [SECRET])
        assert storage.lookup.facts(GONE) == {}
        if is_restarted:
            storage.close()
            storage = opened(path)
        else:
            storage.erasure.erase([SagaId("", "never")], [])
        after = storage.lookup.facts(OTHERS)
        storage.close()
        check(path, after)


def test_requests_that_come_together_share_one_copy_and_each_learns_what_became_of_it(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(filled)
    copies, copy = list[Path](), Rewriting.copy

    def counted(self: Rewriting, new: Path, *given: object, **more: object) -> object:
        copies.append(new)
        return copy(self, new, *given, **more)

    monkeypatch.setattr(Rewriting, "copy", counted)
    removed: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=number: removed.update({n: storage.erasure.erase([GONE[n]], [SECRET])}))
        for number in range(len(GONE))
    ]
    with storage._maintaining:
        for each in threads:
            each.start()
        while len(storage.erasure._waiting) < len(GONE):
            pass
    for each in threads:
        each.join()
    assert removed == dict.fromkeys(range(len(GONE)), 2)
    assert len(copies) == 1
    after = storage.lookup.facts(OTHERS)
    storage.close()
    check(filled, after)


def test_no_request_succeeds_when_the_common_copy_failed(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(filled)
    monkeypatch.setattr(Rewriting, "copy", _no_space)
    said: list[object] = []

    def erase(number: int) -> None:
        try:
            said.append(storage.erasure.erase([GONE[number]], []))
        except StorageUnavailable as error:
            said.append(str(error))

    threads = [threading.Thread(target=erase, args=(number,)) for number in range(3)]
    with storage._maintaining:
        for each in threads:
            each.start()
        while len(storage.erasure._waiting) < 3:
            pass
    for each in threads:
        each.join()
    assert said == ["No space."] * 3
    storage.close()


def test_records_of_a_long_running_saga_are_erased_where_they_were_moved_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagascope_collector.storage.changes.MERGE_GAP", 0)
    monkeypatch.setattr(maintenance, "LONG_RUNNING_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(statistics, "COUNT_INTERVAL_SECONDS", 0.0)
    storage = opened(path)
    said = of_saga(GONE[0].id)
    for number in range(1, 20):
        append(storage, traces(span(number, trace=number, attributes=said)), logs(log(f"{number}", attributes=said)))
        append(storage, traces(span(100 + number, trace=100 + number, attributes=of_saga(OTHERS[0].id))))
        storage.changes.claim(10)
        storage.sagas.put([GONE[0], OTHERS[0]], [row(GONE[0], is_ended=False), row(OTHERS[0], is_ended=False)])
    storage.sagas.put([GONE[0]], [row(GONE[0], is_ended=False)])
    maintain(storage)
    assert storage.database.rows("SELECT count(*) FROM long_running_spans WHERE saga_id LIKE 'Love%'") != [(0,)]
    assert storage.sagas.bounds([GONE[0]])[GONE[0]] != Bounds()
    assert storage.erasure.erase([GONE[0]], []) == 38
    storage.close()
    assert holding(path) == []
    storage = opened(path)
    assert len(storage.lookup.facts([OTHERS[0]])[OTHERS[0]].spans) == 19
    storage.close()


def test_a_summary_made_of_records_that_were_erased_meanwhile_is_not_kept(storage: Storage) -> None:
    append(storage, *telemetry(GONE[0], 1))
    storage.changes.claim(10)
    late = row(GONE[0])
    storage.erasure.erase([GONE[0]], [])
    storage.sagas.put([GONE[0]], [late])
    assert storage.listing.page(SagaFilters(), limit=10).rows == []
    append(storage, *telemetry(GONE[0], 2))
    assert set(storage.changes.claim(10)) == {GONE[0], OTHERS[0]}
    storage.sagas.put([GONE[0]], [late])
    assert len(storage.listing.page(SagaFilters(), limit=10).rows) == 1


def test_bounds_that_are_read_while_a_saga_is_erased_are_forgotten(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(storage, *telemetry(GONE[0], 1))
    storage.changes.claim(10)
    storage.sagas.put([GONE[0]], [row(GONE[0])])
    drop, read = storage.changes.drop, set[SagaId]()

    def dropped_and_read(ids: Sequence[SagaId]) -> None:
        drop(ids)
        reader = threading.Thread(target=lambda: read.update(storage.sagas.bounds(ids)))
        reader.start()
        reader.join()

    monkeypatch.setattr(storage.changes, "drop", dropped_and_read)
    storage.erasure.erase([GONE[0]], [])
    assert read == {GONE[0]}
    assert storage.sagas.bounds(read) == {}


def test_an_erased_saga_does_not_count_among_the_baselines_to_keep(storage: Storage) -> None:
    storage.baselines.put([BaselineRow(row(GONE[0]).key, LATER, "gone")], 1)
    storage.erasure.erase([GONE[0]], [])
    storage.baselines.put([BaselineRow(row(OTHERS[0]).key, NOON, "other")], 1)
    assert storage.baselines.all() == ["other"]


def test_copies_that_a_killed_process_left_are_removed_at_the_next_start(path: Path) -> None:
    opened(path).close()
    for name in ("copy-17-1", "copy-17-1.wal", "rewriting", "rewriting.wal"):
        Path(f"{path}.{name}").write_bytes(b"half")
    opened(path).close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_erased_saga_may_come_again(storage: Storage) -> None:
    append(storage, *telemetry(GONE[0], 1))
    storage.erasure.erase([GONE[0]], [])
    assert append(storage, *telemetry(GONE[0], 1)) == (2, 0)
    assert len(storage.lookup.facts([GONE[0]])[GONE[0]].spans) == 1


def test_appending_and_reading_go_on_while_the_file_is_rewritten(path: Path) -> None:
    storage, stopping = opened(path), threading.Event()
    fill(storage)
    failed, sent = list[BaseException](), list[int]()

    def write(numbers: Iterator[int]) -> None:
        try:
            while not stopping.is_set():
                number = next(numbers)
                append(storage, traces(span(number, trace=number, attributes=of_saga(OTHERS[3].id))))
                sent.append(number)
                storage.outages.record_alive(LATER)
        except BaseException as error:
            failed.append(error)

    def read() -> None:
        try:
            while not stopping.is_set():
                assert len(storage.lookup.facts(OTHERS)) == len(OTHERS)
                storage.listing.page(SagaFilters(), limit=10)
                storage.incidents.groups()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(iter(range(1_000, 10**9)),)), threading.Thread(target=read)]
    for each in threads:
        each.start()
    assert storage.erasure.erase(GONE[:3], []) == 6
    assert storage.erasure.erase(GONE[3:], []) == 6
    stopping.set()
    for each in threads:
        each.join()
    assert not failed
    assert storage.lookup.facts(GONE) == {}
    storage.close()
    assert holding(path, GONE[0].id) == holding(path, GONE[5].id) == []
    storage = opened(path)
    assert {int(each.span_id, 16) for each in storage.lookup.facts([OTHERS[3]])[OTHERS[3]].spans} >= set(sent)
    storage.close()


def test_places_of_backups_are_remembered(path: Path) -> None:
    times = iter(range(100))
    storage = Storage(str(path), clock=times.__next__)
    began = next(times)
    for name in ("first", "second", "first"):
        storage.backups.note(f"/mnt/{name}.tar")
    assert storage.backups.since(0) == ["/mnt/second.tar", "/mnt/first.tar"]
    assert storage.backups.since(began + 3) == ["/mnt/first.tar"]
    assert storage.backups.since(99) == []
    storage.close()


@pytest.mark.parametrize("call", ["preview", "erase"])
def test_sagas_that_are_not_summarized_yet_are_not_passed_over(
    call: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_WAIT_SECONDS", 0.1)
    append(storage, traces(span(1, attributes=of_saga("8492") | {"saga.key.customer": SECRET})))
    eraser = database.Eraser(storage)
    with pytest.raises(Unavailable):
        getattr(eraser, call)(schemas.ErasureRequest(key="customer", value=SECRET, environment=None))
