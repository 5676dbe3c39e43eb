"""Look-ups of one saga read the commits between which its records lie, and no more."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage, connection, lookup
from support.otlp import NOON, SECOND, log, logs, of_saga, span, traces
from support.statements import by_subject

from .conftest import append, maintain

SQL = connection.statements("records")

OF_ONE = [*(f"select_{kind}_of_one" for kind in ("spans", "logs", "links")), "count_spans_of_one", "count_logs_of_one"]

SMALL_TABLES = ("delete_commits",)
"""Statements on tables of few rows."""

STORED = 600_000
"""Rows beside those of the saga: five row groups."""

LATER = NOON + 3600 * SECOND


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Many records, copies of one made by the database itself; the saga's lie in their midst."""
    storage = Storage(str(tmp_path_factory.mktemp("large") / "storage.duckdb"))
    one = traces(span(1, trace=1, attributes=of_saga("other"), links=[(9, 9, of_saga("linked"))]))
    append(storage, one, logs(log("x", attributes=of_saga("other"))))
    for table in ("span_records", "log_records", "linked_spans"):
        copies = (
            f"SELECT (range + 1000)::UBIGINT AS seq, {table}.* EXCLUDE (seq) FROM {table}, range({STORED}) ORDER BY seq"
        )
        storage.database.rows(f"INSERT INTO {table} {copies}")
    storage.database.rows("CHECKPOINT")
    yield storage
    storage.close()


def scanned(text: str) -> int:
    """Rows that the scans of tables read, as either version of DuckDB reports it."""
    plan = json.loads(text)
    return int(plan["query"]["total_rows_scanned"] if "query" in plan else plan["cumulative_rows_scanned"])


@pytest.mark.parametrize("name", OF_ONE)
def test_a_look_up_of_one_saga_prunes_by_commit(large: Storage, name: str) -> None:
    first = STORED // 2
    values = {"id": "linked" if "links" in name else "other", "first": first, "last": first + 10}
    ((_, text),) = large.database.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[name]}", values)
    assert 10 < scanned(text) < STORED // 2


@pytest.mark.parametrize("name", ["select_spans_of_many", "select_logs_of_many", "select_links_of_many"])
def test_a_look_up_of_several_sagas_prunes_by_commit(large: Storage, name: str) -> None:
    first, wanted = STORED // 2, pa.table({"id": ["other", "linked"]})
    values = {"first": first, "last": first + 10}
    ((_, text),) = large.database.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[name]}", values, wanted=wanted)
    assert 10 < scanned(text) < STORED // 2


def test_every_parameter_that_prunes_is_typed() -> None:
    """An untyped one turns the pruning off in DuckDB 1.5."""
    pruning = re.compile(r'(?<!SET )\b(seq|batch|start|at"|received_at)\s*(<=|>=|=|<|>)\s*\$\w+\b(?!::)')
    found = {
        f"{subject}: {name}: {each.group()}"
        for subject, statements in by_subject().items()
        for name, text in statements.items()
        for each in pruning.finditer(text)
        if not text.startswith("UPDATE")
    }
    assert not {each for each in found if not any(small in each for small in SMALL_TABLES)}


def test_cursors_of_ended_threads_are_used_again(storage: Storage) -> None:
    append(storage, traces(span(1, attributes=of_saga())))

    def read() -> None:
        storage.lookup.facts([SagaId("", "8492")])
        storage.listing.page(SagaFilters(), limit=5)

    for _ in range(10):
        threads = [threading.Thread(target=read) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len(storage.database._free) <= 8
    assert not storage.database._borrowed


def row(id_: SagaId, *, is_ended: bool) -> SagaRow:
    key = SagaKey(id_.environment, "payment", id_.id, "")
    status, ended = ("completed", NOON) if is_ended else ("running", None)
    return SagaRow(key, status, None, None, None, (), (), NOON, NOON, ended, None, {"order": f"o-{id_.id}"}, "{}")


def test_readers_see_every_saga_once_while_sagas_are_moved_and_opened_again(tmp_path: Path, eager: None) -> None:
    storage = Storage(str(tmp_path / "storage.duckdb"), clock=lambda: LATER)
    ids = [SagaId("", f"s{number}") for number in range(40)]
    append(
        storage, *(traces(span(number, trace=number, attributes=of_saga(id_.id))) for number, id_ in enumerate(ids, 1))
    )
    storage.changes.claim(100)
    storage.sagas.put(ids, [row(each, is_ended=True) for each in ids])
    stopping, failed = threading.Event(), list[BaseException]()

    def read(number: int) -> None:
        try:
            while not stopping.is_set():
                if number:
                    storage.sagas.forget_bounds(ids)
                    assert len(storage.lookup.facts(ids)) == len(ids)
                    assert len(storage.lookup.facts_called("s7")) == 1
                found = [each.key.id for each in storage.listing.page(SagaFilters(), limit=100).rows]
                assert sorted(found) == sorted(each.id for each in ids)
                assert [kind for kind, _ in storage.search("o-s7", limit=5)] == ["key"]
                assert sum(sagas for *_, sagas, _ in storage.sagas.flow_counts()) == len(ids)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    for turn in range(15):
        maintain(storage)
        part = ids[turn % 3 :: 3]
        storage.sagas.put(part, [row(each, is_ended=True) for each in part])
        if failed:
            break
    stopping.set()
    for each in threads:
        each.join()
    assert not failed
    storage.close()


def test_of_a_saga_with_very_many_records_the_first_and_the_last_are_read(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "MAX_RECORDS", 10)
    said = of_saga()
    for number in range(1, 31):
        at = NOON + number * SECOND
        append(storage, traces(span(number, start=at, attributes=said)), logs(log(f"{number}", at=at, attributes=said)))
    facts = storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")]
    assert sorted(int(each.span_id, 16) for each in facts.spans) == [*range(1, 6), *range(26, 31)]
    assert sorted(int(str(each.body)) for each in facts.logs) == [*range(1, 6), *range(26, 31)]
    assert (facts.spans_total, facts.logs_total) == (30, 30)


def test_of_a_saga_with_very_many_roots_some_are_read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_RECORDS", 10)
    spans = [span(number, start=NOON + number, attributes=of_saga(role="saga")) for number in range(1, 61)]
    append(storage, traces(*spans))
    facts = storage.lookup.facts([SagaId("", "8492")])[SagaId("", "8492")]
    assert sorted(int(each.span_id, 16) for each in facts.spans) == [*range(1, 6), *range(56, 61)]
    assert facts.spans_total == 60
