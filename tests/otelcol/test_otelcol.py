"""A real OpenTelemetry Collector between services and Sagascope, with the configuration of its document."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import sagascope
from sagascope_collector.settings import OTLP_GRPC
from sagascope_dashboard.urls import parse_templates
from support.clients import running
from support.collector import running_collector
from support.go import build
from support.samples import wait_until
from support.temporal import free_ports

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
DOCUMENT = (ROOT / "docs" / "engines" / "opentelemetry-collector.md").read_text()
FORWARDING = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)[0])


@pytest.fixture(scope="module")
def otelcol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from its modules; skips the tests where Go or a module proxy is missing."""
    return build(FOLDER, tmp_path_factory.mktemp("otelcol") / "otelcol")


@contextmanager
def forwarding(program: Path, sagascope_grpc: str, folder: Path) -> Iterator[str]:
    """Runs the document's configuration; its OTLP/HTTP URL."""
    grpc, http = free_ports(2)
    configuration = json.loads(json.dumps(FORWARDING))
    protocols = configuration["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"], protocols["http"]["endpoint"] = f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"
    configuration["receivers"]["filelog"]["include"] = [str(folder / "*.log")]
    configuration["receivers"]["filelog"]["start_at"] = "beginning"
    configuration["exporters"]["otlp/sagascope"]["endpoint"] = sagascope_grpc
    path = folder / "otelcol.yaml"
    path.write_text(yaml.safe_dump(configuration))
    with running(program, "--config", path, log=folder / "otelcol.txt"):
        wait_until(lambda: _answers(http), "the OpenTelemetry Collector did not start")
        yield f"http://127.0.0.1:{http}"


def _answers(port: int) -> bool:
    try:
        return httpx.post(f"http://127.0.0.1:{port}/v1/traces", json={}, trust_env=False, timeout=60).is_success
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.xdist_group("go")
def test_work_in_flight_finished_work_and_a_log_file_arrive(otelcol: Path, tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector, forwarding(otelcol, collector.otlp_grpc, tmp_path) as url:
        line = json.loads(re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)[0])
        (tmp_path / "billing.log").write_text(json.dumps(line | {"time": datetime.now(UTC).isoformat()}) + "\n")

        def shown() -> Any:
            query = {"name": "payment", "id": "8492"}
            found = httpx.get(f"{collector.api}/api/v1/saga", params=query, trust_env=False, timeout=60)
            return found.json() if found.is_success else {}

        sagascope.configure("checkout", endpoint=url, announce_after=0.05)
        try:
            with sagascope.Saga("payment", ["charge", "ship"]).begin("8492"):
                with sagascope.step("charge"):
                    pass
                with sagascope.step("ship"):
                    states = wait_until(lambda: _states(shown()), "the step in flight was not seen")
                    assert states == {"charge": "done", "ship": "in_flight"}
        finally:
            sagascope.shutdown()
        saga = wait_until(lambda: (found := shown()).get("status") == "completed" and found, "it never completed")
        logs = wait_until(lambda: [each for each in shown()["logs"] if each["body"] == "card declined"], "no log line")
        assert saga["attention"] is None
        assert (logs[0]["service"], logs[0]["trace_id"]) == ("billing", line["trace_id"])


def _states(saga: Any) -> dict[str, str] | None:
    states = {each["name"]: each["state"] for each in saga.get("steps", [])}
    return states if states.get("ship") == "in_flight" and states.get("charge") == "done" else None


def test_the_configurations_are_consistent() -> None:
    pipelines = FORWARDING["service"]["pipelines"]
    assert set(pipelines) == {"traces", "logs"}
    for pipeline in pipelines.values():
        assert set(pipeline["receivers"]) <= set(FORWARDING["receivers"])
        assert set(pipeline["exporters"]) <= set(FORWARDING["exporters"])
        assert "processors" not in pipeline
    assert FORWARDING["exporters"]["otlp/sagascope"]["endpoint"].endswith(f":{OTLP_GRPC.port}")


def test_the_links_of_the_document_are_templates_of_the_dashboard() -> None:
    found = parse_templates(re.findall(r"--link '([^']+)'", DOCUMENT))
    assert [each.name for each in found] == ["Jaeger", "Tempo"]
