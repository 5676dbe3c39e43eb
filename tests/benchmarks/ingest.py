"""How fast a real collector takes in spans, durably, with its clients on the same cores."""

import os
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import duckdb
import psutil

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from support.collector import RunningCollector, running_collector
from support.load import Send, grpc_sender, http_sender, requests, send_all

RUNS = int(os.environ.get("RUNS", "3"))
SPANS = 510
MILLION = 1e6

CASES: dict[str, tuple[Callable[[RunningCollector], Send], int, int, int]] = {
    "HTTP, 510 spans a request": (lambda it: http_sender(it.otlp_http), 400, SPANS, 8),
    "gRPC, 510 spans a request": (lambda it: grpc_sender(it.otlp_grpc), 400, SPANS, 8),
    "HTTP, 10 spans, 50 clients": (lambda it: http_sender(it.otlp_http), 4000, 10, 50),
}
"""By title: how to send, requests, spans in each, clients."""


def main() -> None:
    """Print spans a second, the collector's processor seconds a million spans, and waits for the acknowledgement."""
    print(f"{'':30}{'spans/s':>10}{'spread':>14}{'CPU-s/M':>9}{'p50 ms':>8}{'p99 ms':>8}")
    _row("raw Arrow insert", [_raw_insert() for _ in range(RUNS)])
    for title, (sender, count, spans, clients) in CASES.items():
        runs = [_load(sender, count, spans, clients) for _ in range(RUNS)]
        _row(title, runs)
        if spans == SPANS:
            rate = statistics.median(each[0] for each in runs) / spans / 2
            _row("  at half that rate", [_load(sender, count // 2, spans, clients, rate) for _ in range(RUNS)])


Run = tuple[float, float, float, float]
"""Spans a second, processor seconds a million, p50 and p99 in milliseconds."""


def _load(
    sender: Callable[[RunningCollector], Send], count: int, spans: int, clients: int, rate: float | None = None
) -> Run:
    with TemporaryDirectory() as name, running_collector() as collector:
        senders = [sender(collector) for _ in range(clients)]
        process = psutil.Process(collector.process.pid)
        send_all(list(requests(20, spans, seed=2)), senders)
        bodies, before = list(requests(count, spans)), sum(process.cpu_times()[:2])
        sent = send_all(bodies, senders, rate=rate)
        used = sum(process.cpu_times()[:2]) - before
        del name
    return count * spans / sent.seconds, used / (count * spans) * MILLION, sent.wait(0.5), sent.wait(0.99)


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
        return rows / (time.perf_counter() - begun), (time.process_time() - used) / rows * MILLION, 0.0, 0.0


def _payload(body: bytes) -> Payload:
    return Payload(Signal.TRACES, Encoding.PROTOBUF, body, 0)


def _row(title: str, runs: list[Run]) -> None:
    rate, used, half, most = (statistics.median(column) for column in zip(*runs, strict=True))
    rates = sorted(each[0] for each in runs)
    spread = f"{rates[0]:,.0f}-{rates[-1]:,.0f}"
    print(f"{title:30}{rate:>10,.0f}{spread:>14}{used:>9.1f}{half:>8.0f}{most:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
