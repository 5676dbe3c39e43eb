"""Slow, idle, endless and flooding senders: others still get in, memory stays flat, and everything arrives."""

import json
import select
import socket
import subprocess
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from sagascope_collector.http_server import connections
from sagascope_collector.http_server.server import max_connections
from support.collector import RunningCollector, running_collector, serve_command
from support.load import EXPORT
from support.otlp import span, traces
from support.payloads import requests
from support.payments import soon
from support.served import SLOW, is_closed, served

PROTOBUF = {"content-type": "application/x-protobuf"}
MEBIBYTE = 2**20
FLOOD = 40
GREETINGS = (b"PRI * HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01")


def is_cut_off(connection: socket.socket, piece: bytes, times: int, pause: float = 0.0) -> bool:
    """Whether the other side closes while the same is sent again and again."""
    try:
        for _ in range(times):
            connection.sendall(piece)
            threading.Event().wait(pause)
    except ConnectionError:
        return True
    return False


def received(connection: socket.socket) -> int:
    """How many bytes come until the other side closes."""
    count = 0
    with suppress(ConnectionError):
        while part := connection.recv(MEBIBYTE):
            count += len(part)
    return count


def test_a_head_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", 0.3)
    with served() as place, socket.create_connection(place) as silent, socket.create_connection(place) as dripping:
        dripping.sendall(b"POST / HTTP/1.1\r\nx: ")
        assert is_closed(dripping)
        assert is_closed(silent)


def test_a_second_head_that_drips_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", 0.3)
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


def test_a_body_that_drips_after_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_TIMEOUT_SECONDS", 0.5)
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert is_cut_off(connection, b"x", 200, 0.05)


def test_endless_trailers_are_cut_off() -> None:
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        assert is_cut_off(connection, b"x: %s\r\n" % (b"y" * 1000), 10_000)


def test_many_chunks_are_no_long_head() -> None:
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(1_000):
            connection.sendall(b"%x\r\n%s\r\n" % (500, b"x" * 500))
        connection.sendall(b"0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(1000):
            answer += part
        assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("end", [b"", b"connection: close\r\n"])
def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_SECONDS", 0.3)
    with served(bytes(32 * MEBIBYTE)) as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + end + b"\r\n")
        threading.Event().wait(1.0)
        assert received(connection) < 32 * MEBIBYTE


def test_answers_that_are_not_read_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 40 * MEBIBYTE)
    with served(bytes(32 * MEBIBYTE)) as place, ExitStack() as open_:
        readers = [open_.enter_context(socket.create_connection(place)) for _ in range(3)]
        for each in readers:
            each.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            threading.Event().wait(0.3)
        assert [received(each) > 32 * MEBIBYTE for each in readers] == [False, False, True]


def test_beyond_the_limit_the_longest_idle_connection_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    with served(connections=5) as place, ExitStack() as open_:
        idle = [open_.enter_context(socket.create_connection(place)) for _ in range(20)]
        with socket.create_connection(place) as late:
            late.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert late.recv(1000).startswith(b"HTTP/1.1 200")
        assert all(is_closed(each) for each in idle[:15])
    assert len([each for each in caplog.records if "connections are open" in each.message]) == 1


def test_a_request_that_was_sent_behind_another_is_not_idle(caplog: pytest.LogCaptureFixture) -> None:
    SLOW.clear()
    with served(connections=1) as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        with socket.create_connection(place) as late:
            assert is_closed(late)
        SLOW.set()
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert f"at {place.host}:{place.port}; no idle one is left" in caplog.text


def test_few_requests_may_wait_for_the_answer_to_an_earlier_one() -> None:
    SLOW.clear()
    slow, quick = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    with served() as place, socket.create_connection(place) as patient, socket.create_connection(place) as hasty:
        patient.sendall(
            slow + quick * (connections.MAX_PIPELINED_REQUESTS - 1) + quick[:-2] + b"connection: close\r\n\r\n"
        )
        hasty.sendall(slow + quick * (connections.MAX_PIPELINED_REQUESTS + 1))
        assert is_closed(hasty)
        SLOW.set()
        answer = b""
        while part := patient.recv(65536):
            answer += part
        assert answer.count(b"HTTP/1.1 200") == connections.MAX_PIPELINED_REQUESTS + 1


def test_beyond_the_limit_unfinished_bodies_are_closed_too() -> None:
    SLOW.clear()
    with served(connections=5) as place, ExitStack() as open_:
        begun = [open_.enter_context(socket.create_connection(place)) for _ in range(5)]
        for each in begun:
            each.sendall(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\nx")
        late = open_.enter_context(socket.create_connection(place))
        late.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert late.recv(1000).startswith(b"HTTP/1.1 200")
        # none is answered yet; the server's loop may have seen the five in another order
        (closed,) = select.select(begun, [], [], 10)[0]
        SLOW.set()
        assert is_closed(closed)


@pytest.mark.parametrize("length", [0, 2])
def test_empty_lines_keep_no_connection_open(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", 0.3)
    with served() as place, socket.create_connection(place) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        assert is_closed(connection)


@pytest.mark.parametrize("port", ["otlp_http", "otlp_grpc"])
def test_thousands_of_idle_connections_keep_nobody_out(tmp_path: Path, port: str) -> None:
    """As many as may be opened, if that is fewer: both processes need some for other things."""
    count = max_connections() - 100
    with running_collector(tmp_path, own_python=True) as collector, ExitStack() as idle:
        host, _, number = getattr(collector, port).removeprefix("http://").rpartition(":")
        for _ in range(count):
            idle.enter_context(socket.create_connection((host, int(number))))
        process = psutil.Process(collector.process.pid)
        soon(lambda: process.num_fds() > count, seconds=300)
        assert post(collector, traces(span(1)).SerializeToString()) == 200
        assert export(collector, traces(span(2)).SerializeToString()) == b""
        assert process.memory_info().rss < 1500 * MEBIBYTE


def test_with_few_files_connections_keep_out_no_other_and_records_are_stored(tmp_path: Path) -> None:
    ready, log = tmp_path / "ready.json", tmp_path / "log"
    command = serve_command(tmp_path / "s.duckdb", "--ready-file", str(ready))
    with log.open("w") as output:
        process = subprocess.Popen(["sh", "-c", 'ulimit -n 600 && exec "$@"', "sh", *command], stderr=output)
    try:
        soon(ready.exists, seconds=90)
        places = json.loads(ready.read_text())
        with ExitStack() as idle:
            for place in places.values():
                host, _, port = place.rpartition(":")
                for _ in range(400):
                    idle.enter_context(socket.create_connection((host, int(port))))
            url, content = f"http://{places['otlp_http']}/v1/traces", traces(span(1)).SerializeToString()
            sent = [httpx.post(url, content=content, headers=PROTOBUF, trust_env=False, timeout=60) for _ in range(20)]
            assert {each.status_code for each in sent} == {200}
            assert httpx.get(f"http://{places['api']}/readyz", trust_env=False, timeout=60).status_code == 200
            assert psutil.Process(process.pid).num_fds() < 600
        assert "connections are open" in log.read_text()
    finally:
        process.terminate()
        process.wait(60)


def test_half_a_greeting_over_grpc_keeps_nobody_out(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector, ExitStack() as dripping:
        host, _, number = collector.otlp_grpc.rpartition(":")
        for said in GREETINGS * 20:
            dripping.enter_context(socket.create_connection((host, int(number)))).sendall(said)
        assert export(collector, traces(span(1)).SerializeToString()) == b""


def export(collector: RunningCollector, content: bytes) -> bytes:
    """The answer over a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(collector.otlp_grpc, options=own) as channel:
        answer: bytes = channel.unary_unary(EXPORT)(content, timeout=60)
        return answer


def test_one_client_that_floods_keeps_nobody_out_and_memory_flat(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--queue-bytes", str(MEBIBYTE), own_python=True) as collector:
        flood = list(requests(FLOOD, 1000))
        post(collector, traces(span(1)).SerializeToString())
        process = psutil.Process(collector.process.pid)
        before, done, taken = process.memory_info().rss, threading.Event(), []
        flooding = threading.Thread(target=lambda: (taken.extend(flooded(collector, flood)), done.set()))
        flooding.start()
        peak, others = before, 0
        while not done.is_set():
            others += 1
            other = traces(span(others, trace=2**64)).SerializeToString()
            assert (post(collector, other) == 200) if others % 2 else (export(collector, other) == b"")
            peak = max(peak, process.memory_info().rss)
        flooding.join()
        counted = httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=60).json()
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
        exporting = channel.unary_unary(EXPORT)
        while bodies:
            calls = [(body, exporting.future(body, timeout=60)) for body in bodies]
            bodies = []
            for body, call in calls:
                if call.code() is grpc.StatusCode.OK:
                    taken.append(body)
                else:
                    assert call.code() is grpc.StatusCode.UNAVAILABLE, call.details()
                    bodies.append(body)
            pause.wait(0.1)  # as a client would that was told to come back
    return taken
