"""DBOS on SQLite, killed during a step and recovered."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients import python_with, running
from support.collector import RunningCollector
from support.engines import saga, steps

APP = Path(__file__).with_name("shop_on_dbos.py")

CHARGED = [
    ("reserve", "action", "done", ["ok"]),
    ("charge", "action", "done", ["error", "ok"]),
    ("ship", "action", "done", ["ok"]),
]


def ended(told: Any) -> bool:
    return told["status"] == "completed"


@pytest.mark.shows("dbos", "retrying", "retrying")
@pytest.mark.xdist_group("clients")
def test_a_step_that_is_retried_without_end_is_reported_by_its_log_records(
    collector: RunningCollector, api: httpx.Client, tmp_path: Path
) -> None:
    packages = ("dbos==3.4.0", "opentelemetry-exporter-otlp-proto-http==1.45.2")
    python = python_with(*packages, "opentelemetry-instrumentation-logging==0.66b2")
    log = tmp_path / "shop.log"
    with running(python, APP, tmp_path, f"sqlite:///{tmp_path}/shop.sqlite", collector.otlp_http, "failing-1", log=log):
        found = saga(api, "failing-1", "checkout", lambda told: told["attention"] == "retrying", log)
    assert (found["step"], found["error"]["message"]) == ("pack", "no boxes left")
    assert [state for name, _, _, states in steps(found) if name == "pack" for state in states][:3] == ["error"] * 3


@pytest.mark.xdist_group("clients")
def test_killed_workflow_is_stuck_until_recovery(
    collector: RunningCollector, api: httpx.Client, tmp_path: Path
) -> None:
    python = python_with("dbos==3.4.0", "opentelemetry-exporter-otlp-proto-http==1.45.2")
    database, log = f"sqlite:///{tmp_path}/shop.sqlite", tmp_path / "shop.log"
    shop = (python, APP, tmp_path, database, collector.otlp_http)
    with running(*shop, "order-1", "killed-1", log=log) as process:
        done = saga(api, "order-1", "checkout", ended, log)
        assert steps(done) == CHARGED
        assert done["steps"][1]["attempts"][0]["error"]["message"] == "no route to bank"
        assert steps(saga(api, "killed-1", "checkout", lambda told: True, log))[0] == CHARGED[0]
        process.kill()
    stuck = saga(api, "killed-1", "checkout", lambda told: told["attention"] is not None, log)
    assert (stuck["attention"], stuck["step"], stuck["plan"]["source"]) == ("next_step_missing", "charge", "learned")
    (tmp_path / "recovered").touch()
    with running(*shop, log=log):
        recovered = saga(api, "killed-1", "checkout", ended, log)
    assert steps(recovered) == CHARGED
    assert recovered["attention"] is None
    assert [each for each in recovered["anomalies"] if each["code"] != "missing_span"] == []
    assert len(recovered["traces"]) == 2
