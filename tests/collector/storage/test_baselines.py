"""What finished sagas taught is kept: one row a saga, the latest of each name."""

from pathlib import Path

from sagascope_collector.records import SagaKey
from sagascope_collector.storage import BaselineRow, Storage


def baseline(saga_id: str, ended_at: int, *, name: str = "payment", run: str = "", document: str = "") -> BaselineRow:
    return BaselineRow(SagaKey("prod", name, saga_id, run), ended_at, document or f"{name} {saga_id} {run}".strip())


def test_a_saga_has_one_baseline_the_last_that_was_put(storage: Storage) -> None:
    storage.baselines.put([baseline("1", 5), baseline("2", 6), baseline("1", 7, run="again")], keep=10)
    storage.baselines.put([baseline("1", 9, document="first"), baseline("1", 9, document="anew")], keep=10)
    assert sorted(storage.baselines.all()) == ["anew", "payment 1 again", "payment 2"]


def test_of_each_name_those_that_ended_last_are_kept(storage: Storage) -> None:
    storage.baselines.put([baseline(str(number), number) for number in range(5)], keep=3)
    storage.baselines.put([baseline("9", 2, name="refund")], keep=3)
    assert sorted(storage.baselines.all()) == ["payment 2", "payment 3", "payment 4", "refund 9"]


def test_of_those_that_ended_at_one_moment_no_more_are_kept(storage: Storage) -> None:
    for number in range(10):
        storage.baselines.put([baseline(str(number), 7)], keep=3)
    assert len(storage.baselines.all()) == 3


def test_nothing_to_keep_is_nothing_done(storage: Storage) -> None:
    storage.baselines.put([], keep=3)
    assert storage.baselines.all() == []


def test_baselines_outlive_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "storage.duckdb")
    first = Storage(path)
    first.baselines.put([baseline("1", 2**64 - 1)], keep=3)
    first.close()
    second = Storage(path)
    assert second.baselines.all() == ["payment 1"]
    second.close()
