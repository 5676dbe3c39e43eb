"""How the demo ends when a part of it dies, and when it does not begin; `test_story.py` ends one with Ctrl-C."""

import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from support.demo import COMMAND, running_demo

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def test_a_demo_whose_ports_are_taken_names_them_and_the_options(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        api = f"127.0.0.1:{holder.getsockname()[1]}"
        command = [*COMMAND, "--headless", "--json", "--api", api]
        second = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert second.returncode == 2
    assert second.stdout == ""
    assert (
        f"{api} is in use, so the collector's API cannot listen there. Choose another address with --api"
        in second.stderr
    )


def test_the_demo_ends_and_names_a_part_that_dies(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        parts = demo.parts()
        wallet = next(part for part in parts if part.cmdline()[-2:] == ["sagascope_samples.services", "wallet"])
        wallet.send_signal(signal.SIGKILL)
        assert demo.process.wait(30) == 1
        assert "wallet died unexpectedly (signal SIGKILL)" in demo.output_text()
        assert not psutil.wait_procs(parts, timeout=5)[1]
