"""`sagascope demo --headless --json`: the proof for a machine."""

import json
import subprocess
from pathlib import Path

import pytest

from sagascope_samples.demo.scenario import PLANTED_FAULTS
from support.demo import COMMAND

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def test_the_headless_demo_proves_every_planted_fault(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "--headless", "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert report.keys() == {"ok", "faults"}
    assert [fault["id"] for fault in report["faults"]] == [planted.payment for planted in PLANTED_FAULTS]
    for fault in report["faults"]:
        assert fault.keys() == {"id", "planted", "found", "ok"}
        assert fault["ok"]
    assert list(tmp_path.iterdir()) == []
