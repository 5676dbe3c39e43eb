"""A long history, straight into a store, and what it costs to fill it and to ask a real collector about it.

`SPANS` says how many, 2,000,000 unless it is set; `make bench-large` takes a hundred million. `KEEP` names a folder in
which the database stays, and is found again: what it has is not filled twice.
"""

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx
import psutil
from ingest import settled
from report import load, table

from sagascope_collector.storage import Storage
from support import history
from support.collector import RunningCollector, running_collector
from support.history import History

SPANS = int(os.environ.get("SPANS", "2000000"))
KEEP = os.environ.get("KEEP")
ASKED = 200
COLD = 15
MAINTENANCE_BATCHES = 12
"""Batches between two looks at what the background has to do."""

INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Lets the second start find compiled modules, as an installation has them."""

Row = tuple[str, ...]
Ask = Callable[[Random], str]
"""The path and query of a request."""


def main() -> str:
    """Fill, ask, kill, ask again."""
    drawn = history.draw()
    batches = -(-SPANS // drawn.spans)
    with _folder() as folder:
        path = folder / "history.duckdb"
        rows = _filled(path, drawn, batches)
        rows += _asked(path, drawn, batches)
        rows += _cold(path, drawn, batches)
    return table(("", "", f"{batches * drawn.spans:,} spans"), rows)


@contextmanager
def _folder() -> Iterator[Path]:
    if KEEP:
        Path(KEEP).mkdir(parents=True, exist_ok=True)
        yield Path(KEEP)
    else:
        with TemporaryDirectory() as name:
            yield Path(name)


# --- filling -----------------------------------------------------------------------------------------


def _filled(path: Path, drawn: History, batches: int) -> list[Row]:
    """Fill what is missing, and what it took."""
    if path.exists():
        return []
    made = _rate("generated", drawn.spans * 50, lambda: [drawn.at(number) for number in range(50)])
    now = history.BEGAN + batches * history.STRIDE + 3600 * history.SECOND
    store = Storage(str(path), clock=lambda: now)
    put = _rate("stored and summarised", drawn.spans * batches, lambda: fill(store, drawn, batches))
    store.database.rows("CHECKPOINT")
    used, size = (each / (drawn.spans * batches) for each in (store.used_bytes(), store.size_bytes()))
    store.close()
    return [made, put, ("disk in use, summaries included; file", "bytes a span", f"{used:.1f}; {size:.1f}")]


def fill(store: Storage, drawn: History, batches: int) -> None:
    """Stores so many batches with their summaries, and does the maintenance that is due."""
    for number in range(batches):
        store.records.append(drawn.at(number))
        store.sagas.put(store.changes.claim(2 * history.SAGAS), drawn.rows(number))
        if number % MAINTENANCE_BATCHES == 0:
            while store.maintain():
                pass
    while store.maintain():
        pass


def _rate(title: str, spans: int, work: Callable[[], object]) -> Row:
    begun, used = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    return title, "spans/s, CPU-s/M", f"{spans / seconds:,.0f}, {used / spans * 1e6:.1f}"


# --- asking --------------------------------------------------------------------------------------------


def questions(drawn: History, batches: int) -> dict[str, Ask]:
    """What people ask, of sagas anywhere in history."""

    def one(chance: Random) -> tuple[int, int]:
        return chance.randrange(batches), chance.randrange(history.SAGAS)

    def saga_id(chance: Random) -> str:
        number, saga = one(chance)
        return str(history.saga_ids(number)[saga])

    return {
        "one saga by its id": lambda chance: f"/api/v1/sagas/payment/{saga_id(chance)}",
        "search: id": lambda chance: f"/api/v1/search?q={saga_id(chance)}",
        "search: first half of an id": lambda chance: f"/api/v1/search?q={saga_id(chance)[:9]}",
        "search: first digits of many ids": lambda chance: f"/api/v1/search?q={saga_id(chance)[:2]}",
        "search: business key": lambda chance: f"/api/v1/search?q={history.order_id(*one(chance))}",
        "search: business key of many": lambda chance: f"/api/v1/search?q=c-{chance.randrange(97)}",
        "search: trace id": lambda chance: f"/api/v1/search?q={history.trace_of(*one(chance), drawn)}",
        "search: span id": lambda chance: f"/api/v1/search?q={history.span_of(*one(chance), drawn)}",
        "search: nothing found": lambda chance: f"/api/v1/search?q=no-{chance.randrange(10**9)}",
        "triage: worst 50": lambda _: "/api/v1/sagas?attention=any&limit=50",
        "incidents": lambda _: "/api/v1/incidents",
        "newest 50": lambda _: "/api/v1/sagas?limit=50",
        "newest 50 that failed": lambda _: "/api/v1/sagas?status=failed&limit=50",
        "newest 50 with a step": lambda _: "/api/v1/sagas?step=loyalty.credit&limit=50",
        "50 from the midst of history": lambda chance: f"/api/v1/sagas?until={_moment(chance, batches)}&limit=50",
        "flows": lambda _: "/api/v1/flows",
        "percentiles of all steps": lambda _: "/api/v1/flows/payment?window=400d",
    }


def _moment(chance: Random, batches: int) -> str:
    at = history.BEGAN + chance.randrange(batches) * history.STRIDE
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at // history.SECOND))}Z"


def _asked(path: Path, drawn: History, batches: int) -> list[Row]:
    with running_collector(path.parent, "--keep", "forever", db=path, environment=INSTALLED) as collector:
        settled(collector)
        rows = [(title, "ms, p50 / p95", times(collector.api, ask)) for title, ask in questions(drawn, batches).items()]
        rows.append(("load of the machine meanwhile", "", load()))
        rows.append(("resident after that", "MB", f"{_resident(collector):,.0f}"))
        collector.process.send_signal(signal.SIGKILL)
        collector.process.wait()
    begun = time.perf_counter()
    with running_collector(path.parent, "--keep", "forever", db=path, environment=INSTALLED) as collector:
        rows.append(("ready after SIGKILL", "s", f"{time.perf_counter() - begun:.1f}"))
        rows.append(("resident then", "MB", f"{_resident(collector):,.0f}"))
    return rows


def times(api: str, ask: Ask) -> str:
    """Returns how long a collector takes to answer, in ms, p50 and p95."""
    waits, chance = [], Random(7)
    with httpx.Client(base_url=api, trust_env=False, timeout=60) as client:
        for _ in range(ASKED):
            path = ask(chance)
            begun = time.perf_counter()
            answer = client.get(path)
            waits.append((time.perf_counter() - begun) * 1000)
            answer.raise_for_status()
            if sum(waits) > 20_000:
                break
    waits.sort()
    return f"{statistics.median(waits):.1f} / {waits[int(len(waits) * 0.95)]:.1f}"


def _resident(collector: RunningCollector) -> float:
    return psutil.Process(collector.process.pid).memory_info().rss / 2**20


def _cold(path: Path, drawn: History, batches: int) -> list[Row]:
    """The first question to a process that has just started, with its files out of the page cache."""
    waits, asks = [], questions(drawn, batches)
    for number in range(COLD):
        _forgotten(path)
        with running_collector(path.parent, "--keep", "forever", db=path) as collector:
            time.sleep(1)
            _forgotten(path)
            begun = time.perf_counter()
            httpx.get(collector.api + asks["one saga by its id"](Random(number)), trust_env=False, timeout=60)
            waits.append((time.perf_counter() - begun) * 1000)
    return [("one saga by its id, cold", "ms, p50 / worst", f"{statistics.median(waits):.1f} / {max(waits):.1f}")]


def _forgotten(path: Path) -> None:
    """Have the system drop what it holds of the files."""
    subprocess.run(["sync"], check=True)
    for each in path.parent.glob(f"{path.name}*"):
        with each.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
