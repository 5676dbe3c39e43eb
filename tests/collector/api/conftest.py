"""One real collector with a handful of sagas for all tests of the API."""

from collections.abc import Iterator

import httpx
import pytest

from sagascope_collector.client import Client
from support.collector import RunningCollector, running_collector
from support.otlp import log, logs, of_saga, resource, span, traces
from support.payments import ODD, STUCK, Tried, saga, send, soon

LONE_TRACE = 0xABCDEF << 64
"""A trace of no saga."""

VALUES = {
    "text": "x",
    "number": 2**53 + 1,
    "half": 0.5,
    "yes": True,
    "nothing": None,
    "bytes": b"\x00\xff",
    "nan": float("nan"),
    "minus": float("-inf"),
    "list": ["a", 1, b"b", [float("inf")]],
    "map": {"b": 1, "deep": {"bytes": b"\x01"}},
}


@pytest.fixture(scope="session")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        _fill(running)
        yield running


def _fill(collector: RunningCollector) -> None:
    send(
        collector,
        *saga("8492", STUCK, environment="production", ago=720, root={"saga.key.order_id": "ord-77"}),
        *saga("84920", environment="production", ago=700),
        *saga("8493", environment="production", ago=600, root={"saga.outcome": "completed"}),
        *saga("500", run="r1", ago=500),
        *saga("500", STUCK, run="r2", ago=400),
        *saga("77", ago=300),
        *saga("77", name="refund", ago=290),
        *saga("77", environment="staging", ago=280),
        *saga(ODD, (Tried("odd.step", "odd", 0, 1, attributes=VALUES),), name="odd/name", ago=250),
        *saga("late.1", (Tried("late", "late", 0, 1, "refused"),), name="late", ago=200),
        traces(
            span(7, trace=LONE_TRACE, attributes={"app.order.id": "lone-77", "http.request.method": "GET"}),
            of=resource("lone"),
        ),
        logs(log({"said": b"\x02"}, attributes=of_saga(ODD, "odd/name"), severity_number=18), of=resource("odd")),
        logs(log('No "Rooms" left', attributes=of_saga("77", "refund")), of=resource("hotel")),
    )
    with Client(collector.api) as client:
        soon(lambda: len(client.sagas().items) == 10)


@pytest.fixture
def client(collector: RunningCollector) -> Iterator[Client]:
    with Client(collector.api) as opened:
        yield opened


@pytest.fixture
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as opened:
        yield opened
