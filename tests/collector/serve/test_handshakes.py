"""TLS handshakes count as connections, and have a time limit, on HTTP servers and both event loops."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvloop

from sagascope_collector.http_server import server as http_server
from support.certificates import make_certificates
from support.served import is_closed, served

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


@pytest.fixture
def trusting(certificates: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates / "ca.pem")


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[object]:
    return request.param


def half_a_handshake() -> bytes:
    """What a client sends first."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", half_a_handshake()], ids=["nothing", "a piece", "half"])
def test_a_handshake_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch, tls, loop, first: bytes) -> None:
    monkeypatch.setattr(http_server, "HANDSHAKE_TIMEOUT_SECONDS", 0.3)
    with served(tls=tls, loop=loop) as place, socket.create_connection(place) as connection:
        connection.sendall(first)
        assert is_closed(connection)


def test_handshakes_count_as_connections(tls, trusting, loop, caplog: pytest.LogCaptureFixture) -> None:
    with served(connections=5, tls=tls, loop=loop) as place, ExitStack() as open_:
        begun = [open_.enter_context(socket.create_connection(place)) for _ in range(20)]
        with trusting.wrap_socket(socket.create_connection(place), server_hostname="localhost") as late:
            late.sendall(REQUEST)
            assert late.recv(1000).startswith(b"HTTP/1.1 200")
        assert all(is_closed(each) for each in begun[:15])
    assert len([each for each in caplog.records if "connections are open" in each.message]) == 1


def test_failed_handshakes_count_no_longer(tls, trusting, loop, caplog: pytest.LogCaptureFixture) -> None:
    with served(connections=3, tls=tls, loop=loop) as place:
        for said in (b"", half_a_handshake(), REQUEST) * 5:
            with socket.create_connection(place) as connection:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                assert is_closed(connection)
        for _ in range(5):
            answer = httpx.get(f"https://{place}/", verify=trusting, trust_env=False, timeout=30)
            assert answer.status_code == 200
    assert "connections are open" not in caplog.text


def test_a_request_right_behind_the_handshake_is_answered(tls, trusting, loop) -> None:
    """In one segment with the last message of the handshake, as any client may send it."""
    received, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(received, out, server_hostname="localhost")
    with served(b"here", tls=tls, loop=loop) as place, socket.create_connection(place, timeout=30) as connection:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(out.read())
                received.write(connection.recv(65536))
        client.write(REQUEST)
        connection.sendall(out.read())
        answer = b""
        while not answer.endswith(b"here"):
            try:
                answer += client.read(65536)
            except ssl.SSLWantReadError:
                received.write(connection.recv(65536))
        assert answer.startswith(b"HTTP/1.1 200")


def test_a_stop_waits_for_no_handshake(monkeypatch: pytest.MonkeyPatch, tls, loop) -> None:
    monkeypatch.setattr(http_server, "HANDSHAKE_TIMEOUT_SECONDS", 3600.0)
    with ExitStack() as open_:
        with served(tls=tls, loop=loop) as place:
            begun = open_.enter_context(socket.create_connection(place))
            begun.sendall(half_a_handshake())
            assert begun.recv(1)  # the server takes part in the handshake
        assert is_closed(begun)
