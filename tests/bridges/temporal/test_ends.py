"""A bridge closes what the plugin left open: workflows that the server ended while no code of a worker ran."""

import asyncio
import sys
from pathlib import Path

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from support.clients import running
from support.collector import running_collector
from support.following import bridging, headline, once, shape
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")


def restart(address: str, workflow: str) -> None:
    """Starts a workflow with the id of a running one, which the server terminates."""

    async def restarted() -> None:
        client = await Client.connect(address)
        conflict = WorkflowIDConflictPolicy.TERMINATE_EXISTING
        await client.start_workflow(
            "Payment", workflow, id=workflow, task_queue="payments", id_conflict_policy=conflict
        )

    asyncio.run(restarted())


def terminate(address: str, workflow: str) -> None:
    async def terminated() -> None:
        handle = (await Client.connect(address)).get_workflow_handle(workflow)
        await handle.terminate(reason="requested by the bank")

    asyncio.run(terminated())


def test_a_bridge_closes_the_sagas_that_the_plugin_left_open(tmp_path: Path) -> None:
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path),
    ):
        payments = ("slow/held", "slow/again", "unpolled/late")
        plugin = f"--plugin={collector.otlp_http}"
        with running(sys.executable, APP, address, plugin, *payments, log=tmp_path / "worker.log"):
            for payment in ("slow/held", "slow/again"):
                first = once(
                    collector,
                    payment,
                    lambda saga: (
                        saga["steps"][1:]
                        and saga["steps"][1]["attempts"][:1]
                        and saga["steps"][1]["attempts"][0]["instance"]
                    ),
                )
                assert [state for *_, state in shape(first)] == ["done", "in_flight"]
            terminate(address, "slow/held")
            ended = once(collector, "slow/held", lambda saga: saga["status"] != "running")
            assert ended["status"] == "failed"
            assert "requested by the bank" in headline(ended)
            late = once(collector, "unpolled/late", lambda saga: saga["status"] != "running")
            assert late["status"] == "failed"
            assert "the workflow timed out" in headline(late)
            restart(address, "slow/again")
            newer = once(collector, "slow/again", lambda saga: saga["run"] != first["run"])
            assert newer["status"] == "running"
            assert set(newer["runs"]) == {first["run"], newer["run"]}
            older = once(
                collector,
                "slow/again",
                lambda saga: "terminated by history-service" in headline(saga),
                run=first["run"],
            )
            assert older["status"] == "failed"
            assert older["runs"] == newer["runs"]
            for saga in (ended, late, newer, older):
                assert saga["anomalies"] == []
