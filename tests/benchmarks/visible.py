"""How soon a saga is in lists after its spans were sent, while a collector takes in half of what it can."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from itertools import takewhile
from tempfile import TemporaryDirectory

import httpx
from ingest import CASES, load
from report import load as busy, table

from support.collector import RunningCollector, running_collector
from support.load import Send, http_sender, send_all
from support.otlp import of_saga, span, traces

PROBES = int(os.environ.get("PROBES", "20"))
"""Sagas that are waited for in one load."""

RUNS = int(os.environ.get("RUNS", "5"))
CASE = CASES[0]
LATEST = 60.0
"""Seconds after which one that is not there is a failure."""

POLL = 0.02
"""Seconds between two looks; each costs the collector a query."""


def main() -> str:
    """Measure it `RUNS` times, and tell all waits together."""
    rates, waits = [], []
    for _ in range(RUNS):
        rates.append(load(CASE).rate / 2)
        waits += _waits(rates[-1])
    figures = statistics.quantiles(waits, n=100)
    said = [f"{statistics.median(rates):,.0f}", *(f"{figures[place - 1] * 1000:.0f}" for place in (50, 95, 99)), busy()]
    head = (
        "from a span sent to its saga in the list",
        "at most",
        "spans/s beside",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "load",
    )
    return table(head, [["HTTP", "p95 500 ms", *said]])


def _waits(rate: float) -> list[float]:
    with TemporaryDirectory() as name, running_collector(environment={"TMPDIR": name}) as collector:
        senders = [CASE.sender(collector) for _ in range(CASE.clients)]
        over = threading.Event()
        bodies = takewhile(lambda _: not over.is_set(), CASE.bodies(10**9, CASE.spans, clock=time.time_ns))
        beside = threading.Thread(target=send_all, args=(bodies, senders), kwargs={"rate": rate / CASE.spans})
        beside.start()
        try:
            return list(_probe(collector))
        finally:
            over.set()
            beside.join()


def _probe(collector: RunningCollector) -> Iterator[float]:
    """Seconds from the sending of each probe to the list that has it."""
    send = http_sender(collector.otlp_http)
    with httpx.Client(base_url=collector.api, timeout=LATEST, trust_env=False) as client:
        for number in range(PROBES):
            yield _wait(send, client, number)


def _wait(send: Send, client: httpx.Client, number: int) -> float:
    said = of_saga(f"probe-{number}", f"probe-{number}", role="saga", outcome="completed")
    body = traces(span(1, trace=number + 1, attributes=said)).SerializeToString()
    begun = time.perf_counter()
    send(body)
    while time.perf_counter() - begun < LATEST:
        listed = client.get("/api/v1/sagas", params={"name": f"probe-{number}", "limit": 1}).json()
        if listed["items"]:
            return time.perf_counter() - begun
        time.sleep(POLL)
    raise RuntimeError(f"Saga {number} is not in the list after {LATEST} s.")
