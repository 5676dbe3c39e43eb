"""Shrinking: of what completed long ago the summaries stay, and nothing else of anybody changes."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from sagascope_collector.records import Facts, SagaId
from sagascope_collector.store import DuckDBStore, Keep, SagaFilter, resting, sealing, tiers
from support.otlp import NOON, SECOND, of_saga, span, traces

from .conftest import append
from .test_retention import DAY, NOW, fill, listed

AFTER = Keep(shrink_seconds=4 * DAY)
BEFORE = NOW - 4 * DAY * SECOND

SHRUNK = """
import sys
from sagascope_collector.store import DuckDBStore, Keep, resting, sealing
resting.TOGETHER, sealing.SMALL = 1, 20
store = DuckDBStore(sys.argv[1], clock=lambda: int(sys.argv[2]), keep=Keep(shrink_seconds=float(sys.argv[3])))
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
    monkeypatch.setattr(tiers, "RECORDS", 40)
    monkeypatch.setattr(sealing, "SMALL", 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def filled(path: Path) -> set[SagaId]:
    """Some completed, the others stay; which completed long ago."""
    rows = fill(path)
    chance = random.Random(7)
    store = DuckDBStore(str(path), clock=lambda: NOW)
    completed = [each._replace(status="completed") for each in rows.values() if chance.random() < 0.7]
    store.put_summaries([SagaId(each.key.environment, each.key.id) for each in completed], completed)
    store.seal()
    store.close()
    over = [each for each in completed if each.ended_at and not each.attention and each.updated_at < BEFORE]
    assert 20 < len(over) < len(rows)
    return {SagaId(each.key.environment, each.key.id) for each in over}


def facts_of(store: DuckDBStore, ids: Iterable[SagaId]) -> dict[SagaId, Facts]:
    """What is kept of them, in one order whichever chunks it is read from."""
    return {
        id_: replace(
            each,
            spans=tuple(sorted(each.spans, key=lambda span: span.span_id)),
            logs=tuple(sorted(each.logs, key=lambda log: str(log.body))),
        )
        for id_, each in store.facts(list(ids)).items()
    }


def tended(path: Path, keep: Keep) -> DuckDBStore:
    store = DuckDBStore(str(path), clock=lambda: NOW, keep=keep)
    while store.tend() or store.tend():
        pass
    return store


def test_of_what_completed_long_ago_the_summary_stays_and_the_records_go(path: Path) -> None:
    over = filled(path)
    store = DuckDBStore(str(path), clock=lambda: NOW)
    ids = sorted(listed(store))
    before, rows = facts_of(store, ids), store.saga_rows(SagaFilter(), limit=1_000).rows
    store.close()
    store = tended(path, AFTER)
    assert facts_of(store, ids) == {id_: facts for id_, facts in before.items() if id_ not in over}
    assert store.saga_rows(SagaFilter(), limit=1_000).rows == rows
    assert {SagaId(row.key.environment, row.key.id) for id_ in ids for row in store.shrunk(id_.id)} == over
    assert not store.tend()
    store.close()
    store = DuckDBStore(str(path), clock=lambda: NOW)
    assert {SagaId(row.key.environment, row.key.id) for id_ in ids for row in store.shrunk(id_.id)} == over
    store.close()


def test_what_comes_later_of_a_shrunk_saga_changes_its_summary_no_more(path: Path) -> None:
    over = filled(path)
    store = tended(path, AFTER)
    late = min(each for each in over if not each.environment)
    ((kept,), facts) = store.shrunk(late.id), facts_of(store, [late])
    assert facts == {}
    append(store, traces(span(88_888, trace=88_888, start=NOW, end=NOW + 1, attributes=of_saga(late.id))))
    assert late in store.changed_ids(10)
    store.put_summaries([late], [kept._replace(status="running", ended_at=None, updated_at=NOW)])
    assert store.shrunk(late.id) == [kept]
    assert late not in store.changed_ids(10)
    store.put_summaries([], [])
    store.close()
    store = tended(path, Keep(seconds=4 * DAY, shrink_seconds=4 * DAY))
    assert store.shrunk(late.id) == []
    assert store.has_expired(late.id)
    store.close()


def test_what_was_killed_in_the_midst_goes_on(path: Path) -> None:
    over = filled(path)
    store = tended(path, Keep())
    before, rows = facts_of(store, sorted(listed(store))), store.saga_rows(SagaFilter(), limit=1_000).rows
    store.close()
    kept = {id_: facts for id_, facts in before.items() if id_ not in over}
    for exchanges in (1, 3):
        command = [sys.executable, "-c", SHRUNK, str(path), str(NOW), str(4 * DAY)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
            assert process.stdout
            for _ in range(exchanges):
                assert process.stdout.readline() == "exchanged\n"
            process.send_signal(signal.SIGKILL)
        store = DuckDBStore(str(path), clock=lambda: NOW)
        assert facts_of(store, list(kept)) == kept
        assert store.saga_rows(SagaFilter(), limit=1_000).rows == rows
        assert {SagaId(row.key.environment, row.key.id) for id_ in before for row in store.shrunk(id_.id)} == over
        store.close()
    store = tended(path, AFTER)
    assert facts_of(store, list(before)) == kept
    store.close()


def test_without_being_asked_nothing_shrinks(path: Path) -> None:
    over = filled(path)
    store = tended(path, Keep())
    assert facts_of(store, sorted(over)).keys() == over
    assert all(store.shrunk(each.id) == [] for each in over)
    assert NOON < BEFORE
    store.close()
