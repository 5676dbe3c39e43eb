"""Retention: whole sagas are deleted, the oldest first, never one that needs attention, and their space is free."""

from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sagascope_collector.records import Facts, SagaId
from sagascope_collector.storage import RetentionPolicy, Storage, maintenance
from support.otlp import NOON, SECOND, of_saga, span, traces

from .conftest import append, maintain
from .histories import DAY, IN_NO_SAGA, NOW, facts_of, fill, goes, id_of, is_over, listed

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets few sagas be deleted at a time."""
    monkeypatch.setattr(maintenance, "MAX_DELETED_SAGAS", 7)


def opened(path: Path, keep: RetentionPolicy | None = None) -> Storage:
    return Storage(str(path), clock=lambda: NOW, keep=keep or RetentionPolicy())


def of_kept(before: dict[SagaId, Facts], gone: set[SagaId]) -> dict[SagaId, Facts]:
    """The records of the sagas that stay."""
    return {id_: facts for id_, facts in before.items() if id_ not in gone}


@pytest.mark.parametrize("is_reopened", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_old_sagas_go_whole_and_all_others_keep_every_record(path: Path, seed: int, is_reopened: bool) -> None:
    storage = opened(path, RetentionPolicy(seconds=4.5 * DAY))
    drawn = fill(storage, seed)
    before = facts_of(storage, drawn)
    gone = goes(drawn, NOW - int(4.5 * DAY * SECOND))
    assert 5 < len(gone) < len(before)
    assert {each.id for each in gone} & {each.id for each in before.keys() - gone}
    if is_reopened:
        storage.close()
        storage = opened(path, RetentionPolicy(seconds=4.5 * DAY))
    maintain(storage)
    for _ in range(2):
        assert facts_of(storage, drawn) == of_kept(before, gone)
        assert listed(storage) == {key for key in drawn if id_of(key) not in gone}
        kept = {id_of(key).id for key in drawn} - {each.id for each in gone}
        assert all(storage.retention.has_expired(each.id) for each in gone)
        assert not any(storage.retention.has_expired(each) for each in kept)
        assert not storage.lookup.sagas_with(IN_NO_SAGA)
        assert sum(count for *_, count, _ in storage.sagas.flow_counts()) == len(listed(storage))
        storage.close()
        storage = opened(path)
    storage.close()


def test_records_in_no_saga_expire_although_others_come_all_the_time(path: Path) -> None:
    storage = opened(path, RetentionPolicy(seconds=DAY))
    append(storage, traces(span(1, trace=1, start=NOON)), received=NOON)
    append(storage, traces(span(2, trace=2, start=NOW)), received=NOW)
    maintain(storage)
    assert not storage.lookup.sagas_with(f"{1:032x}")
    assert storage.lookup.sagas_with(f"{2:032x}")
    storage.close()


def test_nothing_is_left_when_every_saga_has_expired(path: Path) -> None:
    storage = opened(path, RetentionPolicy(seconds=1))
    drawn = fill(storage)
    storage.changes.claim(10_000)
    ended = [each.row._replace(ended_at=each.row.updated_at, attention=None) for each in drawn.values()]
    storage.sagas.put(list(dict.fromkeys(map(id_of, drawn))), ended)
    storage.close()
    later = Storage(str(path), clock=lambda: NOW + 5 * DAY * SECOND, keep=RetentionPolicy(seconds=1))
    maintain(later)
    for table in ("span_records", "log_records", "linked_spans", "open_sagas", "ended_sagas"):
        assert later.database.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    later.close()


def test_beyond_the_allowed_size_the_oldest_go(path: Path) -> None:
    storage = opened(path)
    drawn = fill(storage, sagas=400)
    maintain(storage)
    storage.database.rows("CHECKPOINT")
    size = storage.used_bytes()
    storage.close()
    storage = opened(path, RetentionPolicy(bytes=size * 3 // 4))
    maintain(storage)
    storage.database.rows("CHECKPOINT")
    left = listed(storage)
    gone = [drawn[key].row for key in drawn if key not in left]
    assert gone
    assert all(is_over(each, NOW) for each in gone)
    storage.close()


def test_space_that_cannot_be_freed_is_logged_and_costs_no_saga_that_is_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = opened(path, RetentionPolicy(bytes=1))
    drawn = fill(storage)
    maintain(storage)
    assert "more than --keep-size allows" in caplog.text
    gone = goes(drawn, NOW - 60 * SECOND)
    assert listed(storage) == {key for key in drawn if id_of(key) not in gone}
    storage.close()


def test_a_saga_with_new_records_is_kept(path: Path) -> None:
    storage = opened(path, RetentionPolicy(seconds=DAY))
    drawn = fill(storage)
    old = min(each for each in goes(drawn, NOW - 5 * DAY * SECOND) if not each.environment)
    append(storage, traces(span(77_777, trace=77_777, start=NOW, end=NOW + 1, attributes=of_saga(old.id))))
    maintain(storage)
    assert len(storage.lookup.facts([old])[old].spans) > 1
    assert not storage.retention.has_expired(old.id)
    storage.close()


def test_a_saga_that_is_opened_again_while_retention_looks_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(path, RetentionPolicy(seconds=DAY))
    drawn = fill(storage)
    while storage.sagas.settle(NOW):
        pass
    old = min(each for each in goes(drawn, NOW - 5 * DAY * SECOND) if not each.environment)
    read, is_opened = maintenance._read, list[bool]()

    def read_and_opened(rows: Any) -> Any:
        chosen = read(rows)
        if old in chosen and not is_opened:
            is_opened.append(True)
            append(storage, traces(span(77_777, trace=77_777, start=NOW, end=NOW + 1, attributes=of_saga(old.id))))
            storage.changes.claim(10_000)
            again = [
                each.row._replace(ended_at=None, status="running") for key, each in drawn.items() if id_of(key) == old
            ]
            storage.sagas.put([old], again)
        return chosen

    monkeypatch.setattr(maintenance, "_read", read_and_opened)
    monkeypatch.setattr(maintenance, "MAX_DELETED_SAGAS", 10_000)
    maintain(storage)
    assert is_opened
    assert {key for key in listed(storage) if id_of(key) == old}
    assert len(storage.lookup.facts([old])[old].spans) > 1
    storage.close()


@pytest.mark.parametrize(
    ("keep", "last_call"),
    [
        (RetentionPolicy(seconds=4 * DAY), "retention._expire"),
        (RetentionPolicy(summary_seconds=4 * DAY), "sagas.downsample"),
    ],
)
def test_bounds_that_are_read_while_records_are_deleted_are_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch, keep: RetentionPolicy, last_call: str
) -> None:
    storage = opened(path, keep)
    drawn = fill(storage)
    part, name = last_call.split(".")
    call, read = getattr(getattr(storage, part), name), set[SagaId]()

    def called_and_read(ids: Iterable[SagaId]) -> None:
        call(ids)
        reader = Thread(target=lambda: read.update(storage.sagas.bounds(ids)))
        reader.start()
        reader.join()

    monkeypatch.setattr(getattr(storage, part), name, called_and_read)
    maintain(storage)
    assert read
    assert read <= {id_of(key) for key in drawn}
    assert storage.sagas.bounds(read) == {}
    storage.close()


def test_a_deleted_saga_that_is_sent_again_is_new(path: Path) -> None:
    storage = opened(path, RetentionPolicy(seconds=DAY))
    request = traces(span(5, trace=5, start=NOON, attributes=of_saga("9")))
    drawn = fill(storage, sagas=2)
    append(storage, request, received=NOON)
    storage.changes.claim(10)
    row = next(iter(drawn.values())).row._replace(attention=None, ended_at=NOON, updated_at=NOON)
    storage.sagas.put([SagaId("", "9")], [row._replace(key=row.key._replace(environment="", id="9"))])
    maintain(storage)
    assert storage.lookup.facts([SagaId("", "9")]) == {}
    assert append(storage, request, received=NOW) == (1, 0)
    assert len(storage.lookup.facts([SagaId("", "9")])[SagaId("", "9")].spans) == 1
    storage.close()
