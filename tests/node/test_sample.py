"""One saga in two languages: a Python orchestrator and the Node.js service of `sample_services/node`, for real."""

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

TOLD_WITHIN = 30.0


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
    def taking_back(self, order: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The orchestrator, leading the return of this order."""
        command = [sys.executable, str(SAMPLE / "orchestrator.py"), order, "--refunds", self.url, *options]
        environment = {**os.environ, "SAGASCOPE_ENDPOINT": self.collector.otlp_http}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def take_back(self, order: str, *options: str) -> int:
        """Lead the return of this order to its end; the orchestrator's exit status."""
        with self.taking_back(order, *options) as process:
            process.communicate(timeout=TOLD_WITHIN)
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


def told(collector: RunningCollector, order: str, **expected: Any) -> dict[str, Any]:
    """The collector's answer about a return, as soon as these fields are so."""
    last: dict[str, Any] = {}

    def answer() -> Any:
        got = httpx.get(f"{collector.api}/api/v1/sagas/return/{order}", trust_env=False, timeout=10)
        last.update(got.json())
        return last if {name: last.get(name) for name in expected} == expected else None

    try:
        return dict(wait_for(answer, seconds=TOLD_WITHIN))
    except AssertionError:
        seen = json.dumps({name: last.get(name) for name in (*expected, "headline")})
        raise AssertionError(f"return {order} never was {expected}; it was {seen}") from None


def announced(service: Service, order: str) -> None:
    """Wait until the collector knows that the Node.js process has the step in hand; its HTTP call alone tells less."""
    instance = f"refunds-{service.script.process.pid}"

    def known() -> bool:
        steps = told(service.collector, order, status="running", step="refund.pay")["steps"]
        attempts = [attempt for step in steps if step["name"] == "refund.pay" for attempt in step["attempts"]]
        return [(attempt["instance"], attempt["state"]) for attempt in attempts] == [(instance, "in_flight")]

    wait_for(known, f"{instance} never announced refund.pay of {order}", TOLD_WITHIN)


def spans(saga: dict[str, Any], service: str) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in saga["spans"] if span["service"] == service}


def test_a_saga_across_python_and_node_is_one_timeline(service: Service) -> None:
    assert service.take_back("tidy order") == 0
    saga = told(service.collector, "tidy order", status="completed", attention=None, spans_total=7)
    assert [(step["name"], step["service"], step["state"]) for step in saga["steps"]] == [
        ("goods.take_back", "returns", "done"),
        ("refund.pay", "refunds", "done"),
        ("goods.restock", "returns", "done"),
    ]
    assert len(saga["traces"]) == 1
    assert saga["anomalies"] == []
    (attempt,) = saga["steps"][1]["attempts"]
    assert attempt["instance"] == f"refunds-{service.script.process.pid}"
    assert [log["body"] for log in saga["logs"] if log["service"] == "refunds"] == [
        "Paying 50.00 EUR back for order tidy order"
    ]


def test_everything_below_the_step_carries_the_saga(service: Service) -> None:
    assert service.take_back("below") == 0
    saga = told(service.collector, "below", status="completed", spans_total=7)
    here, caller = spans(saga, "refunds"), spans(saga, "returns")["refund.pay"]
    below = {
        "saga.id": "below",
        "saga.name": "return",
        "saga.step.name": "refund.pay",
        "saga.step.attempt": 1,
    }
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


def test_what_node_did_is_undone_in_node(service: Service) -> None:
    assert service.take_back("undone", "--lost") == 1
    saga = told(service.collector, "undone", status="compensated", attention=None, spans_total=11)
    undo = next(step for step in saga["steps"] if step["name"] == "refund.revoke")
    assert (undo["service"], undo["type"], undo["compensates"]) == ("refunds", "compensation", "refund.pay")
    assert [line["state"] for line in saga["ledger"] if line["step"] == "refund.pay"] == ["compensated"]


def test_what_node_refuses_says_why(service: Service) -> None:
    service.plant("refused", "refund.pay", "refuse")
    assert service.take_back("refused") == 1
    saga = told(service.collector, "refused", status="failed", spans_total=5)
    (attempt,) = next(step for step in saga["steps"] if step["name"] == "refund.pay")["attempts"]
    assert attempt["state"] == "error"
    assert attempt["error"]["message"] == "The bank refuses refund.pay for order refused"
    assert "refunds.js" in attempt["error"]["stacktrace"]


def test_a_step_that_hangs_in_node_is_said_to_hang(service: Service) -> None:
    service.plant("hangs", "refund.pay", "stall")
    with service.taking_back("hangs"):
        saga = told(service.collector, "hangs", attention="hung", step="refund.pay", service="refunds")
    assert saga["verdict"]["instance"] == f"refunds-{service.script.process.pid}"


def test_a_node_process_that_is_killed_in_a_step_is_missed(service: Service) -> None:
    service.plant("killed", "refund.pay", "stall")
    with service.taking_back("killed"):
        announced(service, "killed")
        service.script.process.kill()
        saga = told(service.collector, "killed", attention="instance_lost", step="refund.pay", service="refunds")
    assert saga["verdict"]["instance"] == f"refunds-{service.script.process.pid}"
    assert saga["verdict"]["reason"] == "instance_lost"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_node_process_that_leaves_in_a_step_says_so(service: Service, number: signal.Signals) -> None:
    order = f"left by {number.name}"
    service.plant(order, "refund.pay", "stall")
    with service.taking_back(order):
        announced(service, order)
        service.script.process.send_signal(number)
        assert service.script.ended() == 0
        saga = told(service.collector, order, attention="instance_lost", service="refunds")
    said = [evidence["text"] for evidence in saga["verdict"]["evidence"]]
    assert any("said" in text or "final" in text or "shut" in text for text in said), said
