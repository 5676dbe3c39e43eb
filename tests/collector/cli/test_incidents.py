"""What the commands say of incidents, against a real collector."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sagascope_collector.client import Client, SagaFilters, schemas
from support.collector import RunningCollector, running_collector
from support.command import run
from support.payments import DONE, STUCK, Tried, saga, send, soon

AGAIN = {"saga.step.retry_in": 3600.0}
FAILING = (DONE[0], *(Tried("ledger.record", "ledger", 0.3 + each, 0.5 + each, "refused", AGAIN) for each in range(3)))
KEYED = (
    DONE[0],
    Tried(
        "ledger.record", "ledger", 0.3, None, attributes={"saga.step.timeout": 1.0, "saga.step.idempotency_key": "k7"}
    ),
)


@pytest.fixture
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        for number in range(4):
            send(running, *saga(f"f-{number}", FAILING, ago=90, ended=False))
        send(running, *saga("keyed", KEYED, ago=80), *saga("alone", STUCK, name="refund", ago=70))
        with Client(running.api) as client:
            soon(lambda: sorted(each.count for each in client.incidents().items) == [1, 1, 4])
        yield running


def key_of(collector: RunningCollector) -> str:
    with Client(collector.api) as client:
        return next(each.key for each in client.incidents().items if each.count == 4)


def test_triage_lists_incidents_of_several_first(collector: RunningCollector) -> None:
    done = run("triage", url=collector.api)
    title, *rest = done.stdout.splitlines()
    assert title == f"4 payment at ledger.record: retrying  {key_of(collector)}  open"
    assert any("recommended: 4 to verify first" in line for line in rest)
    assert [line.split("  ")[0] for line in rest if line[:1] not in {"", " "}] == [
        "2 more transactions need attention: hung 2",
        "TRANSACTION",
        "payment keyed",
        "refund alone",
    ]
    listed = schemas.Sagas.model_validate_json(run("triage", "--json", url=collector.api).stdout)
    assert len(listed.items) == 6


def test_a_plan_is_a_line_for_each_until_none_is_left(collector: RunningCollector) -> None:
    done = run("triage", "--plan", url=collector.api)
    tasks = {task.id: task for task in map(schemas.Task.model_validate_json, done.stdout.splitlines())}
    assert set(tasks) == {"f-0", "f-1", "f-2", "f-3", "keyed", "alone"}
    assert done.stderr == "6 need attention: 1 to resume, 5 to verify first.\n"
    (clue,) = tasks["keyed"].verifications
    assert (clue.service, clue.idempotency_key, clue.state) == ("ledger", "k7", "in_flight")
    assert tasks["keyed"].recommended_action == "resume"
    assert tasks["alone"].verifications[0].idempotency_key is None
    assert all(task.actions for task in tasks.values())
    for number in range(4):
        mended = (Tried("ledger.record", "ledger", 50, 51),)
        send(collector, *saga(f"f-{number}", mended, ago=90, ended=True))
    soon(lambda: run("triage", "--plan", url=collector.api).stderr.startswith("2 need attention"), seconds=60)


def test_tasks_come_in_pages(collector: RunningCollector) -> None:
    key = key_of(collector)
    with Client(collector.api) as client:
        first = client.tasks(key, limit=3)
        rest = client.tasks(key, limit=3, cursor=first.next_cursor)
        assert sorted(each.id for each in [*first.items, *rest.items]) == ["f-0", "f-1", "f-2", "f-3"]
        assert rest.next_cursor is None


def test_an_acknowledged_incident_counts_what_moved(collector: RunningCollector) -> None:
    key = key_of(collector)
    done = run("incident", key, "--acknowledge", "--note", "the bank is slow", "--by", "anna", url=collector.api)
    assert done.returncode == 0
    for part in ("acknowledged", "acknowledged by anna", "note: the bank is slow", "0 finished, 0 moved on, 4 still"):
        assert part in done.stdout
    again = schemas.IncidentInFull.model_validate_json(run("incident", key, "--json", url=collector.api).stdout)
    assert again.state == "acknowledged"
    assert "open" in run("incident", key, "--reopen", url=collector.api).stdout.splitlines()[0]


def test_an_unknown_incident_is_status_1_and_two_states_are_wrong_use(collector: RunningCollector) -> None:
    assert run("incident", "none", url=collector.api).returncode == 1
    assert run("incident", key_of(collector), "--resolve", "--reopen", url=collector.api).returncode == 2


def test_watch_reports_changes_until_it_is_interrupted(collector: RunningCollector) -> None:
    command = [sys.executable, "-m", "sagascope_collector", "watch", "--every", "0.2", "--url", collector.api]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout
        try:
            assert "4 payment at ledger.record: retrying, open" in watch.stdout.readline()
            assert {watch.stdout.readline().split(": ")[-1].split(",")[0] for _ in range(2)} == {"hung"}
            run("incident", key_of(collector), "--acknowledge", url=collector.api)
            assert "retrying, acknowledged" in watch.stdout.readline()
        finally:
            watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
        assert watch.stderr
        assert watch.stderr.read() == ""


def test_lines_of_a_plan_are_ascii(collector: RunningCollector) -> None:
    send(collector, *saga("\u202eodd", STUCK, name="odd", ago=70))
    with Client(collector.api) as client:
        soon(lambda: client.sagas(SagaFilters(name="odd", attention="any")).items)
        soon(lambda: len(client.incidents().items) == 4)
    done = run("triage", "--plan", url=collector.api)
    assert done.stdout.isascii()
    assert "\u202eodd" in [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_what_sets_an_incident_apart_is_a_line_each(collector: RunningCollector) -> None:
    well = (Tried("ledger.record", "ledger", 0.3, 0.5),)
    for number in range(25):
        send(collector, *saga(f"w-{number}", well, name="order", ago=90, ended=True, versions={"ledger": "2.0"}))
    for number in range(8):
        send(collector, *saga(f"o-{number}", FAILING, name="order", ago=90, ended=False, versions={"ledger": "2.1"}))
    with Client(collector.api) as client:
        soon(lambda: len(client.sagas(SagaFilters(name="order", status="completed")).items) == 25)
        (key,) = soon(lambda: [each.key for each in client.incidents().items if each.count == 8])
    said = " ".join(run("incident", key, url=collector.api).stdout.split())
    assert "ledger service.version=2.1: 8 of 8 against 0 of 25; so have ledger service.instance.id=ledger-2.1" in said
