"""A lake with a long history: what people ask of a collector, with and without the lake, and of the lake itself.

`SPANS` says how many spans, 2,000,000 unless it is set. They go straight into the lake, in commits of a hundred
thousand, and into the copy of a collector: copying them from the lake is not measured.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow as pa
from history import SPANS, Row, fill, questions, times
from report import load, table

from support import history
from support.history import History
from support.lake import LakePlace, LakeProcess, object_store
from support.postgres import running_postgres

KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
COMMIT_BATCHES = 8
"""Batches of one commit."""
ASKED = ("one saga by its id", "triage: worst 50", "newest 50", "incidents")
DIRECT = 40
"""Questions that are asked of the lake itself."""
SETTLING_SECONDS = 600


class FilePlace(LakePlace):
    """The same processes without a lake."""

    @property
    def arguments(self) -> list[str]:
        """No options."""
        return []


def main() -> str:
    """Fills a lake, merges it, and asks."""
    drawn = history.draw()
    batches = -(-SPANS // drawn.spans)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(running_postgres())
        store = stack.enter_context(object_store(folder / "store"))
        server.create("lake")
        lake = LakePlace(server, "lake", "s3://lake/records", ("--s3-endpoint", store.endpoint), KEYS)
        (folder / "copy").mkdir()
        rows = [row for what in ("load", "maintain", "ask") for row in _work(lake, folder, what, batches)]
        without = FilePlace(server, "lake", "")
        # the first one also judges the open sagas of the history
        for place, title in (
            (without, "without the lake, first"),
            (without, "without the lake"),
            (lake, "with the lake"),
        ):
            if place is lake:
                _work(lake, folder, "follow", batches)
            rows += [(f"{title}: {row[0]}", *row[1:]) for row in _asked(place, folder / "copy", drawn, batches)]
            print(rows[-len(ASKED) :], file=sys.stderr, flush=True)
        rows.append(("load of the machine", "", load()))
    return table(("", "", f"{batches * drawn.spans:,} spans"), rows)


def _work(lake: LakePlace, folder: Path, what: str, batches: int) -> list[Row]:
    """Does something with the lake in a process on the DuckDB that has the extensions."""
    arguments = [what, lake.server.dsn(lake.database), lake.data, lake.options[1], str(folder / "copy"), str(batches)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=lake.variables(), stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout, end="", file=sys.stderr, flush=True)  # it may take minutes until all is there
    return [tuple(each) for each in json.loads(done.stdout)]


def _asked(place: LakePlace, folder: Path, drawn: History, batches: int) -> Iterator[Row]:
    asks = questions(drawn, batches)
    with place.running("serve", folder, "--keep", "forever") as collector:
        _settle(collector)
        for title in ASKED:
            yield title, "ms, p50 / p95", times(collector.api, asks[title])


def _settle(collector: LakeProcess) -> None:
    """Waits until nothing is left to be diagnosed; a collector of a lake is never quite idle."""
    process, end = psutil.Process(collector.process.pid), time.monotonic() + SETTLING_SECONDS
    while time.monotonic() < end:
        before = sum(process.cpu_times()[:2])
        time.sleep(3)
        if sum(process.cpu_times()[:2]) - before < 0.6:
            return


# --- in processes of their own -------------------------------------------------------------------------


def _load(lake: Any, path: Path, batches: int) -> Iterator[Row]:
    from sagascope_collector.lake import LakeWriter
    from sagascope_collector.lake.writer import to_lake
    from sagascope_collector.storage import Storage

    lake.create()
    drawn, writer = history.draw(), LakeWriter(lake, "history")
    begun, used = time.perf_counter(), time.process_time()
    for first in range(0, batches, COMMIT_BATCHES):
        made = [drawn.at(number) for number in range(first, min(first + COMMIT_BATCHES, batches))]
        spans = pa.concat_tables([to_lake(each.spans, each.origins) for each in made])
        logs = pa.concat_tables([to_lake(each.logs, each.origins) for each in made])
        writer.put({"spans": spans, "logs": logs}, "")
    millions = batches * drawn.spans / 1e6
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    yield "stored in the lake", "spans/s, CPU-s/M", f"{millions * 1e6 / seconds:,.0f}, {used / millions:.1f}"
    now = history.BEGAN + batches * history.STRIDE + 3600 * history.SECOND
    store = Storage(str(path), clock=lambda: now)
    begun, used = time.perf_counter(), time.process_time()
    fill(store, drawn, batches)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    store.close()
    yield (
        "stored and summarised in the copy",
        "spans/s, CPU-s/M",
        f"{millions * 1e6 / seconds:,.0f}, {used / millions:.1f}",
    )


def _follow(lake: Any, path: Path) -> Iterator[Row]:
    """Marks the copy as one that has all of the lake."""
    from sagascope_collector.lake.catalog import SQL
    from sagascope_collector.lake.follower import LakeCursor, Position
    from sagascope_collector.storage import Storage

    store = Storage(str(path))
    with lake.session() as session:
        ((identity,),) = session.execute(SQL["select_identity"]).fetchall()
        (end,) = session.execute(SQL["select_end"]).fetchall()
    LakeCursor(store).write(Position(identity, *end))
    store.close()
    yield from ()


def _maintain(lake: Any, spans: int) -> Iterator[Row]:
    """Merges, expires all snapshots but the last, and deletes what was replaced."""
    from sagascope_collector.lake.catalog import SQL, TABLES
    from sagascope_collector.lake.leader import MERGED_SIZES_BYTES

    connection = lake.attached()
    yield "lake as committed", "files, bytes a span with its logs", _size(lake, spans)
    used = time.process_time()
    for smallest, largest in MERGED_SIZES_BYTES:
        for name in TABLES:
            values = {"table": name, "smallest": smallest, "largest": largest}
            while connection.execute(SQL["merge_files"], values).fetchall():
                pass
    merging, used = time.process_time() - used, time.process_time()
    for name in ("expire_snapshots", "delete_replaced_files"):
        connection.execute(SQL[name], {"seconds": 0})
    yield "lake merged", "files, bytes a span with its logs", _size(lake, spans)
    expiring = time.process_time() - used
    yield "merging; expiry and deletion", "CPU-s/M", f"{merging / spans * 1e6:.2f}; {expiring / spans * 1e6:.2f}"


def _size(lake: Any, spans: int) -> str:
    with lake.session() as session:
        asked = "SELECT count(*), sum(file_size_bytes)::bigint FROM ducklake_data_file WHERE end_snapshot IS NULL"
        ((files, size),) = session.execute(asked).fetchall()
    return f"{files:,}, {size / spans:.1f}"


def _ask(lake: Any, batches: int) -> Iterator[Row]:
    """Asks the lake for sagas by id, as users' own tools do."""
    connection, chance, waits = lake.attached(), Random(7), []
    for _ in range(DIRECT):
        id_ = history.saga_ids(chance.randrange(batches))[chance.randrange(history.SAGAS)].as_py()
        begun = time.perf_counter()
        assert connection.execute("SELECT * FROM spans WHERE saga_id = ?", [id_]).fetchall()
        waits.append((time.perf_counter() - begun) * 1000)
    waits.sort()
    figures = f"{statistics.median(waits):.0f} / {waits[round(0.95 * len(waits)) - 1]:.0f}"
    yield "one saga by its id, DuckDB on the lake", "ms, p50 / p95", figures


def _child(what: str, catalog: str, data: str, endpoint: str, folder: str, batches: str) -> list[Row]:
    from sagascope_collector.lake import Lake

    lake, path, number = Lake(catalog, data, endpoint, os.environ), Path(folder) / "sagascope.duckdb", int(batches)
    work = {
        "load": lambda: _load(lake, path, number),
        "follow": lambda: _follow(lake, path),
        "maintain": lambda: _maintain(lake, number * history.draw().spans),
        "ask": lambda: _ask(lake, number),
    }
    return list(work[what]())


if __name__ == "__main__":
    print(json.dumps(_child(*sys.argv[1:])))
