"""What a collector holds and looks through of a very long history: its catalogue and indexes, without the spans.

`CHUNKS` and `SAGAS` in the environment set how many chunks there are, and how many sagas in each; every saga has one
trace. Files of facts are empty; the indexes are real, and so are the numbers in them. With 500 chunks, as in
`make bench-large`, they are those of five thousand million spans, a day at 60,000 a second.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pyarrow as pa
from report import load, table

from sagascope_collector.storage import Storage, chunk, mapped, postings, resting, shelf, summaries
from sagascope_collector.storage import sealing as sealing_module
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.sql import Query
from support import history

CHUNKS = int(os.environ.get("CHUNKS", "50"))
SAGAS = int(os.environ.get("SAGAS", "580000"))
SPANS_A_SAGA = 17
ON_A_SHELF = 240_000
ASKED = 100

Row = tuple[str, ...]


def main() -> str:
    """Make the indexes, open them, look up."""
    with TemporaryDirectory(dir=os.environ.get("KEEP")) as name:
        path = Path(name) / "catalogue.duckdb"
        Storage(str(path)).close()
        random = np.random.default_rng(1)
        _make(path, random)
        begun, before = time.perf_counter(), _resident()
        store = Storage(str(path))
        rows = [
            ("opened", "s", f"{time.perf_counter() - begun:.1f}"),
            ("resident for it", "MB", f"{_resident() - before:,.0f}"),
            *_looked_up(store, random),
            ("load of the machine meanwhile", "", load()),
        ]
        store.close()
    sagas = CHUNKS * SAGAS
    title = (
        f"{sagas * SPANS_A_SAGA / 1e9:.1f} thousand million spans in {CHUNKS} chunks, {-(-sagas // ON_A_SHELF)} shelves"
    )
    return table(("", "", title), rows)


def _looked_up(store: Storage, random: np.random.Generator) -> Iterator[Row]:
    drawn = history.draw()
    numbers = iter(range(10**6, 10**7))
    yield (
        "a saga that is not there",
        "ms, p50 / p95",
        _times(lambda: store.lookup.facts_called(f"no-{random.integers(2**60)}")),
    )
    yield (
        "search: id, not there",
        "ms, p50 / p95",
        _times(lambda: store.search(f"no-{random.integers(2**60)}", limit=50)),
    )
    trace = lambda: store.search(random.bytes(16).hex(), limit=50)  # noqa: E731
    yield "search: trace id, not there", "ms, p50 / p95", _times(trace)
    yield (
        "append of 12,000 new spans",
        "ms, p50 / p95",
        _times(lambda: store.records.append(drawn.at(next(numbers))), 30),
    )
    rows = iter(range(10**6, 10**7))

    def summarised() -> None:
        store.sagas.put(store.changes.claim(2 * history.SAGAS), drawn.rows(next(rows)))

    yield "700 new summaries, with their making", "ms, p50 / p95", _times(summarised, 30)
    yield "flows", "ms, p50 / p95", _times(store.flow_counts, 30)


def _make(path: Path, random: np.random.Generator) -> None:
    folder, entries = Path(f"{path}.d"), []
    for number in range(1, CHUNKS + 1):
        indexes = (np.sort(random.integers(1, 2**64, SAGAS, np.uint64)) for _ in chunk.INDEXES)
        chunk.save_index(folder, number, *indexes)
        chunk.path_of(folder, number, "spans").write_bytes(b"")
        size = sum(each.stat().st_size for each in folder.glob(f"{number:08}.*"))
        began = history.BEGAN + number * history.SECOND
        entries.append(chunk.Entry(number, SAGAS * SPANS_A_SAGA, 0, 0, began, began, size)._asdict())
    database = Database(str(path))
    table_of = pa.Table.from_pylist(entries, schema=sealing_module.ENTRIES)
    database.rows(Query.INSERT_CHUNKS, entries=table_of)
    _shelve(database, folder, random)
    database.close()


def _shelve(database: Database, folder: Path, random: np.random.Generator) -> None:
    """Shelves with ids of their own; their keys and names are those of the first, by another name."""
    drawn, rows = history.draw(), []
    for number in range(ON_A_SHELF // history.SAGAS):
        rows += [{"id": each.key.id, "keys": str(each.keys).replace("'", '"')} for each in drawn.rows(number)]
    first = {kind: shelf.path_of(folder, 1, kind) for kind in shelf.FILES}
    database.rows(Query.WRITE_SHELF, {"file": str(first[shelf.ROWS])}, rows=summaries.SCHEMA.empty_table())
    written = pa.Table.from_pylist([each | FIXED for each in rows])
    entry = shelf.finish(folder, 1, written)
    entries, flows = [entry], [("production", "payment", "completed", len(rows))]
    for number in range(2, CHUNKS * SAGAS // ON_A_SHELF + 1):
        ids = random.integers(1, 2**64, len(rows), np.uint64)
        mapped.save(shelf.path_of(folder, number, shelf.IDS), postings.packed(ids, np.arange(len(rows))))
        for kind in (shelf.ROWS, shelf.KEYS, shelf.NAMES):
            shelf.path_of(folder, number, kind).hardlink_to(first[kind])
        size = sum(shelf.path_of(folder, number, kind).stat().st_size for kind in shelf.FILES)
        entries.append(entry._replace(number=number, bytes=size))
    table_of = pa.Table.from_pylist([each._asdict() for each in entries], schema=resting.ENTRIES)
    database.count(Query.INSERT_SHELVES, entries=table_of)
    columns = dict(zip(("environment", "name", "status", "sagas"), zip(*flows, strict=True), strict=True))
    for each in entries:
        counted = pa.table({name: list(values) for name, values in columns.items()})
        database.count(Query.INSERT_SHELF_FLOWS, {"shelf": each.number}, flows=counted)


FIXED = {"started_at": history.BEGAN, "steps": "[]", "services": "[]"}


def _times(work: Callable[[], object], times: int = ASKED) -> str:
    waits = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        waits.append((time.perf_counter() - begun) * 1000)
    waits.sort()
    return f"{statistics.median(waits):.1f} / {waits[int(len(waits) * 0.95)]:.1f}"


def _resident() -> float:
    return psutil.Process().memory_info().rss / 2**20
