"""OTLP over gRPC, point by point, against a real collector."""

import threading
from collections.abc import Iterator

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from support.collector import RunningCollector
from support.otlp import log, logs, span, traces

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
MAX_UNFINISHED_CALLS = 10
"""The calls of one connection that may be arriving, as `docs/operations.md` states."""
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Gzip]


@pytest.fixture
def channel(collector: RunningCollector) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(collector.otlp_grpc) as opened:
        yield opened


def send_raw(channel: grpc.Channel, content: bytes) -> bytes:
    """Send bytes as they are."""
    return channel.unary_unary(EXPORT)(content, timeout=30)


def test_empty_requests_succeed(channel: grpc.Channel) -> None:
    assert TraceServiceStub(channel).Export(ExportTraceServiceRequest(), timeout=30) == ExportTraceServiceResponse()
    answer = LogsServiceStub(channel).Export(ExportLogsServiceRequest(), timeout=30)
    assert not answer.HasField("partial_success")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_records_are_stored(
    channel: grpc.Channel, api: httpx.Client, number: int, compression: grpc.Compression
) -> None:
    before = api.get("/api/v1/status").json()["stored"]
    request = traces(span(1, trace=number), span(2, trace=number))
    answer = TraceServiceStub(channel).Export(request, timeout=30, compression=compression)
    assert not answer.HasField("partial_success")
    LogsServiceStub(channel).Export(logs(log(number)), timeout=30, compression=compression)
    assert api.get("/api/v1/status").json()["stored"] == before + 3


def test_rejected_spans_are_counted_and_explained(channel: grpc.Channel, number: int) -> None:
    answer = TraceServiceStub(channel).Export(traces(span(0, trace=number), span(0), span(1, trace=number)), timeout=30)
    assert answer.partial_success.rejected_spans == 2
    assert "2 spans were rejected" in answer.partial_success.error_message


def test_metrics_are_taken_with_a_warning(channel: grpc.Channel) -> None:
    answer = MetricsServiceStub(channel).Export(ExportMetricsServiceRequest(), timeout=30)
    assert answer.partial_success.rejected_data_points == 0
    assert "does not keep metrics" in answer.partial_success.error_message


@pytest.mark.parametrize("signal", ["trace.v1.Trace", "logs.v1.Logs", "metrics.v1.Metrics"])
def test_what_cannot_be_decoded_is_an_invalid_argument(channel: grpc.Channel, signal: str) -> None:
    call = channel.unary_unary(f"/opentelemetry.proto.collector.{signal}Service/Export")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff", timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("This is not OTLP")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_too_large_a_request_exhausts_resources_without_retry(
    channel: grpc.Channel, compression: grpc.Compression
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(EXPORT)(bytes(40 * 2**20), timeout=30, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(caught.value.trailing_metadata())


def test_unknown_services_are_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export")(
            b"", timeout=30
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_sender_that_gives_up_disturbs_nobody(
    collector: RunningCollector, channel: grpc.Channel, number: int
) -> None:
    raw = traces(*(span(each, trace=number) for each in range(1, 2000))).SerializeToString()
    for _ in range(20):
        channel.unary_unary(EXPORT).future(raw, timeout=30).cancel()
    with grpc.insecure_channel(collector.otlp_grpc, options=OWN_CONNECTION) as another:
        assert send_raw(another, b"") == b""


def test_unfinished_calls_of_one_connection_are_few_and_hold_up_no_other(collector: RunningCollector) -> None:
    empty, end = ExportTraceServiceRequest().SerializeToString(), threading.Event()

    def unfinished() -> Iterator[bytes]:
        end.wait()
        yield empty

    with (
        grpc.insecure_channel(collector.otlp_grpc, options=OWN_CONNECTION) as hostile,
        grpc.insecure_channel(collector.otlp_grpc, options=OWN_CONNECTION) as ordinary,
    ):
        send_raw(hostile, empty)  # the client knows the bound from here on
        begun = [hostile.stream_unary(EXPORT).future(unfinished(), timeout=120) for _ in range(MAX_UNFINISHED_CALLS)]
        try:
            send_raw(ordinary, empty)
            with pytest.raises(grpc.RpcError) as caught:
                hostile.unary_unary(EXPORT)(empty, timeout=3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            send_raw(ordinary, empty)
        finally:
            end.set()
        assert [each.result() for each in begun] == [b""] * MAX_UNFINISHED_CALLS
        send_raw(hostile, empty)


def test_a_call_without_a_request_is_an_invalid_argument(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(EXPORT)(iter(()), timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
