"""`sagascope demo --engine nats`: services that react to messages without an orchestrator, and fail in known ways."""

import json
import subprocess
from pathlib import Path

import pytest

from sagascope_samples.choreography import PLANTED_FAULTS
from support.demo import COMMAND
from support.nats import server_program

pytestmark = pytest.mark.xdist_group("demo")


@pytest.mark.shows("nats", "message lost", "next_step_missing")
@pytest.mark.shows("nats", "worker lost", "next_step_missing")
@pytest.mark.shows("nats", "retrying", "retrying")
def test_each_fault_of_a_message_is_found_with_its_cause(tmp_path: Path) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed")
    server_program()
    command = [*COMMAND, "--headless", "--json", "--engine", "nats"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=150)
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert [fault["id"] for fault in report["faults"]] == [planted.payment for planted in PLANTED_FAULTS]
    assert list(tmp_path.iterdir()) == []
