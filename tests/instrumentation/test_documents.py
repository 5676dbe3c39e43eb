"""The documents about the instrumentation: their code runs, and their names exist."""

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import sagascope
from sagascope import semconv
from sagascope._settings import DEFAULT_ENDPOINT, Settings
from support import command, semconv_document
from support.collector import running_collector
from support.documents import WRITE
from support.receiver import Receiver, wait_for
from support.recipes import running

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "instrumenting.md").read_text()


@pytest.mark.slow
def test_service_of_the_readme_hangs_and_the_readme_shows_the_diagnosis(tmp_path: Path) -> None:
    readme = (DOCS.parent / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "orchestrator.py").write_text(code.replace("sleep(60)", "sleep(600)"))  # the machine may be busy
    with running_collector(tmp_path) as collector, running(tmp_path, collector.otlp_http, "orchestrator.py"):
        url = f"{collector.api}/api/v1/sagas/payment/8492"
        wait_for(lambda: httpx.get(url, trust_env=False, timeout=60).json().get("attention") == "hung")
        output = command.run("show", "8492", url=collector.api).stdout
    for paragraph in shown.split("\n\n"):
        assert comparable(paragraph) in comparable(output), paragraph


def comparable(text: str) -> str:
    """The text without line breaks, times and the name of the host."""
    named = re.sub(r"\(\S+:\d+\)", "(host)", " ".join(text.split()))
    return re.sub(r"\d\d:\d\d:\d\dZ", "time", named)


def refuse() -> None:
    raise PermissionError("closed")


@pytest.mark.filterwarnings("ignore:Sagascope is configured again")  # the guide shows one way after the other
def test_code_of_the_guide_runs_from_top_to_bottom(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGASCOPE_ENDPOINT", receiver.endpoint)
    pytest.importorskip("tenacity", reason="tenacity is not installed")
    work = {name: lambda: None for name in ("debit_the_wallet", "record_in_the_ledger", "refund_the_wallet")}
    names: dict[str, Any] = {**work, "refuse": refuse}
    try:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)):
            exec(compile(block, f"instrumenting.md, block {number}", "exec"), names)
    finally:
        sagascope.shutdown()
    ended = {
        span.attributes["saga.id"]: span.attributes["saga.outcome"]
        for name in ("payment", "transfer", "loan", "account-check")
        for span in receiver.all_spans(name)
        if "saga.outcome" in span.attributes
    }
    assert {saga: outcome for saga, outcome in ended.items() if outcome != "completed"} == {"8502": "compensated"}
    assert {"4711", *map(str, range(8493, 8503))} - {"8498"} <= set(ended)
    assert receiver.span("notification.send").attributes["saga.outcome"] == "completed"
    assert receiver.span("wallet.check").attributes["sagascope.capture.account"] == "A-1"


def test_collector_configuration_is_consistent() -> None:
    (configuration,) = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
    pipelines, connectors = configuration["service"]["pipelines"], configuration["connectors"]
    receivers = {each for pipeline in pipelines.values() for each in pipeline["receivers"]}
    exporters = {each for pipeline in pipelines.values() for each in pipeline["exporters"]}
    assert receivers == set(configuration["receivers"]) | set(connectors)
    assert exporters == set(configuration["exporters"]) | set(connectors)
    for name, connector in connectors.items():
        (rule,) = connector["table"]
        assert rule["condition"] == f'attributes["{semconv.PROCESS_ID}"] != nil'
        for target in (*rule["pipelines"], *connector["default_pipelines"]):
            assert pipelines[target]["receivers"] == [name]
            assert target.partition("/")[0] == name.partition("/")[2]
        assert not set(rule["pipelines"]) & set(connector["default_pipelines"])
    # batching would delay start records and heartbeats
    assert "processors" not in configuration


def test_guide_lists_every_setting() -> None:
    table = GUIDE.split("## Settings")[1]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))
    )
    assert named == {field.name for field in fields(Settings)} - {"clock"}
    assert DEFAULT_ENDPOINT in table


def test_semconv_document_is_current() -> None:
    made = semconv_document.write()
    if WRITE in os.environ:
        (DOCS / "semconv.md").write_text(made)
    assert (DOCS / "semconv.md").read_text() == made, f"docs/semconv.md is out of date; run this test with {WRITE}=1"
