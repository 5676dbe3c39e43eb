"""What finished sagas taught is kept: one row a saga, the latest of each name."""

from pathlib import Path

from sagascope_collector.records import SagaKey
from sagascope_collector.store import DuckDBStore, LessonRow, Store


def lesson(saga_id: str, ended_at: int, *, name: str = "payment", run: str = "", document: str = "") -> LessonRow:
    return LessonRow(SagaKey("prod", name, saga_id, run), ended_at, document or f"{name} {saga_id} {run}".strip())


def test_a_saga_has_one_lesson_the_last_that_was_put(store: Store) -> None:
    store.put_lessons([lesson("1", 5), lesson("2", 6), lesson("1", 7, run="again")], keep=10)
    store.put_lessons([lesson("1", 9, document="first"), lesson("1", 9, document="anew")], keep=10)
    assert sorted(store.lessons()) == ["anew", "payment 1 again", "payment 2"]


def test_of_each_name_those_that_ended_last_are_kept(store: Store) -> None:
    store.put_lessons([lesson(str(number), number) for number in range(5)], keep=3)
    store.put_lessons([lesson("9", 2, name="refund")], keep=3)
    assert sorted(store.lessons()) == ["payment 2", "payment 3", "payment 4", "refund 9"]


def test_of_those_that_ended_at_one_moment_no_more_are_kept(store: Store) -> None:
    for number in range(10):
        store.put_lessons([lesson(str(number), 7)], keep=3)
    assert len(store.lessons()) == 3


def test_nothing_to_keep_is_nothing_done(store: Store) -> None:
    store.put_lessons([], keep=3)
    assert store.lessons() == []


def test_lessons_outlive_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "store.duckdb")
    first = DuckDBStore(path)
    first.put_lessons([lesson("1", 2**64 - 1)], keep=3)
    first.close()
    second = DuckDBStore(path)
    assert second.lessons() == ["payment 1"]
    second.close()
