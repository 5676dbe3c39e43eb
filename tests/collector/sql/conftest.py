"""One real collector with what people ask about, for all tests of queries."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagascope_collector.client import Client
from support.collector import RunningCollector, running_collector
from support.otlp import NOON, log, logs, of_saga, resource
from support.payments import STUCK, Tried, saga, send, soon

COMPENSATED = (
    Tried("wallet.debit", "wallet", 0.1, 0.2),
    Tried("stock.reserve", "stock", 0.3, 0.5, "no stock left", {"saga.step.attempt": 1}),
    Tried("stock.reserve", "stock", 0.6, 0.9, "no stock left", {"saga.step.attempt": 2}),
    Tried(
        "wallet.refund",
        "wallet",
        1.0,
        1.2,
        attributes={"saga.step.type": "compensation", "saga.step.compensates": "wallet.debit"},
    ),
)


def fill(collector: RunningCollector) -> None:
    """Sends four finished payments, two that were compensated, and two that are stuck."""
    paid = {"saga.amount": "50.00", "saga.currency": "EUR"}
    for number in range(4):
        send(collector, *saga(f"done-{number}", ago=100 + number, root={"saga.key.customer": f"c-{number}"}))
    for number in range(2):
        root = paid | {"saga.outcome": "compensated", "saga.key.customer": "c-17"}
        send(collector, *saga(f"back-{number}", COMPENSATED, ago=90, root=root, versions={"stock": "2.1"}))
    send(collector, *saga("8492", STUCK, ago=80), *saga("8493", STUCK, ago=70, versions={"ledger": "9"}))
    said = [
        log(text, at=NOON + place * 1_000, attributes=of_saga(), severity_text="INFO")
        for place, text in enumerate(("started", "waiting for the ledger"))
    ]
    send(collector, logs(*said, of=resource("ledger")))


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(Path(tmp_path_factory.mktemp("sql"))) as running:
        fill(running)
        with Client(running.api) as client:
            ready = "SELECT count(*) FROM sagas WHERE status <> 'running' OR attention IS NOT NULL"
            soon(lambda: client.sql(ready).rows == [[8]])
        yield running


@pytest.fixture
def client(collector: RunningCollector) -> Iterator[Client]:
    with Client(collector.api) as opened:
        yield opened


@pytest.fixture
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as opened:
        yield opened


def first(client: Client, query: str) -> Any:
    """The first value that a query answers."""
    return client.sql(query).rows[0][0]
