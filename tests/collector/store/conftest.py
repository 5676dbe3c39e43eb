"""The stores that the conformance suite runs on, and a way to put telemetry into them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.store import Appended, Batch, DuckDBStore, Store
from support.otlp import NOON, SECOND

Request = ExportTraceServiceRequest | ExportLogsServiceRequest
Put = Callable[..., Appended]

RECEIVED = NOON + 60 * SECOND


class SealedStore(DuckDBStore):
    """A store whose every batch is sealed at once: all that is promised holds for the sealed tier too."""

    def append(self, batch: Batch, *, rejected: int = 0) -> Appended:
        try:
            return super().append(batch, rejected=rejected)
        finally:
            self.seal()


@pytest.fixture(params=["file", "memory", "sealed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "store.duckdb")
    opened = (SealedStore if request.param == "sealed" else DuckDBStore)(path, clock=lambda: RECEIVED)
    yield opened
    opened.close()


@pytest.fixture
def put(store: Store) -> Put:
    return lambda *requests: append(store, *requests)


def append(store: Store, *requests: Request) -> Appended:
    """Store requests as one batch."""
    decoded = decode([payload(each) for each in requests])
    return store.append(decoded.batch, rejected=decoded.rejected)


def payload(request: Request) -> Payload:
    """A request as it is received."""
    signal = Signal.TRACES if isinstance(request, ExportTraceServiceRequest) else Signal.LOGS
    return Payload(signal, Encoding.PROTOBUF, request.SerializeToString(), RECEIVED)
