"""Restarts of the bridge, the server and the collector lose and repeat nothing."""

import asyncio
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import PauseActivityRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from support.clients import running
from support.collector import running_collector
from support.following import bridging, headline, headline_contains, once, shape
from support.samples import wait_until
from support.temporal import running_temporal, server_program

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")


def pause(address: str, workflow: str) -> None:
    """Pauses the activity `charge`, as an operator does."""

    async def paused() -> None:
        client = await Client.connect(address)
        execution = WorkflowExecution(workflow_id=workflow)
        request = PauseActivityRequest(
            namespace="default", execution=execution, type="charge", identity="kim", reason="bank maintenance"
        )
        await client.workflow_service.pause_activity(request)

    asyncio.run(paused())


def has_completed(address: str, workflow: str) -> bool:
    """Returns whether the workflow has completed."""

    async def completed() -> bool:
        client = await Client.connect(address)
        with suppress(RPCError):
            described = await client.get_workflow_handle(workflow).describe()
            return described.status is WorkflowExecutionStatus.COMPLETED
        return False

    return asyncio.run(completed())


def test_restarts_of_all_parts_lose_and_repeat_nothing(tmp_path: Path) -> None:
    store, log = tmp_path / "temporal.db", tmp_path / "temporal.log"
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as outer:
        collector = outer.enter_context(running_collector(folders[0], db=tmp_path / "sagas.duckdb"))
        with running_temporal(log, store=store) as address:
            with bridging(address, collector.api, tmp_path), working(address, tmp_path, "failing/1", "slow/1"):
                once(collector, "slow/1", lambda saga: [state for *_, state in shape(saga)] == ["done", "in_flight"])
                before = once(collector, "failing/1", headline_contains("next attempt is due"))
            with working(address, tmp_path, "well/2", "unpolled/2"):  # without a bridge
                wait_until(lambda: has_completed(address, "well/2"), "well/2 never completed")
        collector.stop(9)
        collector = outer.enter_context(running_collector(folders[1], db=tmp_path / "sagas.duckdb"))
        with running_temporal(log, store=store) as address, bridging(address, collector.api, tmp_path):
            well = once(collector, "well/2", lambda saga: saga["status"] == "completed")
            assert shape(well) == [("charge", "action", "done"), ("fulfil", "action", "done")]
            once(collector, "unpolled/2", headline_contains("no worker polls the task queue night-shift (since "))
            with working(address, tmp_path):
                more = once(collector, "failing/1", lambda saga: len(attempts(saga)) > len(attempts(before)))
            assert attempts(more)[: len(attempts(before))] == attempts(before)
            assert more["anomalies"] == []
            pause(address, "failing/1")
            # the state of the activity may be shown before the report that it blocks the saga is received
            paused = once(
                collector, "failing/1", lambda saga: saga["verdict"] and "the activity is paused" in headline(saga)
            )
            assert "by kim" in paused["headline"]
            assert "bank maintenance" in paused["headline"]
            command = "temporal activity unpause --workflow-id failing/1 --activity-id 1 --namespace default"
            assert any(command in each for each in paused["verdict"]["actions"]), paused["verdict"]["actions"]
            unpause = [server_program(), *command.split()[1:], "--address", address]
            subprocess.run(unpause, check=True, capture_output=True, timeout=60)
            once(collector, "failing/1", lambda saga: "paused" not in headline(saga))


def test_plugin_and_bridge_report_one_timeline(tmp_path: Path) -> None:
    payments = ("well", "refused", "failing", "slow", "parent", "unpolled", "local/well")
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path),
        working(address, tmp_path, f"--plugin={collector.otlp_http}", *payments),
    ):
        well = once(collector, "well", lambda saga: saga["status"] == "completed")
        assert [len(step["attempts"]) for step in well["steps"]] == [1, 1]
        refused = once(collector, "refused", lambda saga: saga["status"] == "compensated")
        assert [(each, of) for each, of, _ in shape(refused)] == [
            ("charge", "action"),
            ("fulfil", "action"),
            ("refund", "compensation"),
        ]
        failing = once(collector, "failing", lambda saga: len(saga["steps"]) > 0 and len(attempts(saga)) >= 3)
        assert attempts(failing) == sorted(set(attempts(failing)))
        unpolled = once(collector, "unpolled", headline_contains("no worker polls the task queue night-shift (since "))
        slow = once(collector, "slow", lambda saga: [state for *_, state in shape(saga)] == ["done", "in_flight"])
        slow = once(collector, "slow", lambda saga: saga["steps"][1]["attempts"][0]["instance"])
        parent = once(collector, "parent", shape)
        local = once(collector, "local/well", lambda saga: saga["status"] == "completed")
        assert [len(step["attempts"]) for step in local["steps"]] == [1, 1]
    for saga in (well, refused, failing, unpolled, slow, parent, local):
        assert saga["anomalies"] == []
        assert len(saga["traces"]) == 1
        spans = [span["span_id"] for span in saga["spans"]]
        assert len(spans) == len(set(spans))
        assert [span["name"] for span in saga["spans"]].count("Payment") == 1 + (saga is parent)
    assert [len(step["attempts"]) for step in slow["steps"] if step["attempts"]] == [1, 1]
    assert well["steps"][0]["attempts"][0]["instance"], "the form of the plugin takes precedence"


def attempts(saga: Any) -> list[int]:
    return [each["number"] for each in saga["steps"][0]["attempts"] if each["ended_at"]]


def working(address: str, folder: Path, *payments: str) -> Any:
    """Starts payments and runs a worker."""
    return running(sys.executable, APP, address, *payments, log=folder / "worker.log")
