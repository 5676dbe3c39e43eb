"""The dashboard answers to known hosts only: it may hold a token that no other page may use."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.browser import running_dashboard


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("dashboard")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SAGASCOPE_ALLOWED_HOST", "sagas.example pay.example")
        with running_dashboard("http://127.0.0.1:1", folder) as address:
            yield address


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/host-config"])
def test_a_foreign_host_is_refused(address: str, path: str) -> None:
    def status_of(host: str) -> int:
        return httpx.get(address + path, headers={"host": host}, trust_env=False, timeout=60).status_code

    assert [status_of(host) for host in ("localhost", "10.0.0.1:8501", "sagas.example", "pay.example:443")] == [200] * 4
    assert [status_of(host) for host in ("evil.example", "sagas.example.evil.example")] == [421, 421]


def test_a_page_of_another_server_is_refused(address: str) -> None:
    headers = {"origin": "http://evil.example"}
    assert httpx.get(f"{address}/_stcore/host-config", headers=headers, trust_env=False, timeout=60).status_code == 403


@pytest.mark.parametrize(
    "path", ["/_stcore/metrics", "/saga/_stcore/metrics", "/_stcore/metrics/", "/_stcore/%6detrics"]
)
def test_what_the_server_measures_of_itself_is_hidden(address: str, path: str) -> None:
    answer = httpx.get(address + path, trust_env=False, timeout=60)
    assert "cache_memory_bytes" not in answer.text
    assert "active_sessions" not in answer.text


@pytest.mark.parametrize("path", ["openapi.json", "interact", "mcp"])
def test_programs_find_no_interface_of_streamlit(address: str, path: str) -> None:
    assert httpx.get(f"{address}/_stcore/agent/{path}", trust_env=False, timeout=60).status_code == 404


def test_no_file_can_be_left_on_the_server(address: str) -> None:
    answer = httpx.put(f"{address}/_stcore/upload_file/of-a-session/1", files={"f": b"x"}, trust_env=False)
    assert (answer.status_code, answer.text) == (404, "Not found")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "http://127.0.0.1", b"101"),
        ("sagas.example", "https://sagas.example", b"101"),
        ("evil.example", "http://evil.example", b"403"),
        ("127.0.0.1", "http://evil.example", b"403"),
    ],
)
def test_the_websocket_checks_host_and_origin(address: str, host: str, origin: str, status: bytes) -> None:
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    name, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((name, int(port)), timeout=30) as connection:
        connection.sendall(request.encode())
        assert connection.recv(1_000).split(b" ")[1] == status
