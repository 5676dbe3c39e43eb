"""The whole product as a user meets it: everything that was planted is found, and nothing else."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sagascope_samples.story import PLANTED, PLANTS, Plant
from support.demo import COMMAND, RunningDemo, running_demo
from support.samples import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

FOUND_WITHIN = 80.0
FIELDS = ("status", "attention", "phase", "step", "service")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as playing:
        yield playing


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.payment)
def test_a_planted_fault_is_found_with_its_cause(demo: RunningDemo, plant: Plant) -> None:
    expected = {field: getattr(plant.expected, field) for field in FIELDS}

    def found() -> dict[str, str | None]:
        items = demo.get("/api/v1/sagas", q=plant.payment)["items"]
        return {field: items[0][field] for field in FIELDS} if items else {}

    wait_until(lambda: found() == expected, f"found {found()} instead of {expected}", FOUND_WITHIN)
    verdict = demo.saga(plant.payment)["verdict"]
    assert (verdict and verdict["reason"]) == plant.expected.attention
    assert (verdict and verdict["step"]) == plant.expected.step


def test_nobody_is_sent_to_a_healthy_payment(demo: RunningDemo) -> None:
    stuck = {plant.payment for plant in PLANTS if plant.expected.attention}
    wait_until(lambda: stuck <= needing(demo), "not every fault is listed", FOUND_WITHIN)
    assert needing(demo) == stuck
    first = {saga["id"] for saga in demo.get("/api/v1/sagas", limit="500")["items"]}
    healthy = {payment for payment in first if int(payment) <= 8505} - PLANTED.keys()
    completed = lambda: {saga["id"] for saga in demo.get("/api/v1/sagas", status="completed", limit="500")["items"]}  # noqa: E731
    wait_until(lambda: healthy <= completed(), "healthy payments are not completed")


def needing(demo: RunningDemo) -> set[str]:
    return {saga["id"] for saga in demo.get("/api/v1/sagas", attention="any")["items"]}


def test_the_story_of_8492_is_told(demo: RunningDemo) -> None:
    saga = demo.saga("8492")
    wait_until(lambda: demo.saga("8492")["attention"] == "instance_lost", "not found", FOUND_WITHIN)
    saga = demo.saga("8492")
    assert "ledger" in saga["headline"]
    assert saga["verdict"]["evidence"]
    assert {step["name"]: step["state"] for step in saga["steps"]}["wallet.debit"] == "done"
    assert [entry["state"] for entry in saga["ledger"] if entry["step"] == "wallet.debit"] == ["in_force"]
    assert any(log["body"].startswith("Recording payment 8492") for log in saga["logs"])


def test_the_ledger_lives_on_under_another_name(demo: RunningDemo) -> None:
    def ledgers() -> list[bool]:
        services = demo.get("/api/v1/services")["items"]
        return [i["alive"] for service in services if service["service"] == "ledger" for i in service["instances"]]

    wait_until(lambda: sorted(ledgers()) == [False, True], "not one ledger lost and one alive", FOUND_WITHIN)


def test_the_command_line_tells_it_too(demo: RunningDemo) -> None:
    wait_until(lambda: demo.saga("8492")["attention"] == "instance_lost", "not found", FOUND_WITHIN)
    command = (sys.executable, "-m", "sagascope_collector")
    shown = subprocess.run(
        [*command, "show", "8492", "--url", demo.addresses.api.url], capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    assert "ledger.record" in shown.stdout
    listed = subprocess.run(
        [*command, "triage", "--url", demo.addresses.api.url], capture_output=True, text=True, timeout=60
    )
    assert all(plant.payment in listed.stdout for plant in PLANTS if plant.expected.attention)


def test_a_second_demo_on_the_same_ports_says_which_are_taken(demo: RunningDemo, tmp_path: Path) -> None:
    api = str(demo.addresses.api)
    second = subprocess.run(
        [*COMMAND, "--headless", "--json", "--api", api], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert second.returncode == 2
    assert second.stdout == ""
    assert f"{api} is taken, and the collector's API was to listen there; --api HOST:PORT moves it" in second.stderr


def test_the_demo_ends_in_order_at_ctrl_c(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        parts = demo.parts()
        assert len(parts) == 8
        assert demo.stop() == 0
        assert "Stopping everything." in demo.said()
        assert not psutil.wait_procs(parts, timeout=5)[1]


def test_the_demo_ends_and_names_a_part_that_dies(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        parts = demo.parts()
        wallet = next(part for part in parts if "sagascope_samples.wallet" in part.cmdline())
        wallet.send_signal(signal.SIGKILL)
        assert demo.process.wait(30) == 1
        assert "wallet died unexpectedly (signal SIGKILL)" in demo.said()
        assert not psutil.wait_procs(parts, timeout=5)[1]


def test_the_headless_demo_proves_every_planted_fault(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run([*COMMAND, "--headless", "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    took = time.monotonic() - began
    report = json.loads(done.stdout)
    assert report["ok"], f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    assert report.keys() == {"ok", "faults"}
    assert [fault["id"] for fault in report["faults"]] == [plant.payment for plant in PLANTS]
    for fault in report["faults"]:
        assert fault.keys() == {"id", "planted", "found", "ok"}
        assert fault["ok"]
    assert took < 90
    assert list(tmp_path.iterdir()) == []
