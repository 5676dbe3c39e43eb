"""`sagascope demo --engine NAME` of engines whose own telemetry is all that is sent."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from sagascope_samples import on_dbos as dbos, on_opentelemetry as opentelemetry
from sagascope_samples.demo.scenario import PlantedFault
from support.demo import COMMAND

pytestmark = pytest.mark.xdist_group("demo")


@pytest.mark.shows("dbos", "compensation failed", "compensation_failed")
@pytest.mark.shows("opentelemetry", "compensation failed", "compensation_failed")
@pytest.mark.shows("opentelemetry", "worker lost", "next_step_missing")
@pytest.mark.parametrize(
    ("engine", "planted_faults"), [("dbos", dbos.PLANTED_FAULTS), ("opentelemetry", opentelemetry.PLANTED_FAULTS)]
)
def test_each_fault_is_found_without_saga_attributes(
    engine: str, planted_faults: Sequence[PlantedFault], tmp_path: Path
) -> None:
    command = [*COMMAND, "--headless", "--json", "--engine", engine]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=150)
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert [fault["id"] for fault in report["faults"]] == [planted.payment for planted in planted_faults]
    assert list(tmp_path.iterdir()) == []
