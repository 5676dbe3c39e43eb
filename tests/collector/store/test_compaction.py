"""Compaction: large chunks of many small ones, piece by piece, the same for every reader whatever comes between."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sagascope_collector.errors import StoreUnavailable
from sagascope_collector.records import Log, SagaId, Span
from sagascope_collector.store import DuckDBStore, chunkfile, compaction, sealing
from support.otlp import NOON, SECOND, log, logs, of_saga, span, traces

from .conftest import append

SAGAS = 60


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few records be many."""
    for name, value in {"SMALL": 200, "LARGE": 100_000, "MANY": 3, "TOGETHER": 4, "PIECE": 30}.items():
        monkeypatch.setattr(compaction, name, value)
    monkeypatch.setattr(chunkfile, "ROW_GROUP", 7)
    monkeypatch.setattr(sealing, "SMALL", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def filled(path: Path, chunks: int = 4) -> DuckDBStore:
    store, chance = DuckDBStore(str(path)), random.Random(1)
    for part in range(chunks):
        for number in range(SAGAS):
            of = of_saga(f"s{chance.randrange(SAGAS)}")
            links = [(9, 1, of_saga("linked"))] if number % 9 == 0 else []
            at = NOON + part * SECOND + chance.randrange(SECOND)
            told = span(1000 * part + number + 1, trace=number + 1, start=at, attributes=of, links=links)
            append(store, traces(told), logs(log(f"{part} {number}", at=at, attributes=of)))
        store.seal()
    return store


def facts(store: DuckDBStore) -> dict[SagaId, tuple[list[Span], list[Log]]]:
    """What there is of every saga, in an order of its own."""
    return {
        saga: (sorted(each.spans, key=lambda one: one.span_id), sorted(each.logs, key=lambda one: str(one.body)))
        for saga, each in store.facts(ids()).items()
    }


def ids() -> list[SagaId]:
    return [SagaId("", f"s{number}") for number in range(SAGAS)] + [SagaId("", "linked")]


def compacted(store: DuckDBStore) -> int:
    """Do all there is to do; how many pieces that were."""
    steps = 0
    while store._compaction.step():
        steps += 1
    return steps


def test_many_chunks_become_one_and_say_the_same(path: Path) -> None:
    store = filled(path)
    before, known = facts(store), store.has_trace(f"{7:032x}")
    assert compacted(store) > 10
    (made,) = store._tiers.view.chunks
    assert made.entry.records == 4 * 2 * SAGAS
    assert facts(store) == before
    assert store.has_trace(f"{7:032x}") is known is True
    assert append(store, traces(span(1, trace=1, start=NOON + SECOND, attributes=of_saga("s1")))) == (0, 1)
    assert [each["saga_id"] for each in told(made.files["spans"])] == sorted(
        each["saga_id"] for each in told(made.files["spans"])
    )
    store.close()
    again = DuckDBStore(str(path))
    assert facts(again) == before
    assert len(list(Path(f"{path}.d").glob("*.spans.parquet"))) == 1
    again.close()


def told(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path, columns=["saga_id"]).to_pylist()
    return rows


def test_what_is_sealed_merged_or_leaves_in_between_is_lost_by_nobody(path: Path) -> None:
    store = filled(path, 5)
    expected = facts(store)
    gone = SagaId("", "s3")
    for step in range(100):
        if not store._compaction.step():
            break
        if step == 3:
            append(store, traces(span(77_777, trace=77_777, attributes=of_saga("s5"))))
            store.seal()
        if step == 5:
            store._leaving.without([gone])
        assert expected.keys() - facts(store).keys() <= {gone}
    now = facts(store)
    assert now.keys() == expected.keys() - {gone}
    assert len(now[SagaId("", "s5")][0]) == len(expected[SagaId("", "s5")][0]) + 1
    kept = expected.keys() - {gone, SagaId("", "s5"), SagaId("", "linked")}
    assert {each: now[each] for each in kept} == {each: expected[each] for each in kept}
    assert len(store._tiers.view.chunks) < 5
    store.close()


def test_a_fault_in_the_midst_leaves_what_there_was_and_is_made_good(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(path)
    before = facts(store)
    store._compaction.step()
    store._compaction.step()

    def full(*_: object) -> None:
        raise StoreUnavailable("no space")

    with monkeypatch.context() as faulty:
        faulty.setattr(chunkfile, "add", full)
        with pytest.raises(StoreUnavailable, match="no space"):
            store._compaction.step()
    assert facts(store) == before
    assert len(list(Path(f"{path}.d").glob("*.spans.parquet"))) == 4
    compacted(store)
    assert facts(store) == before
    assert len(store._tiers.view.chunks) == 1
    store.close()


def test_it_waits_while_there_is_much_else_to_do_but_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "LOOK", 0.0)
    monkeypatch.setattr(compaction, "IDLE", -1.0)
    store = filled(path)
    assert not store._compaction.step()
    monkeypatch.setattr(compaction, "MANY", 1)
    assert store._compaction.step()
    store.close()
