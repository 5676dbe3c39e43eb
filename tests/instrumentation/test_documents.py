"""The documents about the instrumentation: their code runs, and their names exist."""

import asyncio
import re
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import sagascope
from sagascope import semconv
from sagascope._settings import DEFAULT_ENDPOINT, Settings
from support import semconv_document
from support.receiver import Receiver

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "instrumenting.md").read_text()


def refuse() -> None:
    raise PermissionError("closed")


def test_code_of_the_guide_runs_from_top_to_bottom(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGASCOPE_ENDPOINT", receiver.endpoint)
    pytest.importorskip("tenacity", reason="tenacity is not installed")
    work = {name: lambda: None for name in ("debit_the_wallet", "record_in_the_ledger", "refund_the_wallet")}
    names: dict[str, Any] = {**work, "refuse": refuse, "asyncio": asyncio, "re": re, "time": time}
    names |= {"datetime": datetime, "UTC": UTC, "timedelta": timedelta}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)):
        exec(compile(block, f"instrumenting.md, block {number}", "exec"), names)
    sagascope.shutdown()
    ended = {
        span.attributes["saga.id"]: span.attributes["saga.outcome"]
        for span in receiver.all_spans("payment")
        if "saga.outcome" in span.attributes
    }
    assert {saga: outcome for saga, outcome in ended.items() if outcome != "completed"} == {"8498": "compensated"}
    assert {str(number) for number in range(8492, 8502)} <= set(ended)
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
    assert (DOCS / "semconv.md").read_text() == made, "run: python tests/support/semconv_document.py"
