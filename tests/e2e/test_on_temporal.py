"""`sagascope demo --engine temporal`: workflows, with workers and a server that die, and what goes wrong is found."""

import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from sagascope_samples.on_temporal import PLANTED_FAULTS
from support.demo import COMMAND
from support.temporal import server_program

pytestmark = pytest.mark.xdist_group("demo")


@pytest.mark.shows("temporal plugin", "retrying", "retrying")
@pytest.mark.shows("temporal plugin", "compensation failed", "compensation_failed")
@pytest.mark.shows("temporal bridge", "worker lost", "instance_lost")
@pytest.mark.shows("temporal bridge", "compensation failed", "compensation_failed")
def test_each_fault_on_temporal_is_found_with_its_cause(tmp_path: Path) -> None:
    server_program()
    command = [*COMMAND, "--headless", "--json", "--engine", "temporal"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=150)
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert [fault["id"] for fault in report["faults"]] == [planted.payment for planted in PLANTED_FAULTS]
    assert list(tmp_path.iterdir()) == []
