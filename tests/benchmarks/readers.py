"""What those who read cost those who send: how soon is acknowledged beside fifty dashboards, and a bad query too."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import ingest
from report import load as busy, table

from support.collector import RunningCollector, running_collector
from support.load import http_sender, send_all

RUNS = int(os.environ.get("RUNS", "5"))
SECONDS = float(os.environ.get("SECONDS", "8"))
RATE = float(os.environ.get("RATE", "30000"))
"""Spans a second that are sent beside the readers."""

DASHBOARDS = int(os.environ.get("DASHBOARDS", "50"))
REFRESH_INTERVAL_SECONDS = 2.0
"""Time between two refreshes of one dashboard."""

REFRESH_PATHS = ("/api/v1/status", "/api/v1/incidents", "/api/v1/sagas?attention=any&limit=50")
"""What one refresh requests, as Triage does."""

BAD = "/api/v1/sagas?q=9&step=nothing&limit=500"
"""Asked again as soon as it is answered: every summary is looked at for it."""

CASES = {"alone": (0, False), f"{DASHBOARDS} dashboards": (DASHBOARDS, False), "and a bad query": (DASHBOARDS, True)}


def main() -> str:
    """Measure each `RUNS` times, in turn."""
    waits: dict[str, list[list[float]]] = {}
    for _ in range(RUNS):
        for title, readers in CASES.items():
            waits.setdefault(title, []).append(_measured(*readers))
    rows = [_row(title, runs, waits["alone"]) for title, runs in waits.items()]
    return table(("acknowledged", "at most", "p50 ms", "p99 ms", "spread of p99", "of p99 alone", "load"), rows)


def _row(title: str, runs: list[list[float]], alone: list[list[float]]) -> list[str]:
    tails, other = (sorted(each[1] for each in some) for some in (runs, alone))
    share = statistics.median(tails) / statistics.median(other)
    middle = statistics.median(each[0] for each in runs)
    spread = f"{tails[0]:.0f} to {tails[-1]:.0f}"
    least = "" if title == "alone" else "200 % of p99 alone"
    return [title, least, f"{middle:.0f}", f"{statistics.median(tails):.0f}", spread, f"{share:.0%}", busy()]


def _measured(dashboards: int, bad: bool) -> list[float]:
    """p50 and p99 of the waits of one load, in milliseconds."""
    with TemporaryDirectory() as name, running_collector(environment={"TMPDIR": name}) as collector:
        senders = [http_sender(collector.otlp_http) for _ in range(8)]
        bodies = ingest.CASES[0].bodies
        send_all(
            ingest.lasting(ingest.WARM_UP, bodies(10**9, ingest.SPANS, seed=2, clock=time.time_ns)),
            senders,
            rate=RATE / ingest.SPANS,
        )
        with _reading(collector, dashboards, bad):
            requests = bodies(int(RATE * SECONDS / ingest.SPANS), ingest.SPANS, clock=time.time_ns)
            sent = send_all(requests, senders, rate=RATE / ingest.SPANS)
    return [sent.wait(0.5), sent.wait(0.99)]


@contextmanager
def _reading(collector: RunningCollector, dashboards: int, bad: bool) -> Iterator[None]:
    """Readers in a process of their own; one that was refused for want of time is a reader all the same."""
    if not dashboards:
        yield
        return
    command = [sys.executable, __file__, collector.api, str(dashboards), str(int(bad))]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        yield
        if process.poll() is not None:
            raise RuntimeError("The readers have ended before the load.")
        process.terminate()


async def _read_all(api: str, dashboards: int, bad: bool) -> None:
    place = urlsplit(api)
    looking = [
        _look(place.hostname or "", place.port or 0, number / dashboards * REFRESH_INTERVAL_SECONDS)
        for number in range(dashboards)
    ]
    asking = [_ask_on(place.hostname or "", place.port or 0)] if bad else []
    await asyncio.gather(*looking, *asking)


async def _look(host: str, port: int, after: float) -> None:
    await asyncio.sleep(after)
    reader, writer = await asyncio.open_connection(host, port)
    while True:
        for path in REFRESH_PATHS:
            await _get(reader, writer, path)
        await asyncio.sleep(REFRESH_INTERVAL_SECONDS)


async def _ask_on(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while True:
        await _get(reader, writer, BAD)


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith((b"http/1.1 200", b"http/1.1 503")):
        raise RuntimeError(head.decode())
    length = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)


if __name__ == "__main__":
    asyncio.run(_read_all(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
