"""A lake on one machine: receivers, their senders, PostgreSQL and the object store on the same cores.

Only ratios say something: all processes share the cores, and the test's PostgreSQL runs without fsync.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from ingest import lasting
from report import load, table

from sagascope_collector.lake.catalog import COMMIT_LOCK
from support.lake import LakePlace, LakeProcess, object_store
from support.load import http_sender, send_all
from support.otlp import of_saga, span, traces
from support.payloads import requests
from support.postgres import Server, running_postgres

SECONDS = float(os.environ.get("SECONDS", "8"))
RECEIVERS = (1, 2, 3)
CLIENTS = 40
"""Of each receiver."""
SPANS = 510
LISTED = 20
COMMITS = 5
MILLION = 1e6
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}

MERGE = """
import json, sys, time
from sagascope_collector.lake import Lake
from sagascope_collector.lake.catalog import SQL
catalog, data, endpoint = sys.argv[1:]
connection = Lake(catalog, data, endpoint).attached()
begun, longest, merges = time.process_time(), 0.0, 0
for smallest, largest in ((0, 1_000_000), (1_000_000, 16_000_000)):
    for name in ("spans", "logs"):
        while True:
            started = time.perf_counter()
            values = {"table": name, "smallest": smallest, "largest": largest}
            if not connection.execute(SQL["merge_files"], values).fetchall():
                break
            merges += 1
            longest = max(longest, time.perf_counter() - started)
print(json.dumps([time.process_time() - begun, longest, merges]))
"""


class LockSampler:
    """Samples whether a process holds the lock of commits."""

    def __init__(self, server: Server, database: str) -> None:
        self._connection = server.connect(database)
        self._over = threading.Event()
        self._held = self._samples = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asked = (
            f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {COMMIT_LOCK} AND granted".encode()
        )
        while not self._over.wait(0.01):
            ((held,),) = self._connection.execute(asked).fetchall()
            self._held += bool(held)
            self._samples += 1

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Samples during the block."""
        self._thread.start()
        yield
        self._over.set()
        self._thread.join()
        self._connection.close()

    def share(self) -> float:
        """Returns the share of the time in which it was held."""
        return self._held / max(self._samples, 1)


def main() -> str:
    """Measures throughput, the lock, the delay, and what merging costs."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(running_postgres())
        store = stack.enter_context(object_store(folder / "store"))
        rows, lakes = [], []
        for number in RECEIVERS:
            server.create(f"lake{number}")
            data, options = f"s3://lake/records{number}", ("--s3-endpoint", store.endpoint)
            lakes.append(LakePlace(server, f"lake{number}", data, options, KEYS))
            rows.append(_throughput(lakes[-1], folder / str(number), number))
        print(table(("receivers", "", "spans/s", "CPU-s/M", "lock held", "spans a commit", "load"), rows), flush=True)
        more = [*_merging(lakes[0], store.endpoint), *_delay(lakes[0], folder / "delay")]
        return table(("what", "", "figure"), more)


def _throughput(lake: LakePlace, folder: Path, number: int) -> list[str]:
    with ExitStack() as stack:
        receivers = [stack.enter_context(lake.running("receive", folder / str(each))) for each in range(number)]
        senders = [http_sender(each.otlp_http) for each in receivers for _ in range(CLIENTS)]
        send_all(lasting(3, requests(10**9, SPANS, seed=2, clock=time.time_ns)), senders)
        before, used = _commits(lake), _cpu(receivers)
        sampler = LockSampler(lake.server, lake.database)
        with sampler.sampling():
            sent = send_all(lasting(SECONDS, requests(10**9, SPANS, seed=3, clock=time.time_ns)), senders)
        used, commits = _cpu(receivers) - used, _commits(lake) - before
    spans = sent.requests * SPANS
    figures = [f"{spans / sent.seconds:,.0f}", f"{used / spans * MILLION:.1f}", f"{sampler.share():.0%}"]
    return [str(number), "", *figures, f"{spans / max(commits, 1):,.0f}", load()]


def _merging(lake: LakePlace, endpoint: str) -> Iterator[list[str]]:
    """Merges all small files of a lake, and compares sizes."""
    spans, files, size = _files(lake)
    arguments = [lake.server.dsn(lake.database), lake.data, endpoint]
    done = subprocess.run(
        [sys.executable, "-c", MERGE, *arguments], env=lake.variables(), capture_output=True, text=True, check=True
    )
    cpu, longest, merges = json.loads(done.stdout)
    _, after, merged = _files(lake)
    yield ["bytes a span, as committed", "", f"{size / spans:.0f}"]
    yield ["bytes a span, merged", "", f"{merged / spans:.0f}"]
    yield [f"files of {spans:,} spans, before and after merging", "", f"{files} and {after}"]
    yield ["merging, CPU-s/M", "", f"{cpu / spans * MILLION:.1f}"]
    yield [f"longest of {merges} merges, in which receivers wait", "", f"{longest:.1f} s"]


def _delay(lake: LakePlace, folder: Path) -> Iterator[list[str]]:
    """Measures the time from sending a saga to a receiver until a collector lists it, and counts statements."""
    with lake.running("receive", folder / "receiver") as receiver:
        own = _statements(lake, receiver)
        with lake.running("serve", folder / "collector") as collector:
            waits = [_listed(receiver, collector, f"listed-{number}") for number in range(LISTED)]
            every = _statements(lake, receiver)
    p50, p95 = statistics.median(waits), sorted(waits)[round(0.95 * len(waits)) - 1]
    yield ["sent to listed, p50 and p95", "", f"{p50:.1f} s and {p95:.1f} s"]
    yield ["statements in PostgreSQL a commit, of the receiver", "", f"{own:.0f}"]
    yield ["statements in PostgreSQL a commit, of each collector", "", f"{every - own:.0f}"]


def _listed(receiver: LakeProcess, collector: LakeProcess, id_: str) -> float:
    body, begun = traces(span(start=time.time_ns(), attributes=of_saga(id_))).SerializeToString(), time.perf_counter()
    assert receiver.send("/v1/traces", body)
    asked = {"name": "payment", "id": id_}
    while httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=30).status_code != 200:
        time.sleep(0.02)
    return time.perf_counter() - begun


def _statements(lake: LakePlace, receiver: LakeProcess) -> float:
    """Counts the statements of a commit, less those of an idle time."""
    _log_statements(lake, "all")
    numbers = count()

    def logged(commits: int) -> int:
        log, begun = lake.server.folder / "server.log", time.perf_counter()
        before = log.stat().st_size
        for _ in range(commits):
            sent = traces(span(start=time.time_ns(), attributes=of_saga(f"counted-{next(numbers)}")))
            assert receiver.send("/v1/traces", sent.SerializeToString())
        time.sleep(max(0.0, 15 - (time.perf_counter() - begun)))
        with log.open("rb") as file:
            file.seek(before)
            return sum(b"statement: " in line or b"execute " in line for line in file)

    found = (logged(COMMITS) - logged(0)) / COMMITS
    _log_statements(lake, "none")
    return found


def _log_statements(lake: LakePlace, which: str) -> None:
    with lake.server.connect("postgres") as connection:
        connection.execute(f"ALTER SYSTEM SET log_statement = '{which}'".encode())
        connection.execute("SELECT pg_reload_conf()")


def _files(lake: LakePlace) -> tuple[int, int, int]:
    """Returns the number of spans, of files, and of bytes."""
    ((spans, files, size),) = lake.catalog(
        "SELECT sum(record_count)::bigint, count(*), sum(file_size_bytes)::bigint FROM ducklake_data_file "
        "JOIN ducklake_table USING (table_id) WHERE table_name = 'spans' AND ducklake_data_file.end_snapshot IS NULL"
    )
    return spans, files, size


def _commits(lake: LakePlace) -> int:
    ((commits,),) = lake.catalog("SELECT max(snapshot_id) FROM ducklake_snapshot")
    return int(commits)


def _cpu(processes: Sequence[LakeProcess]) -> float:
    """Returns the processor time of processes and their children."""
    every = [psutil.Process(each.process.pid) for each in processes]
    return sum(sum(each.cpu_times()[:2]) for top in every for each in (top, *top.children(recursive=True)))
