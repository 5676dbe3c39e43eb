"""`sagascope bridge temporal` against a real server of Temporal, a worker without Sagascope, and a real collector."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from temporalio.client import Client

from support.clients import running
from support.collector import RunningCollector, running_collector
from support.following import bridging, headline, headline_contains, once, shape
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")
BANK_AWAY = "the bank is away, caused by no route to host"
IN_FLIGHT = ("failing", "unpolled", "bug", "timer", "slow", "refused", "parent", "rounds/1", "well", "approval")
LOCAL = ("local/well", "local/refused")
ADDRESSES = dict[str, str]()
"""The address of the server that a collector's bridge follows."""
ENDED = ("slow/terminated", "slow/cancelled", "unpolled/late", "slow/signalled")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("collector"), "--step-timeout", "Payment/charge=1") as collector:
        yield collector


@pytest.fixture(scope="module")
def followed(collector: RunningCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector that receives payments from a bridge."""
    folder = tmp_path_factory.mktemp("temporal")
    with (
        running_temporal(folder / "temporal.log") as address,
        bridging(address, collector.api, folder),
        running(sys.executable, APP, address, *IN_FLIGHT, *LOCAL, *ENDED, log=folder / "worker.log"),
    ):
        ADDRESSES[collector.api] = address
        yield collector


def signal(followed: RunningCollector, workflow: str) -> None:
    """Sends the signal `approve`."""

    async def sent() -> None:
        client = await Client.connect(ADDRESSES[followed.api])
        await client.get_workflow_handle(workflow).signal("approve")

    asyncio.run(sent())


@pytest.mark.shows("temporal bridge", "retrying", "retrying")
def test_a_failing_activity_shows_its_attempts_error_and_next_attempt(followed: RunningCollector) -> None:
    once(followed, "failing", lambda saga: saga["steps"] and len(saga["steps"][0]["attempts"]) >= 3)
    saga = once(followed, "failing", headline_contains("next attempt is due"))
    assert saga["attention"] == "retrying"
    assert BANK_AWAY in headline(saga)
    attempts = saga["steps"][0]["attempts"]
    numbers = [each["number"] for each in attempts]
    assert numbers == sorted(set(numbers))
    failed = [each["error"] for each in attempts if each["state"] == "error"]
    assert failed[-1] == {"type": "ConnectionError", "message": BANK_AWAY, "stacktrace": None}
    attributes = [
        span["attributes"] for span in saga["spans"] if span["attributes"].get("saga.step.attempt") == numbers[-1]
    ]
    assert [each["saga.step.max_attempts"] for each in attributes] == [40]


@pytest.mark.shows("temporal bridge", "stuck", "blocked")
def test_an_unpolled_task_queue_is_named(followed: RunningCollector) -> None:
    saga = once(followed, "unpolled", headline_contains("no worker polls the task queue night-shift (since "))
    saga = once(followed, "unpolled", lambda saga: saga["attention"] == "blocked")
    assert "no worker polls" in headline(saga)
    assert shape(saga) == [("charge", "action", "in_flight")]


def test_a_failing_workflow_task_is_reported(followed: RunningCollector) -> None:
    once(followed, "bug", headline_contains("the workflow task fails (since "))
    once(followed, "bug", headline_contains("a bug in the workflow"))


def test_a_timer_is_reported_and_needs_no_attention(followed: RunningCollector) -> None:
    saga = once(followed, "timer", headline_contains("the workflow waits for a timer until "))
    assert saga["attention"] is None


def test_a_wait_for_a_signal_is_reported_and_needs_no_attention(followed: RunningCollector) -> None:
    saga = once(followed, "approval", headline_contains("waiting for a signal or an update since "))
    assert saga["attention"] is None
    signal(followed, "approval")
    saga = once(followed, "approval", lambda saga: saga["status"] == "completed")
    assert saga["anomalies"] == []


def test_a_started_activity_is_in_flight(followed: RunningCollector) -> None:
    saga = once(followed, "slow", lambda saga: shape(saga)[1:] == [("fulfil", "action", "in_flight")])
    saga = once(followed, "slow", headline_contains("payments started "))
    assert shape(saga)[0] == ("charge", "action", "done")
    assert (saga["status"], saga["attention"]) == ("running", None)


@pytest.mark.shows("temporal bridge", "compensated", "compensated")
def test_a_compensated_workflow_is_compensated(followed: RunningCollector) -> None:
    saga = once(followed, "refused", lambda saga: saga["status"] != "running")
    assert saga["status"] == "compensated"
    assert [(name, type_) for name, type_, _ in shape(saga)] == [
        ("charge", "action"),
        ("fulfil", "action"),
        ("refund", "compensation"),
    ]
    assert saga["anomalies"] == []


@pytest.mark.shows("temporal bridge", "healthy", "completed")
def test_a_completed_workflow_is_completed(followed: RunningCollector) -> None:
    saga = once(followed, "well", lambda saga: saga["status"] != "running")
    assert (saga["status"], saga["attention"], saga["anomalies"]) == ("completed", None, [])


def test_a_child_workflow_is_a_step_of_its_parent_and_a_saga(followed: RunningCollector) -> None:
    parent = once(followed, "parent", shape)
    assert shape(parent) == [("Payment", "action", "in_flight")]
    child = once(followed, "slow/parent", lambda saga: len(shape(saga)) == 2)
    assert child["status"] == "running"


def test_continue_as_new_shows_both_runs(followed: RunningCollector) -> None:
    saga = once(followed, "rounds/1", lambda saga: len(shape(saga)) == 2)
    assert saga["status"] == "running"
    assert len(saga["runs"]) == 2


def test_local_activities_are_steps_when_they_have_ended(followed: RunningCollector) -> None:
    saga = once(followed, "local/well", lambda saga: saga["status"] != "running")
    assert (saga["status"], saga["anomalies"]) == ("completed", [])
    assert shape(saga) == [("charge", "action", "done"), ("fulfil", "action", "done")]
    refused = once(followed, "local/refused", lambda saga: saga["status"] != "running")
    assert refused["status"] == "failed"
    assert [(name, state) for name, _, state in shape(refused)] == [("charge", "done"), ("fulfil", "failed")]
    assert refused["steps"][1]["attempts"][0]["error"]["message"] == "out of stock"


@pytest.mark.parametrize(
    ("saga", "reason"),
    [
        ("slow/terminated", "requested by the bank"),
        ("slow/cancelled", "cancelled"),
        ("unpolled/late", "the workflow timed out"),
    ],
)
def test_an_external_end_is_shown_with_its_reason(followed: RunningCollector, saga: str, reason: str) -> None:
    ended = once(followed, saga, lambda saga: saga["status"] != "running")
    assert ended["status"] == "failed"
    assert reason in ended["headline"]


def test_a_received_signal_is_shown(followed: RunningCollector) -> None:
    saga = once(
        followed, "slow/signalled", lambda saga: any(span["name"] == "signal approve" for span in saga["spans"])
    )
    assert saga["status"] == "running"
