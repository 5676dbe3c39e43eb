"""A trace is found by the commits that hold it, wherever they are, and the answer is that of reading everything."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import RetentionPolicy, SagaRow, Storage, changes, lookup as index, maintenance
from support.otlp import NOON, SECOND, log, logs, of_saga, span, trace_id, traces

from .conftest import append, maintain

DAY = 86_400
NOW = NOON + 10 * DAY * SECOND

Truth = dict[int, set[SagaId]]
"""The sagas of each trace; records in no saga count as one with no id."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "INDEX_RECORDS", 20)
    monkeypatch.setattr(changes, "MERGE_GAP", 0)
    monkeypatch.setattr(maintenance, "UNASSIGNED_RANGE", 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def opened(path: Path, keep: RetentionPolicy | None = None) -> Storage:
    return Storage(str(path), clock=lambda: NOW, keep=keep or RetentionPolicy())


def fill(storage: Storage, chance: Random, numbers: Iterator[int], commits: int) -> Truth:
    """Stores spans and log records of a few traces, each in many commits, and maintains the storage now and then."""
    truth: Truth = defaultdict(set)
    for _ in range(commits):
        requests = []
        for _ in range(chance.randint(1, 5)):
            trace, saga = chance.randint(1, 12), chance.choice(("", "s1", "s2"))
            attributes = of_saga(saga) if saga else {}
            number = next(numbers)
            if chance.random() < 0.3:
                requests.append(logs(log(f"{number}", trace_id=trace_id(trace), attributes=attributes)))
            else:
                requests.append(traces(span(number, trace=trace, attributes=attributes)))
            truth[trace].add(SagaId("", saga))
        append(storage, *requests)
        if chance.random() < 0.3:
            storage.maintain()
    return truth


def found(storage: Storage) -> Truth:
    return {trace: each for trace in range(1, 14) if (each := storage.lookup.sagas_with(f"{trace:032x}"))}


@pytest.mark.parametrize("seed", range(2))
def test_every_trace_is_found_however_it_is_indexed(path: Path, seed: int) -> None:
    chance, numbers = Random(seed), iter(range(1, 10**6))
    storage, truth = opened(path), defaultdict(set)
    for _ in range(3):
        for trace, sagas in fill(storage, chance, numbers, 30).items():
            truth[trace] |= sagas
        assert found(storage) == truth
        storage.close()
        storage = opened(path)
        assert found(storage) == truth
    ((indexed,),) = storage.database.rows("SELECT count(DISTINCT trace_hash) FROM trace_commits")
    assert indexed > 6
    storage.close()


def test_what_is_kept_for_ever_is_found_after_all_others_expired(path: Path) -> None:
    storage = opened(path, RetentionPolicy(seconds=DAY))
    append(storage, traces(span(1, trace=1, attributes=of_saga("stuck"))), received=NOON)
    for number in range(2, 60):
        append(storage, traces(span(number, trace=number)), received=NOON)
    append(storage, traces(span(100, trace=100)), received=NOW)
    maintain(storage)
    for _ in range(2):
        assert found(storage) == {1: {SagaId("", "stuck")}}
        assert storage.lookup.sagas_with(f"{100:032x}") == {SagaId("", "")}
        storage.close()
        storage = opened(path, RetentionPolicy(seconds=DAY))
    assert storage.database.rows("SELECT count(*) FROM trace_commits")[0][0] < index.INDEX_RECORDS
    storage.close()


def test_an_indexed_trace_is_found_without_reading_other_commits(path: Path) -> None:
    storage = opened(path)
    for number in range(1, 100):
        append(storage, traces(span(number, trace=number)))
    maintain(storage)
    intervals = storage._traces.commits(bytes(15) + b"\x32")
    assert sum(last - first + 1 for first, last in intervals) < 3 * index.INDEX_RECORDS
    storage.close()


def test_a_trace_across_the_end_of_retention_is_found_after_a_restart(path: Path) -> None:
    """A part of the index may begin before the commits that retention removed, and end after them."""
    storage = opened(path)
    append(storage, traces(*(span(number, trace=50) for number in range(1, 9))))
    append(storage, traces(span(9, trace=1, attributes=of_saga("stuck"))))
    append(storage, traces(*(span(number, trace=50) for number in range(10, 30))))
    storage._traces.index()
    storage._traces.delete(10)
    assert storage.lookup.sagas_with(f"{1:032x}") == {SagaId("", "stuck")}
    storage.close()
    storage = opened(path)
    assert storage.lookup.sagas_with(f"{1:032x}") == {SagaId("", "stuck")}
    assert storage.lookup.sagas_with(f"{50:032x}") == {SagaId("", "")}
    storage.close()


def test_a_search_for_a_trace_finds_open_and_ended_sagas(path: Path) -> None:
    storage = opened(path)
    for number, id_ in enumerate(("open", "ended"), start=1):
        append(storage, traces(span(number, trace=9, attributes=of_saga(id_))))
        ended = NOON if id_ == "ended" else None
        key = SagaKey("", "payment", id_, "")
        row = SagaRow(key, "completed", None, None, None, (), (), NOON, NOON, ended, None, {}, "{}")
        storage.sagas.put(storage.changes.claim(10), [row])
    storage.sagas.settle(NOW)
    found = storage.search(f"{9:032x}", limit=10)
    assert sorted((kind, row.key.id) for kind, row in found) == [("trace", "ended"), ("trace", "open")]
    storage.close()
