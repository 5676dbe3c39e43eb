"""A stop while others send, idle and drip: what was acknowledged is stored, and the end comes within its deadline."""

import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from sagascope_collector.storage import Storage
from support.collector import RunningCollector, running_collector
from support.otlp import of_saga, span, traces
from support.payments import soon

pytestmark = pytest.mark.slow

PROTOBUF = {"content-type": "application/x-protobuf"}
HALF = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99\r\n\r\nhalf"


def senders(collector: RunningCollector, acknowledged: set[int]) -> list[threading.Thread]:
    """Two that send, one over each transport, until they are refused; each with numbers of its own."""

    def over_http() -> None:
        with httpx.Client(trust_env=False, timeout=30, headers=PROTOBUF) as client:
            for number in range(1, 1_000_000, 2):
                try:
                    answer = client.post(f"{collector.otlp_http}/v1/traces", content=request(number))
                except httpx.TransportError:
                    return
                if not answer.is_success:
                    return
                acknowledged.add(number)

    def over_grpc() -> None:
        with grpc.insecure_channel(collector.otlp_grpc) as channel:
            export = TraceServiceStub(channel).Export
            for number in range(2, 1_000_000, 2):
                try:
                    export(traces(span(number, attributes=of_saga(str(number)))), timeout=30)
                except grpc.RpcError:
                    return
                acknowledged.add(number)

    return [threading.Thread(target=each) for each in (over_http, over_grpc)]


def request(number: int) -> bytes:
    return traces(span(number, attributes=of_saga(str(number)))).SerializeToString()


@pytest.mark.parametrize(("number", "begun"), [(signal.SIGTERM, HALF), (signal.SIGINT, b"")])
def test_a_stop_waits_for_nobody_for_long_and_loses_nothing(tmp_path: Path, number: int, begun: bytes) -> None:
    acknowledged: set[int] = set()
    with running_collector(tmp_path) as collector, ExitStack() as open_ones:
        for place in (collector.otlp_http, collector.api, f"http://{collector.otlp_grpc}"):
            address = urlsplit(place)
            open_ones.enter_context(socket.create_connection((address.hostname, address.port)))
            open_ones.enter_context(socket.create_connection((address.hostname, address.port))).sendall(begun)
        sending = senders(collector, acknowledged)
        for each in sending:
            each.start()
        soon(lambda: len(acknowledged) > 20 and {each % 2 for each in acknowledged} == {0, 1}, seconds=60)
        assert collector.stop(number) == 0
        for each in sending:
            each.join(60)
        assert "Traceback" not in collector.logged()
    store = Storage(str(collector.db))
    assert store.records.counters.stored >= len(acknowledged)
    missing = [each for each in acknowledged if not store.lookup.facts_called(str(each))]
    store.close()
    assert not missing
