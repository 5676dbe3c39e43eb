"""OTLP over HTTP, point by point, against a real collector."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest
from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.http import read_body
from support.collector import RunningCollector
from support.otlp import log, logs, span, traces

PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMIT = 2**20
M = TypeVar("M", bound=Message)
EMPTY = {PROTOBUF: b"", JSON: b"{}"}


def read(response: httpx.Response, message: type[M]) -> M:
    """The body as a message, by its content type."""
    if response.headers["content-type"] == JSON:
        return Parse(response.content, message())
    assert response.headers["content-type"] == PROTOBUF
    return message.FromString(response.content)


def post(
    http: httpx.Client, path: str, content: bytes | Iterator[bytes], type_: str = PROTOBUF, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(path, content=content, headers={"content-type": type_} | named)


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("type_", [PROTOBUF, JSON])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_an_empty_request_succeeds(http: httpx.Client, path: str, type_: str) -> None:
    response = post(http, path, EMPTY[type_], type_)
    assert (response.status_code, response.content) == (200, EMPTY[type_])
    assert response.headers["content-type"] == type_


def test_full_success_leaves_partial_success_unset(http: httpx.Client, number: int) -> None:
    response = post(http, "/v1/traces", traces(span(1, trace=number)).SerializeToString())
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    "type_", ["APPLICATION/X-Protobuf", "application/x-protobuf; charset=utf-8", "application/x-protobuf ;x=y"]
)
def test_media_types_compare_case_insensitively_and_may_carry_parameters(http: httpx.Client, type_: str) -> None:
    response = post(http, "/v1/traces", b"", type_)
    assert (response.status_code, response.headers["content-type"]) == (200, PROTOBUF)


@pytest.mark.parametrize("type_", [PROTOBUF, JSON])
def test_rejected_spans_are_counted_and_explained_and_the_others_stored(
    http: httpx.Client, api: httpx.Client, number: int, type_: str
) -> None:
    if type_ == JSON:
        good = f'{{"traceId": "{number:032x}", "spanId": "{1:016x}", "startTimeUnixNano": "5", "endTimeUnixNano": "6"}}'
        content = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{good}, {{"name": "no ids"}}]}}]}}]}}'.encode()
    else:
        bad = span(1, trace=0)
        content = traces(bad, span(1, trace=number)).SerializeToString()
    response = post(http, "/v1/traces", content, type_)
    assert response.status_code == 200
    answer = read(response, ExportTraceServiceResponse)
    assert answer.partial_success.rejected_spans == 1
    assert "1 span was rejected" in answer.partial_success.error_message
    assert api.get("/api/v1/search", params={"q": f"{number:032x}"}).json()["reason"] == "not_a_saga"


def test_a_log_with_bad_ids_is_stored(http: httpx.Client, number: int) -> None:
    content = logs(log(f"bad ids {number}", trace_id=b"short", span_id=bytes(8))).SerializeToString()
    response = post(http, "/v1/logs", content)
    assert read(response, ExportLogsServiceResponse) == ExportLogsServiceResponse()


@pytest.mark.parametrize("type_", [PROTOBUF, JSON])
def test_metrics_are_taken_with_a_warning(http: httpx.Client, type_: str) -> None:
    content = b'{"resourceMetrics": [{}]}' if type_ == JSON else ExportMetricsServiceRequest().SerializeToString()
    response = post(http, "/v1/metrics", content, type_)
    answer = read(response, ExportMetricsServiceResponse)
    assert response.status_code == 200
    assert answer.partial_success.rejected_data_points == 0
    assert "does not keep metrics" in answer.partial_success.error_message


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("zstd", zstd), ("identity", bytes), ("none", bytes)],
)
def test_compressed_requests_are_understood(
    http: httpx.Client, api: httpx.Client, number: int, coding: str, compress
) -> None:
    content = compress(traces(span(1, trace=number)).SerializeToString())
    assert post(http, "/v1/traces", content, content_encoding=coding).status_code == 200
    assert api.get("/api/v1/search", params={"q": f"{number:032x}"}).json()["reason"] == "not_a_saga"


def test_gzip_in_several_members_and_in_drips_is_understood(http: httpx.Client, api: httpx.Client, number: int) -> None:
    content = traces(span(1, trace=number)).SerializeToString()
    members = gzip.compress(content[:9], mtime=0) + gzip.compress(content[9:], mtime=0)
    drips = (members[place : place + 7] for place in range(0, len(members), 7))
    assert post(http, "/v1/traces", drips, content_encoding="gzip").status_code == 200
    assert api.get("/api/v1/search", params={"q": f"{number:032x}"}).json()["reason"] == "not_a_saga"


@pytest.mark.parametrize(
    ("coding", "content"), [("gzip", gzip.compress(b"", mtime=0) * 2_000), ("zstd", zstd(b"") * 2_000)]
)
def test_empty_members_are_counted(http: httpx.Client, coding: str, content: bytes) -> None:
    assert post(http, "/v1/traces", content, content_encoding=coding).status_code == 413


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_others_are_served_while_a_body_is_inflated(coding: str) -> None:
    content = (gzip.compress if coding == "gzip" else zstd)(bytes(32 * LIMIT))

    async def inflate() -> tuple[int, int]:
        async def body() -> AsyncIterator[bytes]:
            yield content

        async def read() -> bytes:
            async with Budget(64 * LIMIT).lease() as lease:
                return await read_body(body(), coding.encode(), 64 * LIMIT, lease)

        reading = asyncio.ensure_future(read())
        served = 0
        while not reading.done():
            served += 1
            await asyncio.sleep(0)
        return served, len(await reading)

    served, size = asyncio.run(inflate())
    assert size == 32 * LIMIT
    assert served >= 16


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_refused(http: httpx.Client, coding: str) -> None:
    response = post(http, "/v1/traces", b"", content_encoding=coding)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, zstd, identity"
    assert read(response, Status).message


@pytest.mark.parametrize("type_", [PROTOBUF, JSON])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/metrics"])
def test_what_cannot_be_decoded_is_refused_as_a_bad_request(http: httpx.Client, path: str, type_: str) -> None:
    response = post(http, path, b"\xffnonsense", type_)
    assert response.status_code == 400
    assert read(response, Status).code == 3
    assert read(response, Status).message.startswith("This is not ")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", gzip.compress(b"", mtime=0)[:-4], gzip.compress(bytes(99), mtime=0)[:20]]
)
def test_broken_compression_is_a_bad_request(http: httpx.Client, content: bytes) -> None:
    assert post(http, "/v1/traces", content, content_encoding="gzip").status_code == 400


def test_broken_zstd_is_a_bad_request(http: httpx.Client) -> None:
    assert post(http, "/v1/traces", b"nonsense", content_encoding="zstd").status_code == 400
    assert post(http, "/v1/traces", zstd(bytes(9999))[:10], content_encoding="zstd").status_code == 400


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}, {"content-type": "application/x-thrift"}])
def test_a_wrong_or_missing_type_is_refused(http: httpx.Client, headers: dict[str, str]) -> None:
    response = http.post("/v1/traces", content=b"", headers=headers)
    assert response.status_code == 415
    assert "application/x-protobuf" in read(response, Status).message


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(http: httpx.Client, method: str) -> None:
    response = http.request(method, "/v1/traces", headers={"content-type": PROTOBUF})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert read(response, Status).message


@pytest.mark.parametrize("path", ["/", "/v1/profiles", "/v1/traces/", "/api/v1/status", "/v1/%74races2"])
def test_other_paths_are_not_found(http: httpx.Client, path: str) -> None:
    response = post(http, path, b"")
    assert response.status_code == 404
    assert "/v1/traces" in read(response, Status).message


@pytest.mark.parametrize("type_", [PROTOBUF, JSON])
def test_a_request_that_announces_too_much_is_refused(http: httpx.Client, type_: str) -> None:
    response = post(http, "/v1/traces", bytes(LIMIT + 1), type_)
    assert response.status_code == 413
    assert read(response, Status).code == 8


def test_too_much_without_a_length_is_refused_while_it_streams(http: httpx.Client) -> None:
    response = post(http, "/v1/traces", (bytes(100_000) for _ in range(20)))
    assert response.status_code == 413


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_bomb_is_refused(http: httpx.Client, coding: str, compress: Callable[[bytes], bytes]) -> None:
    content = compress(bytes(500 * LIMIT))
    assert len(content) < LIMIT
    response = post(http, "/v1/traces", content, content_encoding=coding)
    assert response.status_code == 413
    assert "retry-after" not in response.headers


def test_a_request_at_the_limit_is_taken(http: httpx.Client) -> None:
    frame = len(logs(log("x" * 1_000_000)).SerializeToString()) - 1_000_000
    content = logs(log("x" * (LIMIT - frame))).SerializeToString()
    assert len(content) == LIMIT
    assert post(http, "/v1/logs", content).status_code == 200


def test_a_sender_that_goes_away_disturbs_nobody(collector: RunningCollector, http: httpx.Client) -> None:
    place = urlsplit(collector.otlp_http)
    for _ in range(20):
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\nContent-Type: ")
            connection.sendall(PROTOBUF.encode() + b"\r\n\r\nhalf")
    assert post(http, "/v1/traces", b"").status_code == 200


def test_what_is_no_http_is_answered_and_disturbs_nobody(collector: RunningCollector, http: httpx.Client) -> None:
    place = urlsplit(collector.otlp_http)
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert post(http, "/v1/traces", b"").status_code == 200


def test_what_is_sent_again_is_counted_as_duplicate(http: httpx.Client, api: httpx.Client, number: int) -> None:
    content = traces(span(1, trace=number), span(2, trace=number)).SerializeToString()
    before = api.get("/api/v1/status").json()
    for _ in range(3):
        assert post(http, "/v1/traces", content).content == b""
    after = api.get("/api/v1/status").json()
    assert {name: after[name] - before[name] for name in ("received", "stored", "duplicate", "rejected")} == {
        "received": 6,
        "stored": 2,
        "duplicate": 4,
        "rejected": 0,
    }
