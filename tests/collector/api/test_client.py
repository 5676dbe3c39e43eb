"""What the client says of servers that are no collector, or of none at all."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sagascope_collector.archives import Sender
from sagascope_collector.archives.documents import Message, RecordKind
from sagascope_collector.client import Client, CollectorUnreachable, Credentials, NotSagascope, Timeout
from sagascope_collector.errors import SendFailed

NO_SUCH_PATH = (
    """{"type":"https://sagascope.dev/problems/no-such-path","title":"No such path","status":404,"detail":"x"}"""
)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives the same bytes to every client."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def http(status: str, kind: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", "text/html", "<html>another service</html>"),
        http("200 OK", "application/json", '{"version": "of another shape"}'),
        http("200 OK", "application/json", "[]"),
        http("404 Not Found", "text/html", "no"),
        http("404 Not Found", "application/json", '{"detail":"Not Found"}'),
        http("404 Not Found", "application/problem+json", NO_SUCH_PATH),
        http("302 Found", "text/html", ""),
        http("500 Internal Server Error", "text/plain", "oops"),
        http("422 Unprocessable Content", "application/problem+json", "not json"),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)  # fmt: skip
def test_something_else_is_not_taken_for_a_collector(answer: bytes) -> None:
    with answering(answer) as url, Client(url, timeout=5) as client, pytest.raises(NotSagascope) as raised:
        client.status()
    assert raised.value.url == url
    assert url in str(raised.value)


def test_a_server_that_hangs_up_is_no_collector_that_answers() -> None:
    with answering(b"") as url, Client(url, timeout=5) as client, pytest.raises(CollectorUnreachable) as raised:
        client.status()
    assert url in str(raised.value)


def test_a_server_that_stays_silent_is_not_waited_for() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, timeout=0.2) as client, pytest.raises(Timeout) as raised:
            client.flows()
    assert str(raised.value) == f"The collector at {url} did not answer within 0.2 s."


@pytest.mark.parametrize("url", ["", "collector", "http://", "ftp://host", "http://[::1"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(CollectorUnreachable, match="is not a URL"):
        Client(url)


@pytest.mark.parametrize("user", ["anna:s3cret", "anna:s3/cret", "anna:s3@cret"])
def test_no_error_shows_a_password(user: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CollectorUnreachable) as raised, Client(f"http://{user}@127.0.0.1:{port}") as client:
        client.services()
    assert f"http://127.0.0.1:{port}" in str(raised.value)
    assert not {"anna", "s3", "cret", "s3cret"} & set(re.split(r"\W+", str(raised.value)))


def test_no_error_of_a_sender_shows_a_password() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    sender = Sender(f"http://anna:s3cret@127.0.0.1:{port}", Credentials(), retry_seconds=0)
    with sender, pytest.raises(SendFailed, match=rf"^http://127\.0\.0\.1:{port} accepted nothing"):
        sender.send(Message(1, json=True, body=b"{}", counts={}), RecordKind.SPANS)


def test_a_closed_port_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Client(url) as client, pytest.raises(CollectorUnreachable, match=f"No collector answers at {url}"):
        client.services()


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    body = '{"items": [], "total": 0}'
    with answering(http("200 OK", "application/json", body)) as url, Client(url, timeout=5) as client:
        assert client.flows().items == []
