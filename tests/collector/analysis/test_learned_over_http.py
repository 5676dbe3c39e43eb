"""Learned plans through a real collector and across its restart."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.payments import DONE, Tried, saga, send, soon

UNPLANNED = {"saga.plan": None}
SECOND_VERSION = (*DONE, Tried("bonus.grant", "bonus", 0.6, 0.7))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ask(collector: RunningCollector, saga_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{collector.api}/api/v1/sagas/payment/{saga_id}", trust_env=False, timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text
    answer: dict[str, Any] = answer.json()
    return answer


def optional(page: dict[str, Any]) -> dict[str, bool]:
    return {each["name"]: each["optional"] for each in page["plan"]["steps"]}


def listed(collector: RunningCollector, **narrowed: str) -> dict[str, tuple[str, str]]:
    answer = httpx.get(f"{collector.api}/api/v1/sagas", params=narrowed, trust_env=False, timeout=30).json()
    return {each["id"]: (each["attention"], each["step"]) for each in answer["items"]}


def test_a_finished_saga_counts_in_the_list_and_on_the_page(folder: Path) -> None:
    with running_collector(folder) as collector:
        send(collector, *saga("stuck", DONE[:1], ended=False, root=UNPLANNED))
        assert ask(collector, "stuck")["plan"]["source"] == "none"
        send(collector, *saga("1", root=UNPLANNED), *saga("2", SECOND_VERSION, root=UNPLANNED))
        expected = {"stuck": ("next_step_missing", "ledger.record")}
        soon(lambda: listed(collector, attention="any") == expected, seconds=60)
        planned = {"fraud.check": False, "ledger.record": False, "bonus.grant": True}
        soon(lambda: optional(ask(collector, "stuck")) == planned, seconds=60)
        page = ask(collector, "stuck")
        assert page["plan"]["source"] == "learned"
        assert page["attention"] == "next_step_missing"
        assert page["anomalies"] == []
    with running_collector(folder) as collector:
        assert ask(collector, "stuck")["plan"]["source"] == "learned"
