"""One saga in two languages: a Python orchestrator and the Node.js service of `sample_services/node`."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from support.collector import RunningCollector
from support.node import SAMPLE, Script, running
from support.receiver import wait_for

pytestmark = pytest.mark.xdist_group("node")

DEADLINE_SECONDS = 60.0


@pytest.fixture
def service(collector: RunningCollector, modules: Path, tmp_path: Path) -> Iterator["Service"]:
    with refunds(collector, modules, tmp_path) as service:
        yield service


class Service:
    """The refunds service, and calls to it."""

    def __init__(self, script: Script, collector: RunningCollector) -> None:
        self.script = script
        self.collector = collector
        self.url = script.line("refunds listens on ")

    def plant(self, order: str, step: str, fault: str) -> None:
        request = urllib.request.Request(f"{self.url}/faults/{quote(order)}/{step}", fault.encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    @contextmanager
    def running_return(self, order: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The orchestrator while it runs the return of this order."""
        command = [sys.executable, str(SAMPLE / "orchestrator.py"), order, "--refunds", self.url, *options]
        environment = {**os.environ, "SAGASCOPE_ENDPOINT": self.collector.otlp_http}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def return_goods(self, order: str, *options: str) -> int:
        """Runs the return of this order to its end; returns the orchestrator's exit status."""
        with self.running_return(order, *options) as process:
            process.communicate(timeout=DEADLINE_SECONDS)
            return process.returncode


@contextmanager
def refunds(collector: RunningCollector, modules: Path, folder: Path) -> Iterator[Service]:
    environment = {
        "SAGASCOPE_ENDPOINT": collector.otlp_http,
        "SAMPLE_ADDRESS": "127.0.0.1:0",
        "SAMPLE_HEARTBEAT": "0.5",
    }
    with running(SAMPLE / "refunds.js", folder, modules=modules, environment=environment) as script:
        yield Service(script, collector)


def saga_with(collector: RunningCollector, order: str, **expected: Any) -> dict[str, Any]:
    """Waits until the saga of a return has these values, and returns it."""
    last: dict[str, Any] = {}

    def answer() -> Any:
        got = httpx.get(f"{collector.api}/api/v1/sagas/return/{order}", trust_env=False, timeout=10)
        last.update(got.json())
        return last if {name: last.get(name) for name in expected} == expected else None

    try:
        return dict(wait_for(answer, seconds=DEADLINE_SECONDS))
    except AssertionError:
        seen = json.dumps({name: last.get(name) for name in (*expected, "headline")})
        raise AssertionError(f"return {order} never had {expected}; last: {seen}") from None


def wait_for_announcement(service: Service, order: str) -> None:
    """Waits until the collector has the step's open span, and with it a heartbeat that announces the next one soon."""
    instance = f"refunds-{service.script.process.pid}"

    def known() -> bool:
        saga = saga_with(service.collector, order, status="running", step="refund.pay")
        return spans(saga, "refunds").get("refund.pay", {}).get("instance") == instance

    wait_for(known, f"{instance} did not announce refund.pay of {order}", DEADLINE_SECONDS)


def spans(saga: dict[str, Any], service: str) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in saga["spans"] if span["service"] == service}


def test_saga_across_python_and_node_is_one_timeline(service: Service) -> None:
    assert service.return_goods("complete order") == 0
    saga = saga_with(service.collector, "complete order", status="completed", attention=None, spans_total=7)
    assert [(step["name"], step["service"], step["state"]) for step in saga["steps"]] == [
        ("goods.receive", "returns", "done"),
        ("refund.pay", "refunds", "done"),
        ("goods.restock", "returns", "done"),
    ]
    assert len(saga["traces"]) == 1
    assert saga["anomalies"] == []
    (attempt,) = saga["steps"][1]["attempts"]
    assert attempt["instance"] == f"refunds-{service.script.process.pid}"
    assert [log["body"] for log in saga["logs"] if log["service"] == "refunds"] == [
        "Paying 50.00 EUR back for order complete order"
    ]


def test_everything_below_the_step_carries_the_saga(service: Service) -> None:
    assert service.return_goods("below") == 0
    saga = saga_with(service.collector, "below", status="completed", spans_total=7)
    here, caller = spans(saga, "refunds"), spans(saga, "returns")["refund.pay"]
    below = {"saga.id": "below", "saga.name": "return", "saga.step.name": "refund.pay", "saga.step.attempt": 1}
    step = here["refund.pay"]
    assert step["attributes"] == {
        **below,
        "saga.role": "step",
        "saga.step.type": "action",
        "saga.step.idempotency_key": "below/refund.pay",
    }
    assert here["bank pay"]["attributes"] == below
    assert below.items() <= here["POST"]["attributes"].items()
    assert (here["POST"]["kind"], here["POST"]["parent_id"]) == ("server", caller["span_id"])
    assert (step["parent_id"], here["bank pay"]["parent_id"]) == (here["POST"]["span_id"], step["span_id"])
    (log,) = [log for log in saga["logs"] if log["service"] == "refunds"]
    assert (log["attributes"], log["span_id"]) == (below, step["span_id"])


def test_node_step_is_compensated_in_node(service: Service) -> None:
    assert service.return_goods("compensated order", "--lost") == 1
    saga = saga_with(service.collector, "compensated order", status="compensated", attention=None, spans_total=11)
    revocation = next(step for step in saga["steps"] if step["name"] == "refund.revoke")
    assert (revocation["service"], revocation["type"], revocation["compensates"]) == (
        "refunds",
        "compensation",
        "refund.pay",
    )
    assert [line["state"] for line in saga["ledger"] if line["step"] == "refund.pay"] == ["compensated"]


def test_refusal_in_node_has_its_reason(service: Service) -> None:
    service.plant("refused", "refund.pay", "refuse")
    assert service.return_goods("refused") == 1
    saga = saga_with(service.collector, "refused", status="failed", spans_total=5)
    (attempt,) = next(step for step in saga["steps"] if step["name"] == "refund.pay")["attempts"]
    assert attempt["state"] == "error"
    assert attempt["error"]["message"] == "The bank refuses refund.pay for order refused"
    assert "refunds.js" in attempt["error"]["stacktrace"]


def test_hung_step_in_node_is_detected(service: Service) -> None:
    service.plant("hangs", "refund.pay", "stall")
    with service.running_return("hangs"):
        saga = saga_with(service.collector, "hangs", attention="hung", step="refund.pay", service="refunds")
    assert saga["verdict"]["instance"] == f"refunds-{service.script.process.pid}"


def test_killed_node_process_is_lost(service: Service) -> None:
    service.plant("killed", "refund.pay", "stall")
    with service.running_return("killed"):
        wait_for_announcement(service, "killed")
        service.script.process.kill()
        saga = saga_with(service.collector, "killed", attention="instance_lost", step="refund.pay", service="refunds")
    assert saga["verdict"]["instance"] == f"refunds-{service.script.process.pid}"
    assert saga["verdict"]["reason"] == "instance_lost"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_node_process_that_exits_in_a_step_is_lost(service: Service, number: signal.Signals) -> None:
    order = f"ended by {number.name}"
    service.plant(order, "refund.pay", "stall")
    with service.running_return(order):
        wait_for_announcement(service, order)
        service.script.process.send_signal(number)
        assert service.script.ended() == 0
        saga = saga_with(service.collector, order, attention="instance_lost", service="refunds")
    texts = [evidence["text"] for evidence in saga["verdict"]["evidence"]]
    assert any("said" in text or "final" in text or "shut" in text for text in texts), texts
