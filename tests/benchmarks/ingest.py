"""How fast a real collector takes in telemetry, durably, with its clients on the same cores."""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import httpx
import psutil
from report import table

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from support.collector import RunningCollector, running_collector
from support.load import Send, grpc_sender, http_sender, pair_sender, send_all
from support.payloads import requests, rich_requests

RUNS = int(os.environ.get("RUNS", "5"))
SECONDS = float(os.environ.get("SECONDS", "4"))
"""Of each load."""

SPANS = 510
MILLION = 1e6
WARM_UP = 3.0
"""Seconds that are not measured: the process that decodes starts meanwhile."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    title: str
    least: str
    """What issue and contract ask for."""
    sender: Callable[[RunningCollector], Send]
    clients: int
    bodies: Callable[..., Iterable[Any]] = requests
    spans: int = SPANS
    at_half: bool = False
    """Whether it is measured at half of its rate too."""


CASES = (
    Case("HTTP", "60,000 spans/s, 16 CPU-s/M", lambda it: http_sender(it.otlp_http), 8, at_half=True),
    Case("gRPC", "", lambda it: grpc_sender(it.otlp_grpc), 8, at_half=True),
    Case("HTTP, 10 spans, 50 clients", "15,000 spans/s", lambda it: http_sender(it.otlp_http), 50, spans=10),
    Case("HTTP, 1 KB a span, and a log each", "", lambda it: pair_sender(it.otlp_http), 8, rich_requests),
)
HALF = "p99 400 ms, worst 2 s"


class Run(NamedTuple):
    """Spans a second, processor seconds a million of them, waits in milliseconds, and MB resident at the end."""

    rate: float
    collector: float
    client: float
    half: float
    most: float
    worst: float
    resident: float


def main() -> str:
    """Measure all of it `RUNS` times, one after the other, and tell medians and spread."""
    runs: dict[tuple[str, str], list[Run]] = {}
    for _ in range(RUNS):
        runs.setdefault(("raw Arrow insert of the same rows", ""), []).append(_raw_insert())
        for case in CASES:
            whole = load(case)
            runs.setdefault((case.title, case.least), []).append(whole)
            if case.at_half:
                half = load(case, rate=whole.rate / 2 / case.spans)
                runs.setdefault((f"{case.title}, at half that rate", HALF), []).append(half)
    return table(
        ("", "at least", "spans/s", "spread", "CPU-s/M, collector", "and clients", "p50 ms", "p99 ms", "worst", "MB"),
        [_row(title, least, each) for (title, least), each in runs.items()],
    )


def load(case: Case, rate: float | None = None, db: Path | None = None, seed: int = 1) -> Run:
    """One load on a collector, as fast as it goes or with so many requests a second.

    On a new database, or on `db`: then with another seed each time, else it has all of it already.
    """
    with TemporaryDirectory() as name, running_collector(environment={"TMPDIR": name}, db=db) as collector:
        settled(collector)
        there = _stored(collector)
        senders = [case.sender(collector) for _ in range(case.clients)]
        warmed_up = send_all(
            lasting(WARM_UP, case.bodies(10**9, case.spans, seed=2 * seed, clock=time.time_ns)), senders, rate=rate
        )
        running, clients = _family(collector.process.pid), psutil.Process()
        before = _used(*running), _used(clients)
        sent = send_all(
            lasting(SECONDS, case.bodies(10**9, case.spans, seed=2 * seed + 1, clock=time.time_ns)), senders, rate=rate
        )
        used = _used(*running) - before[0], _used(clients) - before[1]
        resident = sum(each.memory_info().rss for each in running) / MILLION
        _all_stored(collector, case, sent.requests + warmed_up.requests, there)
    spans = sent.requests * case.spans
    served, asked = (each / spans * MILLION for each in used)
    return Run(spans / sent.seconds, served, asked, sent.wait(0.5), sent.wait(0.99), sent.wait(1), resident)


SETTLING_SECONDS = 600.0
"""How long `settled` waits."""


def settled(collector: RunningCollector) -> None:
    """Wait until nothing is left to be diagnosed from the time in which it was not running."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while time.monotonic() < deadline:
        before = psutil.Process(collector.process.pid).cpu_times().user
        time.sleep(1)
        if psutil.Process(collector.process.pid).cpu_times().user - before < 0.3:
            return


def lasting(seconds: float, bodies: Iterable[Any]) -> Iterator[Any]:
    """As many of them as can be sent in so much time."""
    end = time.perf_counter() + seconds
    for body in bodies:
        if time.perf_counter() > end:
            return
        yield body


def _used(*processes: psutil.Process) -> float:
    """Seconds of processor time."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _family(pid: int) -> list[psutil.Process]:
    """A collector, and the process in which it decodes."""
    collector = psutil.Process(pid)
    return [collector, *collector.children()]


def _all_stored(collector: RunningCollector, case: Case, requests: int, before: int) -> None:
    """What was acknowledged is there: a load that was refused is no measurement."""
    stored = _stored(collector) - before
    expected = requests * case.spans * (2 if case.bodies is rich_requests else 1)
    if stored != expected:
        raise RuntimeError(f"{stored} records of {expected} are stored.")


def _stored(collector: RunningCollector) -> int:
    said: int = httpx.get(f"{collector.api}/api/v1/status", timeout=60, trust_env=False).json()["stored"]
    return said


def _raw_insert() -> Run:
    """The same rows, decoded before, inserted by 10,200 a transaction into a table without any key."""
    groups = [[_payload(body) for body in requests(20, SPANS, seed=number)] for number in range(10)]
    tables = [decode(group).batch.spans for group in groups]
    rows = sum(each.num_rows for each in tables)
    with TemporaryDirectory() as name, duckdb.connect(f"{name}/raw.duckdb", config={"threads": 1}) as connection:
        connection.register("first", tables[0].slice(0, 0))
        connection.execute("CREATE TABLE raw AS FROM first")
        begun, used = time.perf_counter(), time.process_time()
        for each in tables:
            connection.register("batch", each)
            connection.execute("INSERT INTO raw FROM batch")
        taken = time.perf_counter() - begun
        return Run(rows / taken, (time.process_time() - used) / rows * MILLION, 0.0, 0.0, 0.0, 0.0, 0.0)


def _payload(body: bytes) -> Payload:
    return Payload(Signal.TRACES, Encoding.PROTOBUF, body, 0)


def _row(title: str, least: str, runs: list[Run]) -> list[str]:
    middle = Run(*(statistics.median(column) for column in zip(*runs, strict=True)))
    rates = sorted(each.rate for each in runs)
    figures = [f"{middle.rate:,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}"]
    rest = [
        f"{figure:.{digits}f}" if figure else "" for figure, digits in zip(middle[1:], (1, 1, 0, 0, 0, 0), strict=True)
    ]
    return [title, least, *figures, *rest]
