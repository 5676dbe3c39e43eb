"""Nothing is lost and nothing doubled when the bridge, the server or the collector begins anew."""

import asyncio
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
from support.following import bridging, once, says, shape
from support.samples import wait_until
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")


def pause(address: str, workflow: str) -> None:
    """As an operator would."""

    async def paused() -> None:
        client = await Client.connect(address)
        execution = WorkflowExecution(workflow_id=workflow)
        request = PauseActivityRequest(
            namespace="default", execution=execution, type="charge", identity="kim", reason="bank maintenance"
        )
        await client.workflow_service.pause_activity(request)

    asyncio.run(paused())


def has_completed(address: str, workflow: str) -> bool:
    """Whether it was started, and has ended well."""

    async def completed() -> bool:
        client = await Client.connect(address)
        with suppress(RPCError):
            described = await client.get_workflow_handle(workflow).describe()
            return described.status is WorkflowExecutionStatus.COMPLETED
        return False

    return asyncio.run(completed())


def test_all_may_begin_anew(tmp_path: Path) -> None:
    store, log = tmp_path / "temporal.db", tmp_path / "temporal.log"
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as outer:
        collector = outer.enter_context(running_collector(folders[0], db=tmp_path / "told.duckdb"))
        with running_temporal(log, store=store) as address:
            with bridging(address, collector.api, tmp_path), working(address, tmp_path, "failing/1", "slow/1"):
                once(collector, "slow/1", lambda saga: [state for *_, state in shape(saga)] == ["done", "in_flight"])
                before = once(collector, "failing/1", says("next attempt is due"))
            with working(address, tmp_path, "well/2", "nobody/2"):  # nobody follows
                wait_until(lambda: has_completed(address, "well/2"), "well/2 never completed")
        collector.stop(9)
        collector = outer.enter_context(running_collector(folders[1], db=tmp_path / "told.duckdb"))
        with running_temporal(log, store=store) as address, bridging(address, collector.api, tmp_path):
            well = once(collector, "well/2", lambda saga: saga["status"] == "completed")
            assert shape(well) == [("charge", "action", "done"), ("fulfil", "action", "done")]
            once(collector, "nobody/2", says("no worker polls the task queue night-shift since "))
            with working(address, tmp_path):
                more = once(collector, "failing/1", lambda saga: len(tries(saga)) > len(tries(before)))
            assert tries(more)[: len(tries(before))] == tries(before)
            assert more["anomalies"] == []
            pause(address, "failing/1")
            paused = once(collector, "failing/1", says("the activity is paused"))
            assert "by kim" in paused["headline"]
            assert "bank maintenance" in paused["headline"]


def test_with_the_plugin_nothing_is_told_twice(tmp_path: Path) -> None:
    told = ("well", "refused", "failing", "slow", "parent", "nobody", "local/well")
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path),
        working(address, tmp_path, f"--plugin={collector.otlp_http}", *told),
    ):
        well = once(collector, "well", lambda saga: saga["status"] == "completed")
        assert [len(step["attempts"]) for step in well["steps"]] == [1, 1]
        refused = once(collector, "refused", lambda saga: saga["status"] == "compensated")
        assert [(each, of) for each, of, _ in shape(refused)] == [
            ("charge", "action"),
            ("fulfil", "action"),
            ("refund", "compensation"),
        ]
        failing = once(collector, "failing", lambda saga: len(saga["steps"]) > 0 and len(tries(saga)) >= 3)
        assert tries(failing) == sorted(set(tries(failing)))
        nobody = once(collector, "nobody", says("no worker polls the task queue night-shift since "))
        slow = once(collector, "slow", lambda saga: [state for *_, state in shape(saga)] == ["done", "in_flight"])
        slow = once(collector, "slow", lambda saga: saga["steps"][1]["attempts"][0]["instance"])
        parent = once(collector, "parent", shape)
        local = once(collector, "local/well", lambda saga: saga["status"] == "completed")
        assert [len(step["attempts"]) for step in local["steps"]] == [1, 1]
    for saga in (well, refused, failing, nobody, slow, parent, local):
        assert saga["anomalies"] == []
        assert len(saga["traces"]) == 1
        spans = [span["span_id"] for span in saga["spans"]]
        assert len(spans) == len(set(spans))
        assert [span["name"] for span in saga["spans"]].count("Payment") == 1 + (saga is parent)
    assert [len(step["attempts"]) for step in slow["steps"] if step["attempts"]] == [1, 1]
    assert well["steps"][0]["attempts"][0]["instance"], "the form of the plugin is the fuller one"


def tries(saga: Any) -> list[int]:
    return [each["number"] for each in saga["steps"][0]["attempts"] if each["ended_at"]]


def working(address: str, folder: Path, *payments: str) -> Any:
    """A worker, which starts payments first."""
    return running(sys.executable, APP, address, *payments, log=folder / "worker.log")
