import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sagascope_dashboard import environment
from support.browser import free_port, is_healthy
from support.samples import wait_until


def test_the_collectors_address_travels_in_the_environment() -> None:
    assert environment("http://10.0.0.1:4319") == {"SAGASCOPE_URL": "http://10.0.0.1:4319"}


def started(*options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "sagascope_dashboard", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_a_port_that_is_taken_is_reported_by_number_with_the_option() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = started("--address", f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"Port {port} at 127.0.0.1 (dashboard) is taken; choose another with --address HOST:PORT."
    )


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:65536"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    done = started("--address", address)
    assert done.returncode == 2
    assert done.stderr == f"{address!r} is not an address; write it like 127.0.0.1:8501.\n"


def test_an_address_of_another_machine_is_not_called_taken() -> None:
    done = started("--address", "192.0.2.1:8501")
    assert done.returncode == 2
    assert "Port 8501 at 192.0.2.1 (dashboard) cannot be used (" in done.stderr


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    words = [sys.executable, "-m", "sagascope_dashboard", "--address", f"127.0.0.1:{port}"]
    with log.open("w") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, preexec_fn=_receive_sigint)
    try:
        wait_until(lambda: is_healthy(f"http://127.0.0.1:{port}"), "it did not start")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def _receive_sigint() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it


def test_a_link_that_cannot_be_meant_is_refused() -> None:
    done = started("--link", "Jaeger=javascript:alert(1)")
    assert done.returncode == 2
    assert "The link Jaeger must begin with http:// or https://" in done.stderr


def test_links_travel_in_the_environment() -> None:
    assert (
        environment("http://x", ["A=https://a/{id}", "B=https://b"])["SAGASCOPE_LINKS"]
        == "A=https://a/{id}\nB=https://b\n"
    )
