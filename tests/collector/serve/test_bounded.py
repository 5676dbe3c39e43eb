"""Slow, idle, endless and flooding senders: others still get in, memory stays flat, and everything arrives."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest

from sagascope_collector import serving
from sagascope_collector.listening import address_of, listen
from sagascope_collector.settings import Address
from support.collector import RunningCollector, running_collector
from support.load import EXPORT
from support.otlp import span, traces
from support.payloads import requests

PROTOBUF = {"content-type": "application/x-protobuf"}
MEBIBYTE = 2**20
FLOOD = 40


@contextmanager
def served() -> Iterator[tuple[str, int]]:
    """A server of ours, in a thread, that answers every request with 200."""

    async def application(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    listener = listen(Address("127.0.0.1", 0), "--api")
    place, server = address_of(listener), serving.server(application, drain_seconds=1)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield place
    server.should_exit = True
    thread.join()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes within the deadline."""
    connection.settimeout(10)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_head_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    with served() as place, socket.create_connection(place) as silent, socket.create_connection(place) as dripping:
        dripping.sendall(b"POST / HTTP/1.1\r\nx: ")
        assert is_closed(dripping)
        assert is_closed(silent)


def test_a_second_head_that_drips_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert is_closed(connection)


def test_an_endless_head_is_cut_off() -> None:
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 10_000:
                connection.sendall(b"x: %s\r\n" % (b"y" * 1000))
                sent += 1
        assert sent < 10_000
        assert is_closed(connection)


def test_ten_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        place = urlsplit(collector.otlp_http)
        idle = [socket.create_connection((place.hostname, place.port)) for _ in range(10_000)]
        response = httpx.post(
            f"{collector.otlp_http}/v1/traces", content=traces(span()).SerializeToString(), headers=PROTOBUF,
            trust_env=False, timeout=30,
        )  # fmt: skip
        for each in idle:
            each.close()
        assert response.status_code == 200


def test_one_client_that_floods_keeps_nobody_out_and_memory_flat(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--queue-bytes", str(MEBIBYTE)) as collector:
        flood = list(requests(FLOOD, 1000))
        post(collector, traces(span(1)).SerializeToString())
        process = psutil.Process(collector.process.pid)
        before, done, taken = process.memory_info().rss, threading.Event(), []
        flooding = threading.Thread(target=lambda: (taken.extend(flooded(collector, flood)), done.set()))
        flooding.start()
        peak, others = before, 0
        while not done.is_set():
            others += 1
            assert post(collector, traces(span(others, trace=2**64)).SerializeToString()) == 200
            peak = max(peak, process.memory_info().rss)
        flooding.join()
        counted = httpx.get(f"{collector.api}/api/v1/status", trust_env=False).json()
    assert len(taken) == FLOOD
    assert counted["stored"] == FLOOD * 1000 + others + 1
    assert sum(map(len, flood)) > 10 * MEBIBYTE
    assert peak - before < 250 * MEBIBYTE


def post(collector: RunningCollector, content: bytes) -> int:
    url = f"{collector.otlp_http}/v1/traces"
    return httpx.post(url, content=content, headers=PROTOBUF, trust_env=False, timeout=60).status_code


def flooded(collector: RunningCollector, bodies: list[bytes]) -> list[bytes]:
    """Send everything at once over one connection, and what is refused again, until all is taken."""
    taken: list[bytes] = []
    pause = threading.Event()
    with grpc.insecure_channel(collector.otlp_grpc) as channel:
        export = channel.unary_unary(EXPORT)
        while bodies:
            calls = [(body, export.future(body, timeout=60)) for body in bodies]
            bodies = []
            for body, call in calls:
                if call.code() is grpc.StatusCode.OK:
                    taken.append(body)
                else:
                    assert call.code() is grpc.StatusCode.UNAVAILABLE, call.details()
                    bodies.append(body)
            pause.wait(0.1)  # as a client would that was told to come back
    return taken
