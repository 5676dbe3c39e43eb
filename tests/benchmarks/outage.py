"""Measures triage and incidents of a real collector while very many sagas are stuck at once.

`OPEN` says how many, one number after the other. Only their summaries are there; no fact is read for these answers.
"""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from report import load, table

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import SagaRow, Storage
from support import history
from support.collector import RunningCollector, running_collector

OPEN = [int(each) for each in os.environ.get("OPEN", "100000").split()]
ASKED = 100
PUT_SAGAS = 50_000

QUESTIONS = {
    "triage: worst 50": "/api/v1/sagas?attention=any&limit=50",
    "triage, one reason and step": "/api/v1/sagas?attention=hung&step=shipping.book&limit=50",
    "incidents": "/api/v1/incidents",
    "newest 50": "/api/v1/sagas?limit=50",
    "running ones of one service": "/api/v1/sagas?status=running&service=shipping&limit=50",
    "search: id, not there": "/api/v1/search?q=nothing-84921",
    "flows": "/api/v1/flows",
}


def main() -> str:
    """A table with a column for each number of open sagas."""
    columns = [_measured(number) for number in OPEN]
    rows = [(title, "ms, p50 / p95", *(each[title] for each in columns)) for title in QUESTIONS]
    rows += [(title, "", *(each[title] for each in columns)) for title in columns[0] if title not in QUESTIONS]
    return table(("", "", *(f"{number:,} open" for number in OPEN)), rows)


def _measured(number: int) -> dict[str, str]:
    with TemporaryDirectory(dir=os.environ.get("KEEP")) as name:
        path = Path(name) / "outage.duckdb"
        begun = time.perf_counter()
        _fill(path, number)
        told = {"summaries written, s": f"{time.perf_counter() - begun:.0f}"}
        begun = time.perf_counter()
        with running_collector(path.parent, db=path) as collector:
            told["ready, s"] = f"{time.perf_counter() - begun:.1f}"
            time.sleep(3)
            told |= {title: _times(collector, ask) for title, ask in QUESTIONS.items()}
            told["load of the machine"] = load()
            told["resident, MB"] = f"{psutil.Process(collector.process.pid).memory_info().rss / 2**20:,.0f}"
        return told


def _fill(path: Path, number: int) -> None:
    drawn = history.draw()
    stuck = [each.row for each in drawn.told if each.row.incident]
    store = Storage(str(path), clock=lambda: history.BEGAN + 3600 * history.SECOND)
    for first in range(0, number, PUT_SAGAS):
        rows = [_row(stuck, each) for each in range(first, min(first + PUT_SAGAS, number))]
        store.sagas.put([SagaId(row.key.environment, row.key.id) for row in rows], rows)
    store.close()


def _row(stuck: Sequence[SagaRow], number: int) -> SagaRow:
    row = stuck[number % len(stuck)]
    key, later = SagaKey(*row.key[:2], f"saga-{number:08}", ""), number * 300_000
    incident = row.incident and replace(row.incident, since=row.incident.since + later)
    document = row.document.replace(f'"id":"{row.key.id}"', f'"id":"{key.id}"')
    return row._replace(key=key, started_at=row.started_at + later, due_at=None, document=document, incident=incident)


def _times(collector: RunningCollector, ask: str) -> str:
    waits = []
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as client:
        for _ in range(ASKED):
            begun = time.perf_counter()
            client.get(ask).raise_for_status()
            waits.append((time.perf_counter() - begun) * 1000)
            if sum(waits) > 20_000:
                break
    waits.sort()
    return f"{statistics.median(waits):.1f} / {waits[int(len(waits) * 0.95)]:.1f}"
