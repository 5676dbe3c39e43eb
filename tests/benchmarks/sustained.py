"""Ingest over HTTP for minutes on end: whether the rate holds beside checkpoints, summaries and maintenance."""

import os
import time
from itertools import islice
from tempfile import TemporaryDirectory

import ingest
import psutil
from report import load as busy, table

from support.collector import RunningCollector, running_collector
from support.load import Send, http_sender, send_all

SPANS = int(os.environ.get("SUSTAINED", "20000000"))
PARTS = 5
CASE = ingest.CASES[0]


def main() -> str:
    """Sends the spans in parts, one right after the other; then waits until the summaries are up to date."""
    with TemporaryDirectory() as name, running_collector(environment={"TMPDIR": name}) as collector:
        senders = [http_sender(collector.otlp_http) for _ in range(CASE.clients)]
        send_all(ingest.lasting(ingest.WARM_UP, CASE.bodies(10**9, CASE.spans, seed=2, clock=time.time_ns)), senders)
        rows = [_part(collector, senders, number) for number in range(PARTS)]
        rows.append(_rest(collector))
    return table((f"{SPANS:,} spans over HTTP", "", "spans/s", "CPU-s/M", "p50 ms", "p99 ms", "MB", "load"), rows)


def _part(collector: RunningCollector, senders: list[Send], number: int) -> list[str]:
    process, requests = psutil.Process(collector.process.pid), SPANS // PARTS // CASE.spans
    used = sum(process.cpu_times()[:2])
    sent = send_all(islice(CASE.bodies(10**9, CASE.spans, seed=3 + number, clock=time.time_ns), requests), senders)
    used, spans = sum(process.cpu_times()[:2]) - used, requests * CASE.spans
    figures = [f"{spans / sent.seconds:,.0f}", f"{used / spans * ingest.MILLION:.1f}"]
    waits = [f"{sent.wait(0.5):.0f}", f"{sent.wait(0.99):.0f}"]
    return [f"part {number + 1} of {PARTS}", "", *figures, *waits, _resident(process), busy()]


def _rest(collector: RunningCollector) -> list[str]:
    """Measures what is still done when nothing is sent any more."""
    process, begun = psutil.Process(collector.process.pid), time.perf_counter()
    first = last = sum(process.cpu_times()[:2])
    while True:
        time.sleep(1)
        now = sum(process.cpu_times()[:2])
        if now - last < 0.1:
            break
        last = now
    seconds = time.perf_counter() - begun - 1
    title = f"afterwards, for {seconds:.0f} s"
    return [title, "", "", f"{(last - first) / SPANS * ingest.MILLION:.1f}", "", "", _resident(process), busy()]


def _resident(process: psutil.Process) -> str:
    return f"{process.memory_info().rss / ingest.MILLION:,.0f}"
