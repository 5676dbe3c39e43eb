"""Workflow tasks that fail in a real worker are blocked at once, as a bridge and the plugin report them."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.client import Client

from support.clients import running
from support.collector import RunningCollector, running_collector
from support.following import bridging, headline, once
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")


@contextmanager
def working(address: str, folder: Path, *payments: str, deployed: str = "") -> Iterator[Any]:
    """Starts payments and runs a worker of one version of their code."""
    with running("env", f"DEPLOYED={deployed}", sys.executable, APP, address, *payments, log=folder / "log") as worker:
        yield worker


def approve(address: str, workflow: str) -> None:
    """Sends a signal, for which a worker must run the workflow."""

    async def sent() -> None:
        await (await Client.connect(address)).get_workflow_handle(workflow).signal("approve")

    asyncio.run(sent())


def is_blocked(saga: Any) -> bool:
    return saga["attention"] == "blocked"


def incidents(collector: RunningCollector) -> list[Any]:
    answer = httpx.get(f"{collector.api}/api/v1/incidents", trust_env=False, timeout=60).json()["items"]
    return [each for each in answer if each["reason"] == "blocked"]


@pytest.mark.parametrize("reporter", ["bridge", "plugin"])
def test_a_failing_workflow_task_is_blocked_until_it_succeeds(tmp_path: Path, reporter: str) -> None:
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path) if reporter == "bridge" else nullcontext(),
    ):
        plugin = [f"--plugin={collector.otlp_http}"] if reporter == "plugin" else []
        with working(address, tmp_path, *plugin, "bug/1", "bug/2"):
            for payment in ("bug/1", "bug/2"):
                saga = once(collector, payment, is_blocked)
                assert saga["verdict"]["confidence"] == "certain"
                assert "the workflow task fails (" in headline(saga)
                assert "in worker " in headline(saga)
                assert saga["error"]["type"] == "ZeroDivisionError"
                assert saga["error"]["message"] == "a bug in the workflow"
        found = once(collector, "bug/2", lambda _: [each for each in incidents(collector) if each["count"] == 2])
        assert found
        assert len(incidents(collector)) == 1
        with working(address, tmp_path, *plugin, deployed="fixed"):  # another process, in which it never failed
            recovered = once(collector, "bug/1", lambda saga: not is_blocked(saga))
            assert (recovered["status"], recovered["attention"]) == ("running", None)


@pytest.mark.parametrize("reporter", ["bridge", "plugin"])
def test_a_nondeterminism_after_a_deployment_is_blocked(tmp_path: Path, reporter: str) -> None:
    with (
        running_collector(tmp_path) as collector,
        running_temporal(tmp_path / "temporal.log") as address,
        bridging(address, collector.api, tmp_path) if reporter == "bridge" else nullcontext(),
    ):
        plugin = [f"--plugin={collector.otlp_http}"] if reporter == "plugin" else []
        with working(address, tmp_path, *plugin, "changed/1"):
            once(collector, "changed/1", lambda saga: len(saga["steps"]) == 1)
        with working(address, tmp_path, *plugin, deployed="changed"):
            approve(address, "changed/1")
            saga = once(collector, "changed/1", lambda saga: "the workflow task fails (" in headline(saga))
            assert is_blocked(saga)
            assert "ondeterminism" in headline(saga)
            assert "Failure {" not in headline(saga)
            assert ("in build changed" if reporter == "plugin" else "in worker ") in headline(saga)
