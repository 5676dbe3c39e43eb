"""`sagascope demo --engine opentelemetry`: services that know nothing of sagas, and one file of mapping rules."""

import json
import subprocess
from pathlib import Path

import pytest

from sagascope_samples.on_opentelemetry.scenario import PLANTED_FAULTS
from support.demo import COMMAND

pytestmark = pytest.mark.xdist_group("demo")


def test_each_fault_of_a_shop_without_saga_attributes_is_found(tmp_path: Path) -> None:
    command = [*COMMAND, "--headless", "--json", "--engine", "opentelemetry"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=150)
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert [fault["id"] for fault in report["faults"]] == [planted.payment for planted in PLANTED_FAULTS]
    assert list(tmp_path.iterdir()) == []
