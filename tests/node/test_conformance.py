"""`sagascope conformance` checks the telemetry of Node.js."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.node import SAMPLE, running
from support.receiver import wait_for

pytestmark = pytest.mark.xdist_group("node")

WITHIN = 60.0
GRACE = "30"
"""Seconds by which a busy machine may be late; the rest is diagnosed to the letter."""


def test_node_conforms(modules: Path, tmp_path: Path) -> None:
    listening = ["--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--quiet", "3", "--grace", GRACE, "--json"]
    words = tmp_path / "words"
    with words.open("w") as stderr:
        diagnose = subprocess.Popen(
            [sys.executable, "-m", "sagascope_collector", "conformance", *listening],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        address = wait_for(lambda: [each for each in words.read_text().split() if "http://" in each], seconds=WITHIN)[0]
        script = Path(__file__).with_name("emitter.js")
        with running(script, tmp_path, str(SAMPLE / "saga"), "talkative", address, modules=modules) as host:
            assert host.ended() == 0, host.printed()
        diagnosis, _ = diagnose.communicate(timeout=WITHIN)
    finally:
        diagnose.kill()
        diagnose.communicate()
    assert diagnose.returncode == 0, diagnosis
    claims = {claim["attention"]: claim["confidence"] for claim in json.loads(diagnosis)["claims"]}
    assert {claims[code] for code in ("hung", "instance_lost", "retrying", "compensation_failed")} == {"certain"}
