"""A workflow that waits for a signal: calm before its timeout, late after it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.client import Client
from temporalio.worker import Worker

import sagascope
from sagascope.integrations.temporal import SagascopePlugin
from support import temporal_payments as stage
from support.collector import RunningCollector, running_collector
from support.following import headline, once
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

SECONDS = {"approval/patient": 3600, "approval/late": 4}


def test_a_declared_wait_needs_attention_only_after_the_timeout_of_the_workflow(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector, running_temporal(tmp_path / "temporal.log") as address:
        sagascope.configure("payments", endpoint=collector.otlp_http)
        try:
            asyncio.run(start(address, collector))
            compare(collector)
        finally:
            sagascope.shutdown()


async def start(address: str, collector: RunningCollector) -> None:
    """Starts the workflows, and runs a worker until they wait."""
    client = await Client.connect(address, plugins=[SagascopePlugin()])
    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            client,
            task_queue=stage.QUEUE,
            workflows=[stage.Approval],
            activities=[stage.charge, stage.fulfil],
            activity_executor=threads,
        ):
            for id_, seconds in SECONDS.items():
                await client.start_workflow(
                    stage.Approval.run,
                    id_,
                    id=id_,
                    task_queue=stage.QUEUE,
                    execution_timeout=timedelta(seconds=seconds),
                )
            for id_ in SECONDS:
                await asyncio.to_thread(once, collector, id_, lambda saga: saga["logs_total"], name="Approval")


def compare(collector: RunningCollector) -> None:
    late = once(collector, "approval/late", lambda saga: saga["attention"], name="Approval")
    assert late["verdict"]["reason"] in {"next_step_missing", "never_closed"}
    patient = once(collector, "approval/patient", lambda saga: "approval" in headline(saga), name="Approval")
    assert patient["attention"] is None
    assert "waiting for approval since " in headline(patient)
