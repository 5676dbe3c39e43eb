"""Summaries at rest: whatever was brought to rest, merged and woken, answers are as if nothing had ever moved."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from sagascope_collector.errors import NotADatabase
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import DuckDBStore, SagaFilter, SagaRow, Store, alphabet, fingerprints, postings, resting
from support.otlp import NOON, SECOND

LATER = NOON + 3600 * SECOND

NAMES = ("payment", "refund")
STEPS = ("wallet.debit", "ledger.record", "shipping.book")
STATUSES = ("completed", "compensated", "failed")

FILTERS = (
    SagaFilter(),
    SagaFilter(environment="test"),
    SagaFilter(status="failed"),
    SagaFilter(status="running"),
    SagaFilter(name="refund", status="completed"),
    SagaFilter(name="nothing"),
    SagaFilter(step="ledger.record"),
    SagaFilter(service="shipping"),
    SagaFilter(service="nobody"),
    SagaFilter(attention="any"),
    SagaFilter(alone=True),
    SagaFilter(since=NOON + 20, until=NOON + 60),
    SagaFilter(until=NOON),
    SagaFilter(q="1"),
    SagaFilter(q="c3", status="completed"),
)

KILLED = """
import sys, threading
from sagascope_collector.store import DuckDBStore, resting
from tests_rested import put, row
resting.TOGETHER, resting.MERGED, resting.SMALL, resting.MOST = 1, 3, 40, 16
store = DuckDBStore(sys.argv[1], clock=lambda: 2_000_000_000_000_000_000)
def tend():
    while True:
        store.tend()
threading.Thread(target=tend, daemon=True).start()
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few summaries be many."""
    for name, value in {"TOGETHER": 1, "MERGED": 3, "SMALL": 40, "MOST": 16}.items():
        monkeypatch.setattr(resting, name, value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    opened = opening(path)
    yield opened
    opened.close()


def opening(path: Path) -> DuckDBStore:
    return DuckDBStore(str(path), clock=lambda: LATER)


def row(number: int, chance: random.Random, **fields: object) -> SagaRow:
    """A saga that may rest, most of the time."""
    over, steps = chance.random() < 0.9, tuple(chance.sample(STEPS, chance.randint(1, 3)))
    made = {
        "key": SagaKey(chance.choice(("prod", "prod", "test")), chance.choice(NAMES), str(number), ""),
        "status": chance.choice(STATUSES) if over else "running",
        "attention": None if over or chance.random() < 0.5 else "hung",
        "step": None,
        "service": None,
        "steps": steps,
        "services": tuple(each.partition(".")[0] for each in steps),
        "started_at": NOON + chance.randrange(100),
        "updated_at": NOON,
        "ended_at": NOON if over else None,
        "due_at": None,
        "keys": {"customer": f"c{chance.randrange(8)}", "order": f"o{number}"},
        "document": f'{{"id":"{number}","made":{chance.randrange(1000)}}}',
    }
    return SagaRow(**made | fields)


def put(store: Store, rows: list[SagaRow]) -> None:
    store.put_summaries([SagaId(each.key.environment, each.key.id) for each in rows], rows)


def rest(store: Store) -> None:
    while store.tend():
        pass


def answers(store: Store) -> list[object]:
    """All that can be asked of summaries."""
    told: list[object] = [store.flow_counts()]
    told += [_pages(store, each) for each in FILTERS]
    told += [store.search(text, limit=limit) for text in ("1", "12", "c3", "o40", "77", "x") for limit in (1, 3, 200)]
    return told


def _pages(store: Store, narrowed: SagaFilter) -> list[SagaRow]:
    seen: list[SagaRow] = []
    page = store.saga_rows(narrowed, limit=7)
    while True:
        seen += page.rows
        if page.next_cursor is None:
            return seen
        page = store.saga_rows(narrowed, limit=7, cursor=page.next_cursor)


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_as_if_nothing_had_moved(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    moving, still = opening(path), DuckDBStore(clock=lambda: NOON)
    for _ in range(12):
        rows = [row(chance.randrange(90), chance) for _ in range(chance.randint(1, 20))]
        rows = list({(each.key.environment, each.key.id): each for each in rows}.values())
        gone = [SagaId("prod", str(chance.randrange(90))) for _ in range(chance.randrange(3))]
        for each in (moving, still):
            put(each, rows)
            each.put_summaries(gone, [])
        if chance.random() < 0.7:
            rest(moving)
        if chance.random() < 0.3:
            moving.close()
            moving = opening(path)
    assert answers(moving) == answers(still)
    moving.close()
    still.close()


def test_most_summaries_leave_the_database(store: DuckDBStore, path: Path) -> None:
    chance = random.Random(1)
    for first in range(0, 200, 10):
        put(store, [row(number, chance) for number in range(first, first + 10)])
        rest(store)
    shelves = list(Path(f"{path}.d").glob("shelf-*.parquet"))
    assert 2 <= len(shelves) < 12
    assert sum(sagas for *_, sagas, _ in store.flow_counts()) == 200


def test_a_shelf_of_which_most_is_gone_is_written_anew_or_removed(store: DuckDBStore, path: Path) -> None:
    chance = random.Random(1)
    rows = [row(number, chance, status="failed", ended_at=NOON, attention=None) for number in range(16)]
    put(store, rows)
    rest(store)
    before = store.size_bytes()
    store.put_summaries([SagaId(each.key.environment, each.key.id) for each in rows[:8]], [])
    rest(store)
    assert len(store.saga_rows(SagaFilter(), limit=20).rows) == 8
    assert len(list(Path(f"{path}.d").glob("shelf-*.parquet"))) == 1
    store.put_summaries([SagaId(each.key.environment, each.key.id) for each in rows], [])
    rest(store)
    assert not list(Path(f"{path}.d").glob("shelf-*"))
    assert store.size_bytes() < before
    assert store.flow_counts() == []


def test_what_is_over_is_told_oldest_first_and_leaves_nothing_on_disk(path: Path) -> None:
    store = opening(path)
    rows = [
        row(each, random.Random(1), started_at=NOON + each, updated_at=NOON + each, ended_at=NOON, attention=None)
        for each in range(30)
    ]
    put(store, [each._replace(document=f'{{"secret":"{each.key.id:0>8}"}}') for each in rows])
    rest(store)
    over = store._resting.over(NOON + 4, 3)
    assert [each.id for each in over] == ["0", "1", "2"]
    store.put_summaries(over, [])
    store._resting.purge()
    assert [each.id for each in store._resting.over(NOON + 4, 3)] == ["3"]
    assert len(store.saga_rows(SagaFilter(), limit=50).rows) == 27
    store.close()
    for each in Path(f"{path}.d").glob("shelf-*.parquet"):
        kept = duckdb.sql(f"SELECT document FROM read_parquet('{each}')").fetchall()
        assert not {"00000000", "00000001", "00000002"} & {text[11:19] for (text,) in kept}


def test_readers_see_every_saga_once_while_sagas_come_to_rest_and_wake(store: DuckDBStore) -> None:
    chance = random.Random(2)
    rows = [row(number, chance, attention=None) for number in range(60)]
    put(store, rows)
    stopping, seen = threading.Event(), Counter[int]()

    def look() -> None:
        while not stopping.is_set():
            found = [each.key.id for each in store.saga_rows(SagaFilter(), limit=100).rows]
            assert len(found) == len(set(found))
            seen[len(found)] += 1
            seen[sum(sagas for *_, sagas, _ in store.flow_counts())] += 1

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(15):
        put(store, chance.sample(rows, 20))
        rest(store)
    stopping.set()
    reader.join()
    assert set(seen) == {60}


def test_what_was_killed_while_sagas_came_to_rest_has_every_summary_once(path: Path, tmp_path: Path) -> None:
    (tmp_path / "tests_rested.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    chance, told = random.Random(3), 0
    for _ in range(3):
        told = _killed_after(path, tmp_path, chance.uniform(0.1, 0.6), told)
        opened = opening(path)
        found = _pages(opened, SagaFilter())
        assert len({each.key for each in found}) == len(found)
        assert {int(each.key.id) for each in found} >= set(range(told))
        assert sum(sagas for *_, sagas, _ in opened.flow_counts()) == len(found)
        opened.close()


WORK = """
import random
for number in range(int(sys.argv[2]), 100_000):
    chance = random.Random(number)
    fresh = row(number, chance)
    old = row(chance.randrange(number + 1), chance)
    put(store, [row(old.key.id, random.Random(int(old.key.id)))])
    put(store, [fresh])
    print(number, flush=True)
"""


def _killed_after(path: Path, folder: Path, seconds: float, begin: int) -> int:
    """Let a process put summaries, wake some and bring them to rest, and kill it; how many it said were there."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    arguments = [sys.executable, "-c", KILLED + WORK, str(path), str(begin)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline()]
        time.sleep(seconds)  # the kill falls at any instant
        process.send_signal(signal.SIGKILL)
        told += [line for line in process.stdout if line.endswith("\n")]
    return int(told[-1]) + 1


def test_a_shelf_that_was_cut_short_or_is_missing_is_said(path: Path) -> None:
    store = opening(path)
    put(store, [row(number, random.Random(1), ended_at=NOON, attention=None) for number in range(9)])
    rest(store)
    store.close()
    names = next(Path(f"{path}.d").glob("shelf-*.names.arrow"))
    content = names.read_bytes()
    names.write_bytes(content[:-1])
    with pytest.raises(NotADatabase, match="shelf 00000001"):
        opening(path)
    names.unlink()
    with pytest.raises(NotADatabase, match="missing"):
        opening(path)
    names.write_bytes(content)
    opening(path).close()


# --- what finds a row ------------------------------------------------------------------------------


def test_rows_are_found_by_any_of_their_fingerprints() -> None:
    told = np.array([fingerprints.of_text(text) for text in ("a", "b", "a", "c")], np.uint64)
    made = postings.packed(told, np.array([0, 0, 1, 2**24 - 1]))
    assert postings.found(made, [fingerprints.of_text("a")]).tolist() == [0, 1]
    assert postings.found(made, [fingerprints.of_text("c"), fingerprints.of_text("b")]).tolist() == [0, 2**24 - 1]
    assert postings.found(made, [fingerprints.of_text("d")]).size == 0
    assert postings.found(made, []).size == 0
    assert postings.holds(made, told).all()
    assert not postings.holds(postings.packed(told[:0], np.arange(0)), told).any()


def test_ids_are_found_by_their_beginning(tmp_path: Path) -> None:
    ids = ["8492", "84", "b", "84", "", "é", "ée", "\U0001f600", "85"]
    alphabet.save(tmp_path / "names", pa.chunked_array([ids]))
    made = alphabet.Alphabet(tmp_path / "names")
    for text in ("", "8", "84", "849", "8492", "84921", "é", "\U0001f600", "\udcff", "9"):
        wanted = [place for place, each in enumerate(ids) if each.startswith(text)]
        assert made.beginning(text).tolist() == wanted
    alphabet.save(tmp_path / "none", pa.chunked_array([[]], pa.string()))
    assert alphabet.Alphabet(tmp_path / "none").beginning("x").size == 0
