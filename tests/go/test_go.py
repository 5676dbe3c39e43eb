"""`sample_services/go`: its telemetry conforms to docs/semconv.md, and the collector diagnoses its sagas."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import sagascope
from sagascope import Saga, Step
from support.collector import RunningCollector
from support.go import go
from support.receiver import wait_for

from .conftest import SOURCE

pytestmark = [pytest.mark.xdist_group("go"), pytest.mark.slow]

DEADLINE_SECONDS = 60.0


@contextmanager
def serving(program: Path, endpoint: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The service: its address and its process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SAGASCOPE_"))}
    environment |= {"SAGASCOPE_ENDPOINT": endpoint, "SAMPLE_ADDRESS": "127.0.0.1:0", "SAMPLE_HEARTBEAT": "500ms"}
    process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1], process
    finally:
        process.kill()
        process.communicate()


def call(method: str, url: str, **headers: str) -> int:
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=DEADLINE_SECONDS).status_code


def saga_with(collector: RunningCollector, saga_id: str, **expected: Any) -> dict[str, Any]:
    """Waits until the saga has these values."""
    last: dict[str, Any] = {}

    def found() -> Any:
        url = f"{collector.api}/api/v1/sagas/return/{saga_id}"
        last.update(httpx.get(url, trust_env=False, timeout=10).json())
        return {name: last.get(name) for name in expected} == expected

    wait_for(found, f"{saga_id} never had {expected}", DEADLINE_SECONDS)
    return last


def test_saga_in_go_is_completed(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, _):
        assert call("POST", f"{url}/sagas/complete") == 200
        saga = saga_with(collector, "complete", status="completed", attention=None)
    assert [(step["name"], step["state"]) for step in saga["steps"]] == [
        ("refund.pay", "done"),
        ("goods.restock", "done"),
    ]
    assert saga["keys"] == {"order_id": "A-17"}
    assert saga["plan"]["source"] == "declared"
    assert saga["anomalies"] == []


def test_step_in_go_is_compensated(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, _):
        call("PUT", f"{url}/faults/lose")
        assert call("POST", f"{url}/sagas/lost") == 409
        saga = saga_with(collector, "lost", status="compensated", attention=None)
    assert [line["state"] for line in saga["ledger"] if line["step"] == "refund.pay"] == ["compensated"]


def test_attempts_in_go_have_their_errors(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, _):
        call("PUT", f"{url}/faults/refuse")
        assert call("POST", f"{url}/sagas/refused") == 409
        saga = saga_with(collector, "refused", status="failed")
    attempts = saga["steps"][0]["attempts"]
    assert [(each["number"], each["state"]) for each in attempts] == [(1, "error"), (2, "error"), (3, "error")]
    assert attempts[0]["error"]["message"] == "the bank refuses the refund"


def test_go_process_that_is_killed_in_a_step_is_lost(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, process):
        call("PUT", f"{url}/faults/stall")
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(call, "POST", f"{url}/sagas/killed")
            saga_with(collector, "killed", status="running", step="refund.pay")
            process.kill()
            assert isinstance(calling.exception(DEADLINE_SECONDS), httpx.HTTPError)
        saga = saga_with(collector, "killed", attention="instance_lost", step="refund.pay", service="refunds")
    assert saga["verdict"]["instance"].endswith(f":{process.pid}")


def test_go_process_that_is_shut_down_is_not_alive(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, process):
        assert call("POST", f"{url}/sagas/last") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    def alive() -> list[bool]:
        items = httpx.get(f"{collector.api}/api/v1/services", trust_env=False, timeout=10).json()["items"]
        instances = [each for item in items for each in item["instances"]]
        return [each["alive"] for each in instances if each["instance"].endswith(f":{process.pid}")]

    wait_for(lambda: alive() == [False])
    saga_with(collector, "last", status="completed")


def test_go_continues_the_saga_of_python(refunds: Path, collector: RunningCollector) -> None:
    with serving(refunds, collector.otlp_http) as (url, _):
        sagascope.configure("returns", endpoint=collector.otlp_http)
        try:
            with (
                Saga("return", [Step("refund.pay")]).begin("both") as saga,
                saga.step("refund.pay", key="k", attempt=2),
            ):
                headers: dict[str, str] = {}
                sagascope.inject(headers)
                assert call("POST", f"{url}/refunds", **headers, **{"Idempotency-Key": "i-1"}) == 200
        finally:
            sagascope.shutdown()
        found = saga_with(collector, "both", status="completed", spans_total=3)
    (attempt,) = found["steps"][0]["attempts"]
    assert (attempt["number"], attempt["service"], attempt["state"]) == (2, "refunds", "ok")
    caller, executor = sorted(
        (span for span in found["spans"] if span["name"] == "refund.pay"), key=lambda span: span["service"] == "refunds"
    )
    assert (executor["trace_id"], executor["parent_id"]) == (caller["trace_id"], caller["span_id"])
    assert executor["attributes"] == {
        "saga.id": "both",
        "saga.name": "return",
        "saga.step.name": "refund.pay",
        "saga.step.key": "k",
        "saga.step.attempt": 2,
        "saga.role": "step",
        "saga.step.type": "action",
        "saga.step.idempotency_key": "i-1",
    }


def test_go_conforms(refunds: Path, tmp_path: Path) -> None:
    listening = ["--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--quiet", "3", "--grace", "30", "--json"]
    words = tmp_path / "words"
    with words.open("w") as stderr:
        command = [sys.executable, "-m", "sagascope_collector", "conformance", *listening]
        checking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        endpoint = wait_for(lambda: [each for each in words.read_text().split() if "http://" in each])[0]
        with serving(refunds, endpoint) as (url, process):
            for fault in ("refuse", "lose", "stall"):
                call("PUT", f"{url}/faults/{fault}")
                if fault == "stall":
                    with pytest.raises(httpx.HTTPError):
                        httpx.post(f"{url}/sagas/{fault}", trust_env=False, timeout=1)
                else:
                    assert call("POST", f"{url}/sagas/{fault}") == 409
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        report, _ = checking.communicate(timeout=DEADLINE_SECONDS)
    finally:
        checking.kill()
        checking.communicate()
    assert checking.returncode == 0, report
    claims = {claim["attention"]: claim["confidence"] for claim in json.loads(report)["claims"]}
    assert {claims[code] for code in ("hung", "instance_lost", "retrying")} == {"certain"}


def test_go_is_formatted_and_vetted(refunds: Path) -> None:
    go(SOURCE, "vet", "./...")
    assert (
        shutil.which("gofmt") is None
        or not subprocess.run(["gofmt", "-l", str(SOURCE)], capture_output=True, text=True, check=True).stdout
    )
