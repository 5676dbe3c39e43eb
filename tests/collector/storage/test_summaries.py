"""Summaries: which sagas have changed, and what lists and search answer from them."""

import pytest

from sagascope_collector.errors import BadCursor
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, span, span_id, trace_id, traces

from .conftest import Put, maintain

ROW = SagaRow(
    key=SagaKey("prod", "payment", "8492", ""),
    status="running",
    attention=None,
    step="ledger.record",
    service="ledger",
    steps=("wallet.debit", "ledger.record"),
    services=("wallet", "ledger"),
    started_at=NOON,
    updated_at=NOON,
    ended_at=None,
    due_at=None,
    keys={"order_id": "A-1", "customer": "c9"},
    document='{"id":"8492"}',
)


def row(id_: str, /, *, name: str = "payment", environment: str = "prod", run: str = "", **fields: object) -> SagaRow:
    return ROW._replace(key=SagaKey(environment, name, id_, run), **fields)


def keep(storage: Storage, *rows: SagaRow) -> None:
    storage.sagas.put([SagaId(each.key.environment, each.key.id) for each in rows], rows)


def ids(rows: list[SagaRow]) -> list[str]:
    return [each.key.id for each in rows]


# --- what has changed -------------------------------------------------------------------------------


def test_every_saga_with_new_facts_has_changed_oldest_first(storage: Storage, put: Put) -> None:
    put(traces(span(1, attributes=of_saga("2"))))
    put(logs(log("x", attributes=of_saga("1"))), traces(span(2), span(3, attributes=of_saga("2"))))
    assert list(storage.changes.claim(10)) == [SagaId("", "2"), SagaId("", "1")]
    assert list(storage.changes.claim(1)) == [SagaId("", "2")]


def test_a_summarised_saga_has_not_changed(storage: Storage, put: Put) -> None:
    put(traces(span(1, attributes=of_saga())))
    storage.sagas.put(storage.changes.claim(10), [])
    assert not storage.changes.claim(10)


def test_facts_that_arrive_while_a_saga_is_summarised_are_not_lost(storage: Storage, put: Put) -> None:
    put(traces(span(1, attributes=of_saga())))
    changed = storage.changes.claim(10)
    storage.lookup.facts(changed)
    put(traces(span(2, attributes=of_saga())))
    storage.sagas.put(changed, [])
    assert list(storage.changes.claim(10)) == list(changed)


def test_a_saga_that_was_never_reported_as_changed_stays_changed(storage: Storage, put: Put) -> None:
    put(traces(span(1, attributes=of_saga())))
    storage.sagas.put([SagaId("", "8492")], [])
    assert storage.changes.claim(10)


def test_due_sagas_come_earliest_first(storage: Storage) -> None:
    keep(storage, row("1", due_at=30), row("2", due_at=10), row("3", due_at=31), row("4"))
    assert storage.sagas.due(30, 10) == [SagaId("prod", "2"), SagaId("prod", "1")]
    assert storage.sagas.due(30, 1) == [SagaId("prod", "2")]
    assert storage.sagas.due(9, 10) == []


def test_new_summaries_replace_all_old_ones_of_an_id(storage: Storage) -> None:
    saga = SagaId("prod", "1")
    storage.sagas.put([saga], [row("1", run="a"), row("1", run="b", name="unknown")])
    storage.sagas.put([saga], [row("1", run="a", status="failed")])
    (kept,) = storage.listing.page(SagaFilters(), limit=10).rows
    assert kept == row("1", run="a", status="failed")


def test_times_beyond_63_bits_are_kept_as_the_latest(storage: Storage) -> None:
    keep(storage, row("1", started_at=2**64 - 1))
    assert storage.listing.page(SagaFilters(), limit=1).rows[0].started_at == 2**63 - 1


# --- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrowed", "found"),
    [
        (SagaFilters(), ["4", "3", "2", "1"]),
        (SagaFilters(environment="test"), ["2"]),
        (SagaFilters(status="failed"), ["3"]),
        (SagaFilters(attention="hung"), ["1"]),
        (SagaFilters(attention="any"), ["2", "1"]),
        (SagaFilters(name="refund"), ["4"]),
        (SagaFilters(service="wallet"), ["4", "3", "2", "1"]),
        (SagaFilters(service="shipping"), []),
        (SagaFilters(step="ledger.record"), ["4", "3", "2", "1"]),
        (SagaFilters(since=NOON + 2, until=NOON + 3), ["3"]),
        (SagaFilters(q="A-7"), ["4"]),
        (SagaFilters(q="4"), ["4"]),
        (SagaFilters(q="'; DROP TABLE sagas; --"), []),
        (SagaFilters(name="payment", attention="any", environment="prod"), ["1"]),
    ],
)
def test_a_list_is_narrowed(storage: Storage, narrowed: SagaFilters, found: list[str]) -> None:
    keep(
        storage,
        row("1", attention="hung"),
        row("2", environment="test", attention="retrying", started_at=NOON + 1),
        row("3", status="failed", started_at=NOON + 2),
        row("4", name="refund", keys={"order_id": "A-7"}, started_at=NOON + 3),
    )
    assert ids(storage.listing.page(narrowed, limit=10).rows) == found


def test_pages_show_every_saga_once_also_when_many_start_at_once(storage: Storage) -> None:
    rows = [row(str(number), run=run, started_at=NOON - number // 4) for number in range(10) for run in ("", "b")]
    storage.sagas.put([SagaId("prod", str(number)) for number in range(10)], rows)
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = storage.listing.page(SagaFilters(), limit=3, cursor=cursor)
        seen, cursor, pages = [*seen, *page.rows], page.next_cursor, pages + 1
    assert pages == 7
    assert seen == sorted(rows, key=lambda each: (-each.started_at, each.key))


@pytest.mark.parametrize("cursor", ["x", "bm90IGpzb24", "WzEsMl0", "WyJhIiwiYiIsImMiLCJkIiwiZSJd", "é", "[]"])
def test_a_cursor_that_was_not_issued_here_is_refused(storage: Storage, cursor: str) -> None:
    with pytest.raises(BadCursor):
        storage.listing.page(SagaFilters(), limit=1, cursor=cursor)


def test_flows_are_counted_by_name_environment_and_status(storage: Storage) -> None:
    keep(storage, row("1"), row("2", attention="hung"), row("3", status="failed"), row("4", environment="test"))
    assert storage.sagas.flow_counts() == [
        ("payment", "prod", "failed", 1, 0),
        ("payment", "prod", "running", 2, 1),
        ("payment", "test", "running", 1, 0),
    ]


# --- search ----------------------------------------------------------------------------------------


def test_search_finds_the_exact_id_first_then_keys_then_beginnings(storage: Storage) -> None:
    keep(
        storage,
        row("84", started_at=NOON - SECOND),
        row("8492", started_at=NOON),
        row("x", keys={"order_id": "84"}),
        row("y"),
    )
    assert [(kind, each.key.id) for kind, each in storage.search("84", limit=10)] == [
        ("id", "84"),
        ("key", "x"),
        ("prefix", "8492"),
    ]
    assert len(storage.search("84", limit=1)) == 1
    assert storage.search("nothing", limit=10) == []


def test_search_finds_a_key_of_many_sagas_in_every_batch_the_newest_first(storage: Storage, eager: None) -> None:
    for number in range(1, 7):  # a batch each, the fourth without the key
        keys = {"customer": "c-1" if number != 4 else "c-2"}
        at = NOON + number * SECOND
        keep(storage, row(f"s{number}", status="completed", keys=keys, started_at=at, updated_at=at, ended_at=at))
        storage.sagas.settle(NOON + 3600 * SECOND)
    assert [(kind, found.key.id) for kind, found in storage.search("c-1", limit=10)] == [
        ("key", each) for each in ("s6", "s5", "s3", "s2", "s1")
    ]
    assert ids([found for _, found in storage.search("c-1", limit=2)]) == ["s6", "s5"]
    assert ids([found for _, found in storage.search("c-2", limit=2)]) == ["s4"]


def test_search_finds_sagas_by_trace_and_span_id_of_their_records_and_links(storage: Storage, put: Put) -> None:
    put(
        traces(span(1, trace=7, attributes=of_saga("1"))),
        traces(span(2, trace=8, links=[(1, 1, of_saga("1"))])),
        logs(log("x", trace_id=trace_id(9), span_id=span_id(9), attributes=of_saga("1"))),
    )
    keep(storage, row("1", environment=""))
    for number in (7, 8, 9):
        assert [kind for kind, _ in storage.search(f"{number:032x}", limit=5)] == ["trace"]
    for number in (1, 2, 9):
        assert [kind for kind, _ in storage.search(f"{number:016X}", limit=5)] == ["span"]
    assert storage.search(f"{10:032x}", limit=5) == []


@pytest.mark.parametrize("text", ["'", '"', "%", "_", "\\", "; DROP TABLE sagas", "\0", "é" * 1000, ""])
def test_search_takes_any_text_as_text(storage: Storage, text: str) -> None:
    keep(storage, row("8492"))
    assert [kind for kind, _ in storage.search(text, limit=5)] == (["prefix"] if not text else [])


# --- summaries of ended sagas ----------------------------------------------------------------------


def test_an_ended_saga_is_listed_found_and_replaced_like_any_other(storage: Storage, eager: None) -> None:
    ended = {"status": "completed", "ended_at": NOON, "updated_at": NOON - 10 * SECOND}
    keep(
        storage,
        row("1", **ended),
        row("2"),
        row("3", **ended, attention="applied_twice"),
        row("4", **ended, due_at=NOON),
        row("5", **ended, run="a"),
        row("5", run="b"),
        row("6", **ended | {"updated_at": NOON + 3600 * SECOND}),
    )
    before = (
        storage.listing.page(SagaFilters(), limit=10).rows,
        storage.sagas.flow_counts(),
        storage.search("1", limit=5),
    )
    maintain(storage)
    after = (
        storage.listing.page(SagaFilters(), limit=10).rows,
        storage.sagas.flow_counts(),
        storage.search("1", limit=5),
    )
    assert after == before
    keep(storage, row("1", **ended | {"status": "failed"}))
    assert [each.status for _, each in storage.search("1", limit=5)] == ["failed"]
    assert len(storage.listing.page(SagaFilters(), limit=10).rows) == 7
    maintain(storage)
    storage.sagas.put([SagaId("prod", "1")], [])
    assert storage.search("1", limit=5) == []


def test_no_ids_have_no_summaries(storage: Storage) -> None:
    keep(storage, row("1"))
    assert storage.listing.of_ids([], 10) == []


def test_sagas_are_noted_as_reopened_within_the_block_alone(storage: Storage) -> None:
    ended = {"status": "completed", "ended_at": NOON, "updated_at": NOON - 10 * SECOND}
    keep(storage, row("1", **ended), row("2", **ended))
    maintain(storage)
    with storage.sagas.tracking_reopened() as reopened:
        keep(storage, row("1"))
    keep(storage, row("2"))
    assert reopened == [SagaId("prod", "1")]
