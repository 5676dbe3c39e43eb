"""`sagascope bridge temporal` against a real server of Temporal, a worker without Sagascope, and a real collector."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from support.clients import running
from support.collector import RunningCollector, running_collector
from support.following import bridging, headline, once, says, shape
from support.temporal import running_temporal

pytestmark = pytest.mark.xdist_group("bridge-temporal")

APP = Path(__file__).with_name("payments.py")
BANK_AWAY = "the bank is away, caused by no route to host"
STANDING = ("failing", "nobody", "bug", "timer", "slow", "refused", "parent", "rounds/1", "well")
LOCAL = ("local/well", "local/refused")
ENDED = ("slow/terminated", "slow/cancelled", "nobody/late", "slow/signalled")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("collector"), "--step-timeout", "Payment/charge=1") as collector:
        yield collector


@pytest.fixture(scope="module")
def told(collector: RunningCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector that a bridge tells of payments."""
    folder = tmp_path_factory.mktemp("temporal")
    with (
        running_temporal(folder / "temporal.log") as address,
        bridging(address, collector.api, folder),
        running(sys.executable, APP, address, *STANDING, *LOCAL, *ENDED, log=folder / "worker.log"),
    ):
        yield collector


def test_an_activity_that_keeps_failing_says_how_often_why_and_when_it_is_tried_next(told: RunningCollector) -> None:
    once(told, "failing", lambda saga: saga["steps"] and len(saga["steps"][0]["attempts"]) >= 3)
    saga = once(told, "failing", says("next attempt is due"))
    assert saga["attention"] == "retrying"
    assert BANK_AWAY in headline(saga)
    tries = saga["steps"][0]["attempts"]
    numbers = [each["number"] for each in tries]
    assert numbers == sorted(set(numbers))
    failed = [each["error"] for each in tries if each["state"] == "error"]
    assert failed[-1] == {"type": "ConnectionError", "message": BANK_AWAY, "stacktrace": None}
    said = [span["attributes"] for span in saga["spans"] if span["attributes"].get("saga.step.attempt") == numbers[-1]]
    assert [each["saga.step.max_attempts"] for each in said] == [40]


def test_a_task_queue_that_no_worker_polls_is_named(told: RunningCollector) -> None:
    saga = once(told, "nobody", says("no worker polls the task queue night-shift since "))
    saga = once(told, "nobody", lambda saga: saga["attention"] == "blocked")
    assert "no worker polls" in headline(saga)
    assert shape(saga) == [("charge", "action", "in_flight")]


def test_a_workflow_whose_own_code_fails_says_so(told: RunningCollector) -> None:
    once(told, "bug", says("the workflow's own task fails since "))
    once(told, "bug", says("a bug in the workflow"))


def test_a_timer_that_is_waited_for_is_named(told: RunningCollector) -> None:
    saga = once(told, "timer", says("the workflow waits for a timer until "))
    assert saga["attention"] is None


def test_what_a_worker_has_is_in_flight(told: RunningCollector) -> None:
    saga = once(told, "slow", lambda saga: shape(saga)[1:] == [("fulfil", "action", "in_flight")])
    saga = once(told, "slow", says("payments started "))
    assert shape(saga)[0] == ("charge", "action", "done")
    assert (saga["status"], saga["attention"]) == ("running", None)


def test_what_was_undone_is_told_as_undone(told: RunningCollector) -> None:
    saga = once(told, "refused", lambda saga: saga["status"] != "running")
    assert saga["status"] == "compensated"
    assert [(name, type_) for name, type_, _ in shape(saga)] == [
        ("charge", "action"),
        ("fulfil", "action"),
        ("refund", "compensation"),
    ]
    assert saga["anomalies"] == []


def test_what_ended_well_has_ended(told: RunningCollector) -> None:
    saga = once(told, "well", lambda saga: saga["status"] != "running")
    assert (saga["status"], saga["attention"], saga["anomalies"]) == ("completed", None, [])


def test_a_child_is_a_step_of_its_parent_and_a_saga(told: RunningCollector) -> None:
    parent = once(told, "parent", shape)
    assert shape(parent) == [("Payment", "action", "in_flight")]
    child = once(told, "slow/parent", lambda saga: len(shape(saga)) == 2)
    assert child["status"] == "running"


def test_a_run_that_goes_on_in_another_is_told_as_both(told: RunningCollector) -> None:
    saga = once(told, "rounds/1", lambda saga: len(shape(saga)) == 2)
    assert saga["status"] == "running"
    assert len(saga["runs"]) == 2


def test_local_activities_are_steps_when_they_are_over(told: RunningCollector) -> None:
    saga = once(told, "local/well", lambda saga: saga["status"] != "running")
    assert (saga["status"], saga["anomalies"]) == ("completed", [])
    assert shape(saga) == [("charge", "action", "done"), ("fulfil", "action", "done")]
    refused = once(told, "local/refused", lambda saga: saga["status"] != "running")
    assert refused["status"] == "failed"
    assert [(name, state) for name, _, state in shape(refused)] == [("charge", "done"), ("fulfil", "failed")]
    assert refused["steps"][1]["attempts"][0]["error"]["message"] == "out of stock"


@pytest.mark.parametrize(
    ("saga", "reason"),
    [
        ("slow/terminated", "asked for by the bank"),
        ("slow/cancelled", "cancelled"),
        ("nobody/late", "the workflow timed out"),
    ],
)
def test_what_was_ended_from_outside_says_how(told: RunningCollector, saga: str, reason: str) -> None:
    ended = once(told, saga, lambda saga: saga["status"] != "running")
    assert ended["status"] == "failed"
    assert reason in ended["headline"]


def test_a_signal_that_came_is_shown(told: RunningCollector) -> None:
    saga = once(told, "slow/signalled", lambda saga: any(span["name"] == "signal approve" for span in saga["spans"]))
    assert saga["status"] == "running"
