"""Lists in an order of choice, over open and ended sagas alike, page by page."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import orjson
import pytest

from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.errors import BadCursor
from sagascope_collector.incident_records import AmountAtRisk, IncidentSaga
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import Order, SagaFilters
from sagascope_collector.storage import SagaRow, Storage, sagas
from support.otlp import NOON, SECOND

from .conftest import maintain

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
    "attempts": lambda row: 0 if row.ended_at and not row.attention else _attempts(row),
    "amount": lambda row: max((each.certain + each.possible for each in _amounts(row)), default=0),
    "urgency": lambda row: _urgency(row),
}


def _attempts(row: SagaRow) -> int:
    return int(orjson.loads(row.document)["attempts"])


def _amounts(row: SagaRow) -> tuple[AmountAtRisk, ...]:
    return row.incident.amounts if row.incident else ()


def _urgency(row: SagaRow) -> tuple[Any, ...]:
    if row.incident is None:
        return (len(AttentionCode),)
    certain, possible = (
        max(amounts) for amounts in zip(*((a.certain, a.possible) for a in _amounts(row)), strict=True)
    )
    return list(AttentionCode).index(AttentionCode(row.attention or "")), -certain, -possible, row.incident.since


@pytest.fixture(scope="module")
def rows() -> list[SagaRow]:
    chance = random.Random(3)
    return [_row(number, chance) for number in range(SAGAS)]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, rows: list[SagaRow]) -> Iterator[Storage]:
    """Most of its sagas have been moved to the ended ones, in several batches, and some were opened again since."""
    path = tmp_path_factory.mktemp("ordering") / "storage.duckdb"
    with pytest.MonkeyPatch.context() as patched, closing(Storage(str(path), clock=lambda: LATER)) as opened:
        patched.setattr(sagas, "SETTLE_INTERVAL_SECONDS", 0.0)
        patched.setattr(sagas, "MAX_SETTLED_ROWS", 40)
        stale = [row._replace(updated_at=NOON, status="failed") for row in rows]
        for part in (stale, rows[::7]):
            opened.sagas.put([SagaId(row.key.environment, row.key.id) for row in part], part)
            maintain(opened)
        opened.sagas.put([SagaId(row.key.environment, row.key.id) for row in rows[::3]], rows[::3])
        opened.sagas.settle(LATER)
        rest = [row for number, row in enumerate(rows) if number % 3]
        opened.sagas.put([SagaId(row.key.environment, row.key.id) for row in rest], rest)
        opened.sagas.settle(LATER)
        yield opened


def _row(number: int, chance: random.Random) -> SagaRow:
    status = chance.choice(STATUSES)
    begun = NOON + chance.randrange(20) * SECOND
    over = status not in STATUSES[:2]
    key = SagaKey(chance.choice(("", "test")), chance.choice(("payment", "refund")), f"{number:03}", "")
    last = begun + chance.randrange(9) * SECOND
    place = chance.choice((None, "ledger.record", "wallet.debit")), chance.choice((None, "ledger"))
    attention = chance.choice(("hung", "retrying", "applied_twice")) if chance.random() < 0.3 else None
    document = f'{{"id":"{number}","attempts":{chance.randrange(12)}}}'
    row = SagaRow(key, status, attention, *place, (), (), begun, last, last if over else None, None, {}, document)
    return row._replace(incident=_incident(attention, begun, chance)) if attention else row


def _incident(reason: str, begun: int, chance: random.Random) -> IncidentSaga:
    texts = ("ledger.record", "ledger", "forward", reason, "", "", "resume")
    amounts = tuple(
        AmountAtRisk(currency, Decimal(chance.choice(("0", "9.50", "-3", "1200.05"))), Decimal(chance.randrange(3)))
        for currency in ("EUR", "USD")
    )
    return IncidentSaga(f"of {reason}", *texts, begun + chance.randrange(9) * SECOND, amounts)


def test_what_makes_no_progress_comes_by_its_time_before_all_else(storage: Storage, rows: list[SagaRow]) -> None:
    for sign in (1, -1):
        ordered = sorted(rows, key=lambda row: row.key)
        ordered.sort(key=lambda row: (0, sign * row.incident.since) if row.incident else (1, 0))
        assert list(_paged(storage, SagaFilters(), Order("since", sign < 0))) == list(map(_as_read, ordered))


def _as_read(row: SagaRow) -> SagaRow:
    return row._replace(incident=None)


def test_an_amount_narrows_to_the_sagas_that_risk_as_much(storage: Storage, rows: list[SagaRow]) -> None:
    wanted = {row.key for row in rows if any(each.certain + each.possible >= 10 for each in _amounts(row))}
    assert {row.key for row in _paged(storage, SagaFilters(amount="10.0"), Order("id"))} == wanted
    assert wanted


@pytest.mark.parametrize("narrowed", [SagaFilters(), SagaFilters(name="refund"), SagaFilters(attention="hung")])
def test_counts_are_of_the_same_sagas_as_the_list(storage: Storage, rows: list[SagaRow], narrowed: SagaFilters) -> None:
    since, until, period = NOON + 4 * SECOND, NOON + 15 * SECOND, 2 * SECOND
    listed = {row.key for row in _paged(storage, narrowed, Order("id"))}
    wanted: Counter[tuple[str, str, int]] = Counter()
    amounts: Counter[str] = Counter()
    for row in (row for row in rows if row.key in listed):
        times = [("started", row.status, row.started_at)]
        if row.incident:
            times.append(("attention", row.attention or "", row.incident.since))
            amounts.update({each.currency: each.certain for each in _amounts(row)})
        for kind, name, at in times:
            wanted[kind, name, at // period * period if since <= at <= until else 0] += 1
    counted, summed = storage.listing.counts(narrowed, since, until, period)
    assert {(each.kind, each.name, each.at): each.sagas for each in counted} == wanted
    assert {each.currency: each.certain for each in summed} == amounts


@pytest.mark.parametrize("by", VALUES)
@pytest.mark.parametrize("is_falling", [True, False])
@pytest.mark.parametrize(
    "narrowed", [SagaFilters(), SagaFilters(name="refund", environment="test"), SagaFilters(attention="any")]
)
def test_pages_together_are_everything_in_order(
    storage: Storage, rows: list[SagaRow], by: str, is_falling: bool, narrowed: SagaFilters
) -> None:
    wanted = [row for row in rows if _is_wanted(row, narrowed)]
    ordered = sorted(wanted, key=lambda row: row.key)
    ordered.sort(key=VALUES[by], reverse=is_falling)
    assert list(_paged(storage, narrowed, Order(by, is_falling))) == list(map(_as_read, ordered))
    assert len(ordered) > 10


def _is_wanted(row: SagaRow, narrowed: SagaFilters) -> bool:
    if narrowed.attention:
        return row.attention is not None
    return not narrowed.name or (row.key.name, row.key.environment) == (narrowed.name, narrowed.environment)


def _paged(storage: Storage, narrowed: SagaFilters, order: Order) -> Iterator[SagaRow]:
    cursor = None
    while True:
        page = storage.listing.page(narrowed, limit=13, cursor=cursor, order=order)
        yield from page.rows
        cursor = page.next_cursor
        if cursor is None:
            return


def test_paths_are_counted_wherever_the_sagas_are(storage: Storage, rows: list[SagaRow]) -> None:
    middle = NOON + 10 * SECOND
    for since in (0, middle, 0):
        ended = [row for row in rows if row.ended_at and row.key.name == "payment" and row.started_at >= since]
        counted = storage.statistics.paths("payment", None, since, 10)
        assert [(each.steps, each.sagas, each.completed) for each in counted] == [
            ((), len(ended), sum(row.status == "completed" for row in ended))
        ]
        newest = max(ended, key=lambda row: row.started_at).started_at
        assert {row.started_at for row in ended if row.key.id == counted[0].newest.id} == {newest}
    assert storage.statistics.paths("payment", "nowhere", 0, 10) == []


def test_a_cursor_is_of_one_order(storage: Storage) -> None:
    cursor = storage.listing.page(SagaFilters(), limit=3, order=Order("id")).next_cursor
    for order in (Order("id", is_falling=False), Order("status"), Order()):
        with pytest.raises(BadCursor):
            storage.listing.page(SagaFilters(), limit=3, cursor=cursor, order=order)
    with pytest.raises(BadCursor):
        storage.listing.page(
            SagaFilters(), limit=3, cursor=storage.listing.page(SagaFilters(), limit=3).next_cursor, order=Order("id")
        )
