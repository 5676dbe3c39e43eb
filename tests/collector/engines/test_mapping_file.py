"""Rules of a mapping file, tested through the OTLP port of a real collector."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sagascope_collector.engines.registry import ENGINES
from support import preloaded
from support.collector import RunningCollector, running_collector, serve_command
from support.engines import Story, saga, steps

MAPPING = """\
rules:
  # an engine of one's own: tasks of a process
  - when: {scope: flowable, span: '^task '}
    id: process.business_key
    name: process.definition
    run: process.run
    step: {span: '^task (?:undo )?(\\S+)'}
    attempt: process.retry
    first_attempt: 0
    key: process.item
    compensation: {span: '^task undo '}
    compensates: process.undoes
  - when: {scope: flowable, has: [process.business_key]}
    id: process.business_key
    name: process.definition
    run: process.run
    role: saga
  # single spans with amounts and keys
  - when: {has: [transfer.id], kind: consumer}
    id: transfer.id
    name: {constant: transfer}
    step: {span: '(\\S+)$'}
    amount: transfer.sum
    currency: {constant: EUR}
    keys: {account: transfer.account}
    idempotency_key: transfer.token
    step_timeout: 1m
    outcome: {failed: {equals: {transfer.state: refused}}}
  # what DBOS reports only when a workflow ends
  - when: {engine: dbos, service: shop}
    name: {constant: checkout}
    compensates: {release: reserve}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mapped")


@pytest.fixture(scope="module")
def collector(folder: Path) -> Iterator[RunningCollector]:
    (folder / "mapping.yaml").write_text(MAPPING)
    with running_collector(folder, "--mapping", str(folder / "mapping.yaml")) as running:
        yield running


@pytest.fixture(scope="module")
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def api(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as client:
        yield client


def test_a_rule_maps_spans_of_another_engine(http: httpx.Client, api: httpx.Client) -> None:
    story = Story(1)
    of = {"process.business_key": 8492, "process.definition": "payment", "process.run": "r1"}
    root = story.span("process payment", of, 0, 9, scope="flowable", error="refused")
    for retry, error in enumerate(["503", None]):
        attributes = of | {"process.retry": retry, "process.item": "a"}
        story.span("task reserve", attributes, 1 + retry, 0.1, scope="flowable", parent=root, error=error)
    compensation = of | {"process.undoes": "reserve", "process.item": "a", "process.retry": 0}
    story.span("task undo release", compensation, 5, 0.1, scope="flowable", parent=root)
    story.span("task reserve", of | {"process.business_key": "9999"}, 5, 0.1, scope="another")
    story.send(http)
    shown = saga(api, "8492", "payment", lambda shown: shown["status"] == "failed")
    assert steps(shown) == [
        ("reserve#a", "action", "compensated", ["error", "ok"]),
        ("release#a", "compensation", "done", ["ok"]),
    ]
    assert [each["number"] for each in shown["steps"][0]["attempts"]] == [1, 2]
    assert (shown["run"], shown["ledger"][0]["compensation"]) == ("r1", "release")
    assert shown["spans"][0]["attributes"] == {
        "process.business_key": 8492,
        "process.definition": "payment",
        "process.run": "r1",
    }
    assert api.get("/api/v1/search", params={"q": "9999"}).json()["matches"] == []


def test_a_rule_adds_to_a_built_in_engine(http: httpx.Client, api: httpx.Client) -> None:
    story, of = Story(2), {"operationUUID": "wf-1", "operationType": "step"}
    story.span("reserve", of, 0, 1, service="shop", parent=99)
    story.span("release", of, 2, 1, service="shop", parent=99)
    story.send(http)
    shown = saga(api, "wf-1", "checkout", lambda shown: len(shown["steps"]) == 2)
    assert steps(shown) == [("reserve", "action", "compensated", ["ok"]), ("release", "compensation", "done", ["ok"])]


def test_a_rule_applies_only_to_its_service(http: httpx.Client, api: httpx.Client) -> None:
    story = Story(3)
    story.span("reserve", {"operationUUID": "wf-2", "operationType": "step"}, 0, 1, service="billing")
    story.send(http)
    assert saga(api, "wf-2", "unknown")["steps"][0]["name"] == "reserve"


def test_a_rule_adds_amounts_keys_and_an_outcome(http: httpx.Client, api: httpx.Client) -> None:
    story = Story(4)
    of = {"transfer.id": 77, "transfer.sum": 12.5, "transfer.account": "DE1", "transfer.token": "t-1"}
    story.span("handle debit", of | {"saga.amount": "12.50"}, 0, 1, kind="SPAN_KIND_CONSUMER", service="bank")
    refused = {"transfer.id": 77, "transfer.state": "refused"}
    story.span("handle credit", refused, 2, 1, kind="SPAN_KIND_CONSUMER", service="bank", error="closed")
    story.span("handle credit", refused, 4, 1, service="bank")
    story.send(http)
    shown = saga(api, "77", "transfer", lambda shown: len(shown["spans"]) == 2)
    assert (shown["status"], shown["keys"]) == ("failed", {"account": "DE1"})
    assert shown["amount_at_risk"] == [{"currency": "EUR", "certain": "12.50", "possible": "0.00"}]
    added = {key: value for key, value in shown["spans"][0]["attributes"].items() if not key.startswith("transfer.")}
    assert added == {
        "saga.amount": "12.50",  # the span's own comes first
        "saga.currency": "EUR",
        "saga.key.account": "DE1",
        "saga.step.idempotency_key": "t-1",
        "saga.step.timeout": 60.0,
        "sagascope.mapped": ["saga.currency", "saga.step.idempotency_key", "saga.step.timeout", "saga.key.account"],
    }


WRONG = """\
rules:
  - when: {engine: camunda}
    name: {attribute: a, constant: b}
  - id: order.id
    step: {span: '('}
    roll: saga
  - step: order.step
"""


def test_an_invalid_file_stops_the_collector_with_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(WRONG)
    ended = preloaded.run(*serve_command(tmp_path / "s.duckdb", "--mapping", str(file))[2:])
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    engines = ", ".join(sorted(each.name for each in ENGINES))
    assert ended.stderr.replace(f"{file}:", "").removeprefix("sagascope: ").splitlines() == [
        f"2: rules[0].when: engine 'camunda' is not one of {engines}",
        "3: rules[0].name: needs exactly one of attribute, span, constant",
        "5: rules[1].step.span: is not a regular expression: missing ), unterminated subpattern at position 0",
        "6: rules[1].roll: is not a known key",
        "7: rules[2]: id is missing: only a rule for an engine can leave it out",
    ]
