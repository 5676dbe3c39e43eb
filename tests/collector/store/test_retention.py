"""Retention: whole sagas go, the oldest first, never one that needs somebody, and the disk has its room back."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import DuckDBStore, Keep, SagaFilter, SagaRow, resting, retention, sealing, tiers
from support.otlp import NOON, SECOND, log, logs, of_saga, span, traces

from .conftest import append

DAY = 86_400
DAYS = 10
NOW = NOON + DAYS * DAY * SECOND

REMOVED = """
import sys
from sagascope_collector.store import DuckDBStore, Keep, leaving, resting, retention
retention.AT_ONCE = 3
resting.TOGETHER = 1
store = DuckDBStore(sys.argv[1], clock=lambda: int(sys.argv[2]), keep=Keep(seconds=float(sys.argv[3])))
exchange = store._leaving._catalogue.replace
def told(*given):
    exchange(*given)
    print("exchanged", flush=True)
store._leaving._catalogue.replace = told
while store.tend():
    pass
print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few sagas be many."""
    monkeypatch.setattr(resting, "TOGETHER", 1)
    monkeypatch.setattr(retention, "EVERY", 0.0)
    monkeypatch.setattr(retention, "AT_ONCE", 7)
    monkeypatch.setattr(tiers, "RECORDS", 40)
    monkeypatch.setattr(sealing, "SMALL", 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def fill(path: Path, seed: int = 1, sagas: int = 120) -> dict[SagaId, SagaRow]:
    """Ten days of sagas; some are still open, some need somebody, some go on for days."""
    chance, rows = random.Random(seed), {}
    store = DuckDBStore(str(path), clock=lambda: NOW)
    append(store, traces(span(999_999, trace=999_999, start=NOON, end=NOON + 1)))
    for number in range(1, sagas + 1):
        id_, start = SagaId(chance.choice(("", "test")), f"s{number}"), NOON + number * DAYS * DAY * SECOND // sagas
        last = start + chance.choice((0, 0, 0, 2 * DAY)) * SECOND
        for part, at in enumerate({start, last}):
            told = of_saga(id_.id) | ({"deployment.environment.name": id_.environment} if id_.environment else {})
            append(store, *records(number, part, at, told, id_.environment))
        rows[id_] = row(id_, start, last, chance)
    store.changed_ids(1_000)
    store.put_summaries(list(rows), list(rows.values()))
    store.put_summaries([], [])
    store.close()
    return rows


def records(number: int, part: int, at: int, told: dict[str, object], environment: str) -> tuple[object, object]:
    from support.otlp import resource

    of = resource("ledger", **({"deployment_environment_name": environment} if environment else {}))
    return (
        traces(span(10 * number + part, trace=number, start=at, end=at + SECOND, attributes=told), of=of),
        logs(log(f"secret {number}-{part}", at=at, attributes=told), of=of),
    )


def row(id_: SagaId, start: int, last: int, chance: random.Random) -> SagaRow:
    over, needs = chance.random() < 0.9, chance.random() < 0.1
    key = SagaKey(id_.environment, "payment", id_.id, "")
    ended, attention = last if over else None, "applied_twice" if needs else None if over else "hung"
    return SagaRow(
        key, "failed", attention, None, None, (), (), start, last, ended, None, {"order": f"o-{id_.id}"}, "{}"
    )


def is_over(row: SagaRow, before: int) -> bool:
    return row.ended_at is not None and row.attention is None and row.updated_at < before


def tended(path: Path, keep: Keep) -> DuckDBStore:
    store = DuckDBStore(str(path), clock=lambda: NOW, keep=keep)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (store.tend() or store.tend()):
        pass
    return store


def listed(store: DuckDBStore) -> set[SagaId]:
    return {SagaId(each.key.environment, each.key.id) for each in store.saga_rows(SagaFilter(), limit=1_000).rows}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_too_old_goes_whole_and_what_needs_somebody_stays(path: Path, seed: int) -> None:
    rows = fill(path, seed)
    store = DuckDBStore(str(path), clock=lambda: NOW)
    store.seal()
    before, size = store.facts(list(rows)), store.size_bytes()
    store.close()
    store = tended(path, Keep(seconds=4.5 * DAY))
    gone = {id_ for id_, each in rows.items() if is_over(each, NOW - int(4.5 * DAY * SECOND))}
    assert 30 < len(gone) < len(rows)
    assert store.facts(list(rows)) == {id_: facts for id_, facts in before.items() if id_ not in gone}
    assert listed(store) == rows.keys() - gone
    assert [store.has_expired(id_.id) for id_ in rows] == [id_ in gone for id_ in rows]
    assert not store.has_expired("never")
    assert {id_ for id_ in gone if store.search(f"o-{id_.id}", limit=1)} == set()
    assert not store.has_trace(f"{999_999:032x}")
    assert store._tiers.size_bytes() < size
    store.close()
    again = DuckDBStore(str(path), clock=lambda: NOW)
    assert listed(again) == rows.keys() - gone
    assert all(again.has_expired(id_.id) for id_ in gone)
    again.close()


def test_what_was_killed_in_the_midst_is_resumed(path: Path) -> None:
    rows = fill(path)
    store = DuckDBStore(str(path), clock=lambda: NOW)
    store.seal()
    before = store.facts(list(rows))
    store.close()
    gone = {id_ for id_, each in rows.items() if is_over(each, NOW - 4 * DAY * SECOND)}
    for exchanges in (1, 2, 5):
        command = [sys.executable, "-c", REMOVED, str(path), str(NOW), str(4 * DAY)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
            assert process.stdout
            for _ in range(exchanges):
                assert process.stdout.readline() == "exchanged\n"
            process.send_signal(signal.SIGKILL)
        store = DuckDBStore(str(path), clock=lambda: NOW)
        kept = {id_: facts for id_, facts in before.items() if id_ not in gone}
        assert store.facts(list(kept)) == kept
        assert not [each for each in gone - listed(store) if not store.has_expired(each.id)]
        store.close()
    store = tended(path, Keep(seconds=4 * DAY))
    assert store.facts(list(rows)) == kept
    assert listed(store) == kept.keys()
    store.close()


def test_beyond_the_room_allowed_the_oldest_go(path: Path) -> None:
    rows = fill(path, sagas=400)
    store = tended(path, Keep())
    size = store._tiers.size_bytes()
    store.close()
    store = tended(path, Keep(bytes=size // 2))
    assert store._tiers.size_bytes() <= size // 2
    left = listed(store)
    gone = [rows[id_] for id_ in rows if id_ not in left]
    assert gone
    assert all(is_over(each, NOW) for each in gone)
    latest = max(each.updated_at for each in gone)
    assert not [id_ for id_ in left if is_over(rows[id_], latest - DAY * SECOND)]
    store.close()


def test_room_that_cannot_be_had_is_said_and_costs_nobody(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(path)
    store = tended(path, Keep())
    store.close()
    store = DuckDBStore(str(path), clock=lambda: NOW, keep=Keep(bytes=1))
    monkeypatch.setattr(retention, "EVERY", 60.0)
    while store.tend():
        pass
    assert "more than it may" in caplog.text
    assert listed(store) == {id_ for id_, each in rows.items() if not is_over(each, NOW - resting.AFTER)}
    store.close()


def test_a_saga_that_is_heard_of_again_is_kept(path: Path) -> None:
    rows = fill(path)
    store = DuckDBStore(str(path), clock=lambda: NOW, keep=Keep(seconds=1 * DAY))
    old = next(id_ for id_, each in rows.items() if is_over(each, NOW - 5 * DAY * SECOND) and not id_.environment)
    append(store, traces(span(77_777, trace=77_777, start=NOW, end=NOW + 1, attributes=of_saga(old.id))))
    for _ in range(100):
        store.tend()
    assert old in store.facts([old])
    assert len(store.facts([old])[old].spans) > 1
    assert not store.has_expired(old.id)
    store.close()
