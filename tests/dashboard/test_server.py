"""The limits of the dashboard's connections: those of the collector, and WebSockets that count."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sagascope_collector.http_server import connections
from sagascope_dashboard import server as dashboard_server
from support.browser import free_port, running_dashboard
from support.served import is_closed


async def application(scope, receive, send) -> None:
    """Answers 200, and every message of a WebSocket with its length."""
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(len(message["bytes"]))})


@contextmanager
def listening(limit: int = 100) -> Iterator[tuple[str, int]]:
    place = ("127.0.0.1", free_port())
    server = dashboard_server.limited_server(application, *place, connections=limit)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield place
    finally:
        server.should_exit = True
        thread.join()


def opened(place: tuple[str, int], open_: ExitStack) -> ClientConnection:
    address = f"ws://{place[0]}:{place[1]}/"
    return open_.enter_context(connect(address, proxy=None, compression=None, ping_interval=None))


def is_answered(place: tuple[str, int]) -> bool:
    return httpx.get(f"http://{place[0]}:{place[1]}/", trust_env=False, timeout=30).status_code == 200


def test_a_head_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", 0.3)
    with listening() as place, socket.create_connection(place) as silent, socket.create_connection(place) as dripping:
        dripping.sendall(b"GET / HTTP/1.1\r\nx: ")
        assert is_closed(dripping)
        assert is_closed(silent)


def test_a_websocket_stays_open_without_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", 2.0)  # long enough for the handshake on a busy machine
    with listening() as place, ExitStack() as open_:
        websocket = opened(place, open_)
        with socket.create_connection(place) as silent:
            assert is_closed(silent)
        websocket.send(b"xyz")
        assert websocket.recv(30) == "3"


def test_beyond_the_limit_the_websocket_that_was_silent_longest_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    with listening(limit=4) as place, ExitStack() as open_:
        silent, *others = (opened(place, open_) for _ in range(4))
        for each in others:
            each.send(b"x")
            assert each.recv(30) == "1"
        assert is_answered(place)
        with pytest.raises(ConnectionClosed):
            silent.recv(30)
        for each in others:
            each.send(b"xy")
            assert each.recv(30) == "2"
    assert "More than 4 connections are open" in caplog.text


def test_websockets_that_were_closed_count_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    with listening(limit=3) as place, ExitStack() as open_:
        for _ in range(10):
            with ExitStack() as briefly:
                opened(place, briefly)
        kept = opened(place, open_)
        assert is_answered(place)
        kept.send(b"x")
        assert kept.recv(30) == "1"
    assert "connections are open" not in caplog.text


def test_a_message_that_is_too_large_closes_the_websocket() -> None:
    with listening() as place, ExitStack() as open_:
        websocket = opened(place, open_)
        websocket.send(bytes(dashboard_server.MAX_MESSAGE_BYTES))
        assert websocket.recv(30) == str(dashboard_server.MAX_MESSAGE_BYTES)
        with suppress(ConnectionClosed):  # the server may close it before all is sent
            websocket.send(bytes(dashboard_server.MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed):
            websocket.recv(30)


def test_more_connections_than_there_may_be_keep_no_one_out_of_the_dashboard(tmp_path: Path) -> None:
    with running_dashboard("http://127.0.0.1:1", tmp_path) as address, ExitStack() as open_:
        host, _, port = address.removeprefix("http://").partition(":")
        idle = [
            open_.enter_context(socket.create_connection((host, int(port))))
            for _ in range(dashboard_server.MAX_CONNECTIONS + 100)
        ]
        assert httpx.get(f"{address}/_stcore/health", trust_env=False, timeout=60).status_code == 200
        assert is_closed(idle[0])
        assert "connections are open" in (tmp_path / "dashboard.log").read_text()


def test_the_log_names_no_transaction_and_cannot_be_filled(tmp_path: Path) -> None:
    with running_dashboard("http://127.0.0.1:1", tmp_path) as address:
        for _ in range(20):
            assert (
                httpx.get(f"{address}/saga?name=payment&id=8492-of-ada", trust_env=False, timeout=60).status_code == 200
            )
            with connect(f"ws{address.removeprefix('http')}/_stcore/stream", proxy=None) as websocket:
                websocket.send(b"\xff")
                with pytest.raises(ConnectionClosed):
                    websocket.recv(30)
        log = (tmp_path / "dashboard.log").read_text()
    assert "8492-of-ada" not in log
    assert log.count("Error deserializing back message") == 1
    assert log.count("WebSocket") <= 3
