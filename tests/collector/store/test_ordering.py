"""Lists in an order of choice, over what is open and what rests alike, page by page."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagascope_collector.errors import BadCursor
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import DuckDBStore, Order, SagaFilter, SagaRow, resting
from support.otlp import NOON, SECOND

SAGAS = 150
LATER = NOON + 3600 * SECOND
STATUSES = ("running", "compensating", "failed", "compensated", "completed")

VALUES: dict[str, Callable[[SagaRow], Any]] = {
    "started": lambda row: row.started_at,
    "updated": lambda row: row.updated_at,
    "duration": lambda row: (row.ended_at or row.updated_at) - row.started_at,
    "status": lambda row: 0 if row.attention else 1 + STATUSES.index(row.status),
    "id": lambda row: row.key.id,
    "step": lambda row: "\x1f".join(each for each in (row.service, row.step) if each is not None),
}


@pytest.fixture
def rows() -> list[SagaRow]:
    chance = random.Random(3)
    return [_row(number, chance) for number in range(SAGAS)]


@pytest.fixture
def store(tmp_path: Path, rows: list[SagaRow], monkeypatch: pytest.MonkeyPatch) -> Iterator[DuckDBStore]:
    """Most of its sagas are at rest, in several files, and some have come back since."""
    monkeypatch.setattr(resting, "TOGETHER", 1)
    monkeypatch.setattr(resting, "MOST", 40)
    opened = DuckDBStore(str(tmp_path / "store.duckdb"), clock=lambda: LATER)
    stale = [row._replace(updated_at=NOON, status="failed") for row in rows]
    for part in (stale, rows[::7]):
        opened.put_summaries([SagaId(row.key.environment, row.key.id) for row in part], part)
        while opened.tend():
            pass
    opened.put_summaries([SagaId(row.key.environment, row.key.id) for row in rows], rows)
    for _ in range(2):
        opened.tend()
    assert opened._listing._rested.view.shelves
    yield opened
    opened.close()


def _row(number: int, chance: random.Random) -> SagaRow:
    status = chance.choice(STATUSES)
    begun = NOON + chance.randrange(20) * SECOND
    over = status not in STATUSES[:2]
    key = SagaKey(chance.choice(("", "test")), chance.choice(("payment", "refund")), f"{number:03}", "")
    last = begun + chance.randrange(9) * SECOND
    place = chance.choice((None, "ledger.record", "wallet.debit")), chance.choice((None, "ledger"))
    attention = "hung" if chance.random() < 0.2 else None
    document = f'{{"id":"{number}"}}'
    return SagaRow(key, status, attention, *place, (), (), begun, last, last if over else None, None, {}, document)


@pytest.mark.parametrize("by", VALUES)
@pytest.mark.parametrize("is_falling", [True, False])
@pytest.mark.parametrize(
    "narrowed", [SagaFilter(), SagaFilter(name="refund", environment="test"), SagaFilter(attention="any")]
)
def test_pages_together_are_everything_in_order(
    store: DuckDBStore, rows: list[SagaRow], by: str, is_falling: bool, narrowed: SagaFilter
) -> None:
    wanted = [row for row in rows if _is_wanted(row, narrowed)]
    ordered = sorted(wanted, key=lambda row: row.key)
    ordered.sort(key=VALUES[by], reverse=is_falling)
    assert list(_paged(store, narrowed, Order(by, is_falling))) == ordered
    assert len(ordered) > 10


def _is_wanted(row: SagaRow, narrowed: SagaFilter) -> bool:
    if narrowed.attention:
        return row.attention is not None
    return not narrowed.name or (row.key.name, row.key.environment) == (narrowed.name, narrowed.environment)


def _paged(store: DuckDBStore, narrowed: SagaFilter, order: Order) -> Iterator[SagaRow]:
    cursor = None
    while True:
        page = store.saga_rows(narrowed, limit=13, cursor=cursor, order=order)
        yield from page.rows
        cursor = page.next_cursor
        if cursor is None:
            return


def test_courses_are_counted_wherever_the_sagas_are(store: DuckDBStore, rows: list[SagaRow]) -> None:
    middle = NOON + 10 * SECOND
    for since in (0, middle, 0):
        ended = [row for row in rows if row.ended_at and row.key.name == "payment" and row.started_at >= since]
        counted = store.courses("payment", None, since, 10)
        assert [(each.steps, each.sagas, each.completed) for each in counted] == [
            ((), len(ended), sum(row.status == "completed" for row in ended))
        ]
        newest = max(ended, key=lambda row: row.started_at).started_at
        assert {row.started_at for row in ended if row.key.id == counted[0].newest.id} == {newest}
    assert store.courses("payment", "nowhere", 0, 10) == []


def test_a_cursor_is_of_one_order(store: DuckDBStore) -> None:
    cursor = store.saga_rows(SagaFilter(), limit=3, order=Order("id")).next_cursor
    for order in (Order("id", is_falling=False), Order("status"), Order()):
        with pytest.raises(BadCursor):
            store.saga_rows(SagaFilter(), limit=3, cursor=cursor, order=order)
    with pytest.raises(BadCursor):
        store.saga_rows(
            SagaFilter(), limit=3, cursor=store.saga_rows(SagaFilter(), limit=3).next_cursor, order=Order("id")
        )
