"""The storages that the tests run on, and ways to put telemetry into them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import (
    Storage,
    lookup as traces_module,
    maintenance as maintenance_module,
    sagas as sagas_module,
)
from sagascope_collector.storage.records import Appended
from support.otlp import NOON, SECOND

Request = ExportTraceServiceRequest | ExportLogsServiceRequest
Put = Callable[..., Appended]

RECEIVED = NOON + 60 * SECOND
MUCH_LATER = NOON + 10**9 * SECOND

MAX_STEPS = 1_000


@pytest.fixture(params=["file", "moved"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """One in a file; and one in memory, which at once moves every summary that may be to the table of ended sagas."""
    path = ":memory:" if request.param == "moved" else str(tmp_path / "storage.duckdb")
    opened = Storage(path, clock=lambda: RECEIVED)
    if request.param == "moved":
        monkeypatch.setattr(sagas_module, "SETTLE_INTERVAL_SECONDS", 0.0)
        put = opened.sagas.put

        def put_and_move(*given: Any) -> None:
            put(*given)
            opened.sagas.settle(MUCH_LATER)

        monkeypatch.setattr(opened.sagas, "put", put_and_move)
    yield opened
    opened.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets maintenance look at everything in each step."""
    monkeypatch.setattr(sagas_module, "SETTLE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(maintenance_module, "RETENTION_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(traces_module, "INDEX_RECORDS", 50)


@pytest.fixture
def put(storage: Storage) -> Put:
    return lambda *requests: append(storage, *requests)


def append(storage: Storage, *requests: Request, received: int = RECEIVED) -> Appended:
    """Stores requests as one batch."""
    decoded = decode([payload(each, received) for each in requests])
    return storage.records.append(decoded.batch, rejected=decoded.rejected)


def payload(request: Request, received: int = RECEIVED) -> Payload:
    """A request as it is received."""
    signal = Signal.TRACES if isinstance(request, ExportTraceServiceRequest) else Signal.LOGS
    return Payload(signal, Encoding.PROTOBUF, request.SerializeToString(), received)


def maintain(storage: Storage) -> None:
    """Does all that maintenance finds to do."""
    for _ in range(MAX_STEPS):
        if not storage.maintain():
            return
    pytest.fail("Maintenance does not come to an end.")
