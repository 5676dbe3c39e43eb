"""What the statements read that must stay quick however long the history is: their plans, and lists without the files.

The plans are those of DuckDB, reduced to what is read, how it is joined and what is cut short.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.store import DuckDBStore, SagaFilter, SagaRow, resting
from sagascope_collector.store.listing import _asked
from sagascope_collector.store.sql import Query
from support.otlp import NOON, SECOND, of_saga, span, traces

from .conftest import append

SAGAS = 300
LATER = NOON + 3600 * SECOND

TRIAGE = _asked(SagaFilter(attention="any"), None) | {"limit": 51}
PAGE = _asked(SagaFilter(), None) | {"limit": 51}
IDS = pa.table({"environment": [""], "id": ["s7"]})

PLANS = {
    "triage": (
        Query.SELECT_SAGAS,
        TRIAGE,
        {},
        """
        SEMI JOIN
          SCAN sagas
          TOP_N
            SCAN sagas
        """,
    ),
    "newest": (
        Query.SELECT_SAGAS,
        PAGE,
        {},
        """
        SEMI JOIN
          SCAN sagas
          TOP_N
            SCAN sagas
        """,
    ),
    "due": (Query.SELECT_DUE, {"now": LATER, "limit": 9}, {}, "TOP_N\n  SCAN sagas"),
    "sagas of ids": (
        Query.SELECT_SAGAS_OF_IDS,
        {"limit": 9},
        {"wanted_sagas": IDS},
        """
        TOP_N
          SEMI JOIN
            SCAN sagas
        """,
    ),
    "one saga of a chunk": (
        Query.SELECT_SEALED_OF_ONE,
        {"files": "spans.parquet", "id": "s7"},
        {},
        "READ_PARQUET where saga_id",
    ),
    "a page of a shelf": (
        Query.SELECT_SHELF_PAGE,
        {name: PAGE[name] for name in PAGE.keys() - {"attention", "incident", "alone"}} | {"file": "shelf"},
        {},
        "TOP_N\n  READ_PARQUET where started_at",
    ),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DuckDBStore]:
    """Most of its sagas rest, some are open, and some of those stand still."""
    monkeypatch.setattr(resting, "TOGETHER", 1)
    opened = DuckDBStore(str(tmp_path / "store.duckdb"), clock=lambda: LATER)
    append(opened, *(traces(span(number, attributes=of_saga(f"s{number}"))) for number in range(1, SAGAS)))
    ids = opened.changed_ids(SAGAS)
    opened.put_summaries(ids, [row(each) for each in ids])
    opened.seal()
    while opened.tend():
        pass
    yield opened
    opened.close()


def row(saga: SagaId) -> SagaRow:
    number = int(saga.id[1:])
    ended, attention = (None, "hung" if number % 20 else None) if number % 10 == 0 else (NOON, None)
    key = SagaKey(*saga[:1], "payment", saga.id, "")
    begun = NOON - number * SECOND
    due = None if ended else LATER
    return SagaRow(key, "running", attention, None, None, (), (), begun, NOON, ended, due, {}, f'{{"id":"{saga.id}"}}')


@pytest.mark.parametrize("name", PLANS)
def test_a_statement_reads_what_it_must_and_no_more(store: DuckDBStore, name: str) -> None:
    query, values, tables, golden = PLANS[name]
    folder = store._tiers.folder
    files = {"spans.parquet": [str(next(folder.glob("*.spans.parquet")))]}
    values = {key: files.get(str(value), value) for key, value in values.items()}
    if values.get("file") == "shelf":
        values["file"] = str(next(folder.glob("shelf-*.parquet")))
    assert plan(store, query, values, tables) == lines(golden)


def test_triage_and_lists_of_what_is_open_read_no_file_of_history(store: DuckDBStore) -> None:
    before = answers(store)
    assert [len(each) for each in before] == [15, 15, 15]
    for each in store._tiers.folder.glob("*.parquet"):
        each.write_bytes(b"")
    assert answers(store) == before


def answers(store: DuckDBStore) -> list[list[Any]]:
    filters = (SagaFilter(attention="any"), SagaFilter(attention="hung"), SagaFilter(attention="any", name="payment"))
    return [store.saga_rows(each, limit=50).rows for each in filters]


def plan(store: DuckDBStore, query: Query, values: dict[str, Any], tables: dict[str, pa.Table]) -> list[str]:
    cursor = store._database._connection.cursor()
    for name, table in tables.items():
        cursor.register(name, table)
    ((_, text),) = cursor.execute(f"EXPLAIN (FORMAT JSON) {query.text}", values).fetchall()
    cursor.close()
    return list(told(json.loads(text)[0], 0))


def told(node: dict[str, Any], depth: int) -> Iterator[str]:
    own = _said(node)
    if own:
        yield "  " * depth + own
    for each in node["children"]:
        yield from told(each, depth + bool(own))


def _said(node: dict[str, Any]) -> str:
    name, info = node["name"].strip(), node["extra_info"]
    if name in ("SEQ_SCAN", "READ_PARQUET"):
        where = str(info.get("Filters", "")).replace("optional: Dynamic Filter (", "").split(" ")[0].strip("()")
        scanned = f"SCAN {info.get('Table', '').rpartition('.')[2]}"
        return scanned if name == "SEQ_SCAN" else f"{name} where {where}"
    if name.endswith("JOIN"):
        return f"{info.get('Join Type', '')} JOIN" if info.get("Join Type") != "MARK" else ""
    return name if name == "TOP_N" else ""


def lines(text: str) -> list[str]:
    found = [each for each in text.splitlines() if each.strip()]
    margin = min(len(each) - len(each.lstrip()) for each in found)
    return [each[margin:] for each in found]
