"""OpenTelemetry's exporter of OTLP in JSON, and requests in JSON as the protocol's own examples are written.

Its exporters of protobuf, over gRPC and HTTP, stand in `tests/collector/otlp/test_exporters.py`.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients import python_with, running
from support.collector import RunningCollector
from support.engines import saga, steps

APP = Path(__file__).with_name("json_exporter.py")
DATA = Path(__file__).with_name("data")


@pytest.mark.xdist_group("clients")
def test_json_exporter_sends_a_saga(collector: RunningCollector, api: httpx.Client, tmp_path: Path) -> None:
    python = python_with("opentelemetry-exporter-otlp-json-http==0.66b1", "opentelemetry-sdk==1.45.2")
    log = tmp_path / "exporter.log"
    with running(python, APP, collector.otlp_http, "json-1", log=log) as process:
        assert process.wait(60) == 0, log.read_text()
    told = saga(api, "json-1", "json", lambda told: told["status"] == "completed", log)
    assert steps(told) == [("debit", "action", "done", ["error", "ok"])]
    said = told["spans"][-1]["attributes"]
    assert {key: said[key] for key in ("big", "half", "yes", "list", "text")} == {
        "big": 2**62,
        "half": 0.5,
        "yes": True,
        "list": ["a", "b"],
        "text": "…\u2028 \x00",
    }
    assert said["bytes"] == {"base64": "AP8="}
    assert [event["name"] for event in told["spans"][-1]["events"]] == ["tried"]


@pytest.fixture
def http(collector: RunningCollector) -> Any:
    with httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.xdist_group("clients")
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_examples_of_the_protocol_are_accepted(
    signal: str, http: httpx.Client, api: httpx.Client, collector: RunningCollector
) -> None:
    body = (DATA / f"{signal}.json").read_bytes()
    answer = http.post(f"/v1/{signal}", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    if signal == "metrics":
        assert "does not keep metrics" in answer.json()["partialSuccess"]["errorMessage"]
        return
    assert answer.json() == {}
    told = saga(api, "example-1", "example")
    shown = told["spans"] if signal == "traces" else told["logs"]
    (record,) = shown
    assert (record["trace_id"], record["span_id"]) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert record["attributes"]["nested"] == {"list": [1, "two", 3.5], "none": None}
