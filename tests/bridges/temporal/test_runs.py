"""Resets and lost workers, polled from a real server without a collector in between."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from sagascope import semconv
from sagascope_collector.bridges import Telemetry
from sagascope_collector.bridges.temporal import Checkpoint, TemporalClient, TemporalSource, client, description
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from support.clients import running
from support.collector import running_collector
from support.following import bridging, once, shape
from support.samples import wait_until
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")


def reset(address: str, workflow: str) -> None:
    """Resets a workflow to its latest workflow task, as an operator does after a bad deployment."""

    async def done() -> None:
        client = await Client.connect(address)
        events = [event async for event in client.get_workflow_handle(workflow).fetch_history_events()]
        completed = [each for each in events if each.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        request = ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=workflow),
            reason="bad deployment",
            workflow_task_finish_event_id=completed[-1].event_id,
            request_id="reset-1",
        )
        await client.workflow_service.reset_workflow_execution(request)

    asyncio.run(done())


def test_a_reset_ends_the_older_run_and_names_the_newer(tmp_path: Path) -> None:
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path),
        running(sys.executable, APP, address, "slow/reset", log=tmp_path / "worker.log"),
    ):
        first = once(
            collector, "slow/reset", lambda saga: [state for *_, state in shape(saga)] == ["done", "in_flight"]
        )
        reset(address, "slow/reset")
        newer = once(collector, "slow/reset", lambda saga: len(saga["runs"]) == 2 and saga["status"] == "running")
        assert newer["run"] != first["run"]
        assert (newer["attention"], newer["anomalies"]) == (None, [])
        older = once(collector, "slow/reset", lambda saga: saga["status"] == "completed", run=first["run"])
        assert older["attention"] is None
        assert newer["run"] in older["headline"]


def restart(address: str, workflow: str) -> None:
    """Terminates a workflow, and starts it again with the same id."""

    async def done() -> None:
        client = await Client.connect(address)
        await client.get_workflow_handle(workflow).terminate(reason="wrong parameters")
        await client.start_workflow("Payment", workflow, id=workflow, task_queue="payments")

    asyncio.run(done())


def test_a_terminated_run_names_the_run_that_was_started_after_it(tmp_path: Path) -> None:
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path),
        running(sys.executable, APP, address, "unpolled/restarted", log=tmp_path / "worker.log"),
    ):
        first = once(collector, "unpolled/restarted", lambda saga: shape(saga))
        restart(address, "unpolled/restarted")
        newer = once(
            collector, "unpolled/restarted", lambda saga: len(saga["runs"]) == 2 and saga["status"] == "running"
        )
        older = once(collector, "unpolled/restarted", lambda saga: newer["run"] in saga["headline"], run=first["run"])
    assert older["status"] == "failed"
    assert "wrong parameters" in older["headline"]
    assert f"Run {newer['run']} of this id started after it." in older["headline"]


@pytest.fixture
def polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], Telemetry]]]:
    """The address of a server, and a function that polls it once; a worker is gone after three seconds."""
    for module in (client, description):
        monkeypatch.setattr(module, "POLLER_LOST_NS", 3 * NANOSECONDS_PER_SECOND)
    monkeypatch.setattr(client, "POLLS_INTERVAL_NS", 0)
    checkpoint = Checkpoint()
    with (
        running_temporal(tmp_path / "temporal.log") as address,
        TemporalClient(address) as connection,
        TemporalSource(connection, ["default"]) as following,
    ):

        def poll() -> Telemetry:
            nonlocal checkpoint
            result = following.poll(checkpoint, time.time_ns())
            checkpoint = result.checkpoint
            return result.telemetry

        yield address, poll


def test_a_killed_worker_is_reported_as_lost(polled: tuple[str, Callable[[], Telemetry]], tmp_path: Path) -> None:
    address, poll = polled
    logs = list[Any]()

    def found(attribute: str, value: str) -> list[Any]:
        logs.extend(poll().logs)
        return [each for each in logs if each.attributes.get(attribute) == value]

    with running(sys.executable, APP, address, "slow/1", log=tmp_path / "worker.log") as worker:
        wait_until(lambda: found(semconv.STEP_NAME, "fulfil"), "fulfil was not started")
    reported = wait_until(lambda: found(semconv.BLOCKED_CAUSE, "worker_lost"), "the killed worker was not reported")
    assert f"its worker {worker.pid}@" in reported[0].body
    assert reported[0].attributes[semconv.SAGA_ID] == "slow/1"
