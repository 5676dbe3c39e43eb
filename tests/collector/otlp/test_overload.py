"""A full queue says so over both transports, keeps nothing, and everything arrives after it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import grpc.aio
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from sagascope_collector.errors import Overloaded
from sagascope_collector.ingest import REQUEST_OVERHEAD_BYTES, Encoding, Ingest, Limits, Payload, Signal
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp, decode
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.storage import Storage
from support.otlp import NOON, span, traces

QUEUED = 3
LIMITS = Limits(queue_bytes=QUEUED * (REQUEST_OVERHEAD_BYTES + 1000))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def clock() -> int:
    return NOON


def request(number: int) -> bytes:
    return traces(span(number)).SerializeToString()


@pytest.fixture
def store() -> Iterator[Storage]:
    opened = Storage(clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def ingest(store: Storage) -> Iterator[Ingest]:
    made = Ingest(store.records, decode, limits=LIMITS)
    made.start()
    yield made
    assert made.close(10)


@contextmanager
def stalled(store: Storage) -> Iterator[None]:
    """Nothing can be appended inside."""
    with store.records.appending:
        yield


@asynccontextmanager
async def filled(ingest: Ingest) -> AsyncIterator[list[asyncio.Future]]:
    """The writer is busy, and its queue is full."""
    waiting = [ingest.submit(payload(1))]
    while ingest.waiting()[0]:
        await asyncio.sleep(0)
    waiting += [ingest.submit(payload(number)) for number in range(2, 2 + QUEUED)]
    yield waiting


def payload(number: int) -> Payload:
    """A request of a sender of its own, so that no other sender is displaced."""
    return Payload(Signal.TRACES, Encoding.PROTOBUF, request(number), NOON, sender=str(number))


def test_http_answers_503_with_retry_after_and_later_accepts(store: Storage, ingest: Ingest) -> None:
    async def scenario() -> None:
        transport = httpx.ASGITransport(app=OtlpHttp(ingest, clock, max_bytes=2**20, budget=Budget(2**20)))
        headers = {"content-type": "application/x-protobuf"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            with stalled(store):
                async with filled(ingest) as waiting:
                    refused = await client.post("/v1/traces", content=request(99))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert Status.FromString(refused.content).code == 14
            await asyncio.gather(*waiting)
            assert (await client.post("/v1/traces", content=request(99))).status_code == 200

    asyncio.run(scenario())
    assert store.records.counters.stored == 5


def test_grpc_answers_unavailable_with_retry_info_and_later_accepts(store: Storage, ingest: Ingest) -> None:
    async def scenario() -> None:
        server = OtlpGrpc(ingest, clock, budget=Budget(2**20)).server(max_bytes=2**20)
        port = bind(server, "127.0.0.1", 0)
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(EXPORT)
            await export(b"")
            with stalled(store):
                async with filled(ingest) as waiting:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await export(request(99), timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            status = Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
            retry = RetryInfo()
            assert status.details[0].Unpack(retry)
            assert retry.retry_delay.seconds == 1
            await asyncio.gather(*waiting)
            assert await export(request(99), timeout=10) == b""
        await server.stop(None)

    asyncio.run(scenario())
    assert store.records.counters.stored == 5


def test_a_closing_ingest_stores_what_waits_and_takes_no_more(store: Storage) -> None:
    ingest = Ingest(store.records, decode)

    async def scenario() -> None:
        waiting = [ingest.submit(payload(number)) for number in range(1, 6)]
        ingest.start()
        assert await asyncio.to_thread(ingest.close, 10)
        await asyncio.gather(*waiting)
        with pytest.raises(Overloaded):
            ingest.submit(payload(9))

    asyncio.run(scenario())
    assert store.records.counters.stored == 5


def test_one_undecodable_request_spoils_none_of_its_group(store: Storage) -> None:
    ingest = Ingest(store.records, decode)

    async def scenario() -> list:
        waiting = [
            ingest.submit(each) for each in (payload(1), Payload(Signal.LOGS, Encoding.JSON, b"?", NOON), payload(2))
        ]
        ingest.start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    assert [type(each).__name__ for each in outcomes] == ["Receipt", "Undecodable", "Receipt"]
    assert ingest.close(10)
    assert store.records.counters.stored == 2
