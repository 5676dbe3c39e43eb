"""From the moment that makes a saga stuck until the receiver is notified, and incidents over many open sagas.

A real collector and a real receiver. Each saga hangs in a step of its own, so that each makes an incident and a
notification; the moment is the end of the time that its step was given. One second of the wait is given to telemetry
that may be under way. `CALLS` says how many there are.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import httpx
import yaml
from fastapi import FastAPI
from report import table

from sagascope_collector.analysis import Context
from sagascope_collector.api import create_api
from sagascope_collector.incident_records import AmountAtRisk, IncidentSaga
from sagascope_collector.incidents import Incidents
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import SagaRow, Storage
from support.collector import running_collector
from support.payments import Tried, saga, send, soon
from support.webhook import receiver

CALLS = int(os.environ.get("CALLS", "80"))
GIVEN = 2.0
"""Seconds that each step is given."""

BETWEEN = 0.137
OPEN = int(os.environ.get("OPEN", "100000"))
CAUSES = 200
TURNS = 100


def main() -> str:
    """A table of milliseconds."""
    head = ("what", "bound", "p50 ms", "p95 ms", "max ms", "number")
    return table(head, [_row("stuck until the receiver is notified", "2 s", _waits()), *_over_many()])


def _row(what: str, bound: str, seconds: Iterable[float]) -> Sequence[str]:
    taken = sorted(1_000 * each for each in seconds)
    figures = statistics.median(taken), taken[round(0.95 * len(taken)) - 1], taken[-1]
    return what, bound, *(f"{each:,.1f}" for each in figures), str(len(taken))


def _over_many() -> Iterator[Sequence[str]]:
    with tempfile.TemporaryDirectory() as name:
        store = Storage(f"{name}/sagascope.duckdb")
        for first in range(0, OPEN, 5_000):
            _keep(store, range(first, min(first + 5_000, OPEN)))
        incidents = Incidents(store.incidents)
        incidents.evaluate()
        after, asked = [], []
        api = create_api(store, Context, Nothing(), incidents)
        for number in range(OPEN, OPEN + TURNS):
            _keep(store, [number])
            begun = time.perf_counter()
            incidents.evaluate()
            after.append(time.perf_counter() - begun)
            asked.append(asyncio.run(_asked(api)))
        store.close()
    yield _row(f"incidents of {OPEN:,} brought up to date after one more", "", after)
    yield _row(f"GET /api/v1/incidents over {OPEN:,}", "p95 100 ms", asked)


async def _asked(api: FastAPI) -> float:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://collector") as http:
        begun = time.perf_counter()
        (await http.get("/api/v1/incidents")).raise_for_status()
        return time.perf_counter() - begun


def _keep(store: Storage, numbers: Iterable[int]) -> None:
    rows = list(map(_stuck, numbers))
    store.sagas.put([SagaId("", row.key.id) for row in rows], rows)


def _stuck(number: int) -> SagaRow:
    step, at = f"step.{number % CAUSES}", time.time_ns() - number * 1_000_000
    stake = AmountAtRisk("EUR", Decimal("50.00"), Decimal(0))
    return SagaRow(
        key=SagaKey("", "payment", f"s-{number}", ""),
        status="running",
        attention="retrying",
        step=step,
        service="ledger",
        steps=(step,),
        services=("ledger",),
        started_at=at,
        updated_at=at,
        ended_at=None,
        due_at=None,
        keys={},
        document="{}",
        incident=IncidentSaga(
            step, step, "ledger", "forward", "retrying", "Timeout", "Timeout: 5 s", "resume", at, (stake,)
        ),
    )


class Nothing:
    """What a collector says of itself, where there is none."""

    def unready(self) -> None:
        """It is ready."""

    def lag_seconds(self) -> float:
        """It is not behind."""
        return 0.0

    def notices(self) -> list[str]:
        """It has nothing to say."""
        return []


def _waits() -> Iterator[float]:
    with tempfile.TemporaryDirectory() as name, receiver() as pager:
        file = Path(name) / "alerts.yaml"
        rules = {"receivers": [{"name": "pager", "url": pager.url}], "rules": [{"name": "any"}]}
        file.write_text(yaml.safe_dump(rules))
        stuck: dict[str, float] = {}
        with running_collector(Path(name), "--alerts", str(file)) as collector:
            for number in range(CALLS):
                step, now = f"step.{number:03}", time.time_ns()
                hangs = Tried(step, "ledger", 0.0, None, attributes={"saga.step.timeout": GIVEN})
                send(collector, *saga(f"s-{number}", (hangs,), ago=0.0, now=now))
                stuck[step] = now / 1e9 + GIVEN
                time.sleep(BETWEEN)
            soon(lambda: len(pager.calls) >= CALLS, seconds=60)
        for call in pager.calls:
            yield call.at - stuck[call.body["incident"]["step"]]
