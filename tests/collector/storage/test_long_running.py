"""Sagas that go on for long: their records are moved together, and no reader sees anything but all of them."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sagascope_collector.incident_records import FailedSaga, OutcomePeriod
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.storage import RetentionPolicy, SagaRow, Storage, changes, maintenance, statistics
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

from .conftest import append, maintain

pytestmark = pytest.mark.slow

SAGA, BESIDE, NAMESAKE, LINKED, LINKING = (
    SagaId("", "8492"), SagaId("", "beside"), SagaId("test", "8492"), SagaId("", "linked"), SagaId("", "linking")
)  # fmt: skip
ALL = (SAGA, BESIDE, NAMESAKE, LINKED, LINKING)

NOW = [NOON]
TEST = resource("ledger", deployment_environment_name="test")


@pytest.fixture(autouse=True)
def soon(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets records that lie apart be moved soon."""
    monkeypatch.setattr(changes, "MERGE_GAP", 0)
    monkeypatch.setattr(maintenance, "LONG_RUNNING_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(statistics, "COUNT_INTERVAL_SECONDS", 0.0)
    NOW[0] = NOON


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    opened = Storage(str(path), clock=lambda: NOW[0], keep=RetentionPolicy(seconds=3600))
    yield opened
    opened.close()


def summarise(storage: Storage, *, is_ended: bool = False) -> None:
    ids = storage.changes.claim(100)
    storage.sagas.put(ids, [row(each, is_ended=is_ended) for each in ids])


def row(id_: SagaId, *, is_ended: bool = False) -> SagaRow:
    key = SagaKey(id_.environment, "payment", id_.id, "")
    status, ended = ("completed", NOON) if is_ended else ("running", None)
    return SagaRow(key, status, None, None, None, (), (), NOON, NOON, ended, None, {}, "{}")


def retry(storage: Storage, first: int, last: int) -> None:
    """A retry at a time, with records of others between, and links to and from the saga now and then."""
    for number in range(first, last):
        said = of_saga(SAGA.id)
        links = [(1, 1, of_saga(LINKED.id))] if number % 9 == 4 else []
        append(storage, traces(span(number, trace=number, attributes=said, links=links)))
        append(storage, traces(span(1_000 + number, trace=1_000 + number, attributes=of_saga(BESIDE.id))))
        append(storage, logs(log(f"{number}", attributes=said)))
        linking = [(1, 1, said)] if number % 9 == 7 else []
        append(storage, traces(span(2_000 + number, trace=2_000, attributes=of_saga(LINKING.id), links=linking)))
        append(storage, traces(span(3_000 + number, trace=3_000, attributes=said), of=TEST))
        summarise(storage)


def found(storage: Storage) -> dict[SagaId, tuple[list[str], list[str]]]:
    return {id_: _of(each) for id_, each in storage.lookup.facts(ALL).items()}


def _of(facts: Facts) -> tuple[list[str], list[str]]:
    return sorted(f"{each.span_id} {each.mark}" for each in facts.spans), sorted(str(each.body) for each in facts.logs)


def moved(storage: Storage) -> int:
    return sum(storage.database.rows(f"SELECT count(*) FROM long_running_{kind}")[0][0] for kind in ("spans", "logs"))


def test_facts_are_the_same_before_during_and_after_records_are_moved(storage: Storage) -> None:
    retry(storage, 1, 15)
    before, failed, stopping = found(storage), list[BaseException](), threading.Event()
    reads = [0]

    def read() -> None:
        try:
            while not stopping.is_set():
                assert found(storage) == before
                assert {id_: _of(each) for id_, each in storage.lookup.facts_called(SAGA.id).items()} == {
                    each: before[each] for each in (SAGA, NAMESAKE)
                }
                reads[0] += 1
        except BaseException as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    maintain(storage)
    seen = reads[0]
    while reads[0] < seen + 2 and not failed:
        threading.Event().wait(0.005)
    stopping.set()
    reader.join()
    assert not failed
    assert moved(storage) > 2 * 14
    assert found(storage) == before
    assert len(storage.sagas.bounds([SAGA])[SAGA].intervals) < 12


def test_only_readers_of_a_saga_wait_while_its_records_are_moved(storage: Storage) -> None:
    retry(storage, 1, 15)
    before, where = found(storage), storage.sagas.bounds([SAGA])[SAGA]
    with ThreadPoolExecutor(2) as readers:
        with storage.sagas.writing, storage.sagas.moving(SAGA, where):
            storage.database.rows("SELECT 1")
            waiting = readers.submit(lambda: storage.lookup.facts([SAGA]))
            others = readers.submit(lambda: storage.lookup.facts([BESIDE, NAMESAKE])).result(timeout=30)
            assert {id_: _of(each) for id_, each in others.items()} == {each: before[each] for each in others}
            assert len(others) == 2
            assert not waiting.done()
        assert _of(waiting.result(timeout=30)[SAGA]) == before[SAGA]


def test_records_are_moved_again_with_those_that_came_since(storage: Storage, path: Path) -> None:
    for part in range(3):
        retry(storage, 14 * part + 1, 14 * part + 14)
        before = found(storage)
        maintain(storage)
        assert found(storage) == before
    assert len(before[SAGA][0]) == 3 * 13 + len([number for number in (7, 16, 25, 34) if number % 14])
    storage.close()
    reopened = Storage(str(path))
    assert found(reopened) == before
    assert reopened.search(f"{1:032x}", limit=5)[0][1].key.id == SAGA.id
    exported = [id_ for table in reopened.lookup.between("spans", 0, 2**63) for id_ in table["saga_id"].to_pylist()]
    assert exported.count(SAGA.id) == 2 * 39
    reopened.close()


def test_an_error_of_a_moved_saga_is_found_by_its_words(storage: Storage) -> None:
    for number in range(1, 20):
        append(storage, traces(span(number, trace=number, attributes=of_saga(SAGA.id), error="the bank is away")))
        append(storage, traces(span(1_000 + number, trace=1_000 + number, attributes=of_saga(BESIDE.id))))
        summarise(storage)
    maintain(storage)
    append(storage, traces(span(5_000, trace=5_000, attributes=of_saga(BESIDE.id))))
    assert moved(storage)
    newest = storage.records.seq
    assert storage.lookup.sagas_with_text("Bank is away", newest, newest, 10, moved=True) == [SAGA]
    assert storage.lookup.sagas_with_text("Bank is away", newest, newest, 10, moved=False) == []


def test_statistics_count_moved_spans_once(storage: Storage) -> None:
    said = of_saga(SAGA.id, role="step", step_name="debit")
    for number in range(1, 20):
        append(storage, traces(span(number, trace=number, attributes=said | {"saga.step.attempt": number})))
        append(storage, traces(span(1_000 + number, trace=1_000 + number, attributes=of_saga(BESIDE.id))))
        summarise(storage)
    maintain(storage)
    assert moved(storage) == 2 * 19
    (counted,) = [each for each in storage.statistics.steps("payment", None, 0, 3600) if each.step == "debit"]
    assert counted.succeeded == 19


def test_moved_spans_count_among_the_failures_at_a_step(storage: Storage) -> None:
    said = of_saga(SAGA.id, role="step", step_name="debit")
    for number in range(1, 20):
        append(storage, traces(span(number, trace=number, attributes=said, error="declined")))
        append(storage, traces(span(1_000 + number, trace=1_000 + number, attributes=of_saga(BESIDE.id))))
        summarise(storage)
    period = ("", "payment", "debit", NOON - 3600 * SECOND, NOON + 3600 * SECOND)

    def failures() -> tuple[list[OutcomePeriod], Sequence[FailedSaga]]:
        return storage.outcomes.step_sagas(*period), storage.outcomes.failed_at_step(*period, 10)

    before = failures()
    assert [(each.ended, each.failed) for each in before[0]] == [(1, 1)]
    assert [each.key.id for each in before[1]] == [SAGA.id]
    maintain(storage)
    assert storage.database.rows("SELECT count(*) FROM span_records WHERE saga_id = '8492'") == [(0,)]
    assert failures() == before


def test_a_span_without_its_saga_s_name_counts_for_the_type_of_the_summary(storage: Storage) -> None:
    unnamed = {"saga.id": "77", "saga.role": "step", "saga.step.name": "debit"}
    append(storage, traces(span(1, attributes=unnamed, error="declined")))
    summarise(storage)
    times = ("debit", NOON - 3600 * SECOND, NOON + 3600 * SECOND)
    for name, ids in (("refund", []), ("payment", ["77"])):
        assert [each.failed for each in storage.outcomes.step_sagas("", name, *times)] == [1 for _ in ids]
        assert [each.key.id for each in storage.outcomes.failed_at_step("", name, *times, 10)] == ids


def test_nothing_is_left_of_a_moved_saga_that_expired(storage: Storage) -> None:
    retry(storage, 1, 15)
    maintain(storage)
    assert moved(storage)
    storage.sagas.put(list(ALL), [row(each, is_ended=True) for each in ALL])
    NOW[0] = NOON + 2 * 3600 * SECOND
    maintain(storage)
    assert found(storage) == {}
    for table in ("span_records", "log_records", "linked_spans", "long_running_spans", "long_running_logs"):
        assert storage.database.rows(f"SELECT count(*) FROM {table}") == [(0,)], table


def test_nothing_is_left_of_a_moved_saga_that_was_erased(storage: Storage) -> None:
    retry(storage, 1, 15)
    maintain(storage)
    before = found(storage)
    storage.erasure.erase([SAGA], [])
    after = found(storage)
    assert after.keys() == before.keys() - {SAGA, LINKED}  # of which all records were spans of the other
    assert [after[each] for each in (BESIDE, NAMESAKE)] == [before[each] for each in (BESIDE, NAMESAKE)]
    assert storage.database.rows("SELECT count(*) FROM long_running_spans WHERE saga_id = '8492'") in ([(0,)], [(14,)])


def test_a_saga_that_cannot_be_moved_stops_neither_others_nor_maintenance(storage: Storage) -> None:
    for number in range(1, 30):
        append(storage, traces(span(number, trace=number, attributes=of_saga("a"), links=[(1, 1, of_saga("b"))])))
        append(storage, traces(span(1_000 + number, trace=1_000 + number, attributes=of_saga("c"))))
        summarise(storage)
    ids = [SagaId("", each) for each in "abc"]
    before = storage.lookup.facts(ids)
    maintain(storage)
    assert {id_: _of(each) for id_, each in storage.lookup.facts(ids).items()} == {
        id_: _of(each) for id_, each in before.items()
    }
    assert storage.database.rows("SELECT DISTINCT saga_id FROM long_running_spans") == [("c",)]
