"""Connections that never finish what they began are closed, on every port."""

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import make_certificates
from support.collector import RunningCollector, running_collector

CLOSED_WITHIN_SECONDS = 50.0
"""Far more than the limits, for a busy machine; less than a minute, which servers allow a TLS handshake by default."""

JSON = b"Host: localhost\r\nContent-Type: application/json\r\n"
API_BODY = b"POST /api/v1/forget HTTP/1.1\r\n" + JSON + b"Content-Length: 99\r\n\r\n{"
API_CHUNKS = b"POST /api/v1/sql HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("slow")) as running:
        yield running


def answer_of(connection: socket.socket) -> bytes:
    """Everything that is received until the other side closes the connection."""
    received, deadline = b"", time.monotonic() + CLOSED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        connection.settimeout(deadline - time.monotonic())
        try:
            data = connection.recv(65_536)
        except ConnectionError:
            return received
        if not data:
            return received
        received += data
    raise TimeoutError("the connection is still open")


def test_a_body_that_never_ends_and_a_handshake_that_never_comes_are_ended(collector: RunningCollector) -> None:
    api = collector.api.removeprefix("http://")
    http = collector.otlp_http.removeprefix("http://")
    begun = {
        "a body": (api, API_BODY),
        "chunks": (api, API_CHUNKS),
        "a head": (api, b"GET /api/v1/status HTTP/1.1\r\nHost: local"),
        "a head of OTLP": (http, b"POST /v1/traces HTTP/1.1\r\n"),
        "no handshake": (collector.otlp_grpc, b""),
        "half a handshake": (collector.otlp_grpc, b"PRI * HTTP/2.0\r\n"),
    }
    connections = {}
    for name, (address, first) in begun.items():
        host, _, port = address.rpartition(":")
        connections[name] = socket.create_connection((host, int(port)), timeout=30)
        connections[name].sendall(first)
    answers = {name: answer_of(connection) for name, connection in connections.items()}
    for connection in connections.values():
        connection.close()
    assert answers["a body"].startswith(b"HTTP/1.1 408"), answers
    assert b'"title":"Too slow"' in answers["a body"]
    assert answers["chunks"].startswith(b"HTTP/1.1 408"), answers


def test_a_tls_handshake_that_never_ends_is_ended_on_every_port(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    options = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))
    with running_collector(tmp_path, *options, tls=trusting) as collector:
        connections = []
        for address in (collector.api, collector.otlp_http, collector.otlp_grpc):
            host, _, port = address.rpartition("/")[2].rpartition(":")
            for first in (b"", b"\x16\x03\x01\x02\x00"):
                connections.append(socket.create_connection((host, int(port)), timeout=30))
                connections[-1].sendall(first)
        for connection in connections:
            answer_of(connection)
            connection.close()
