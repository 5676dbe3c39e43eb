"""Chains, groups and chords of Celery with real workers: each row and sentence of docs/engines/celery.md."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.instrumentation.celery", reason="its instrumentation is not installed")

from support.clients import running
from support.collector import RunningCollector, running_collector
from support.following import once, shape
from support.recipes import DOCS
from support.samples import wait_until

APP = Path(__file__).with_name("baskets_on_celery.py")
NAME = "shop.checkout"
STEPS = {
    "chain": ["shop.charge", "shop.checkout", "shop.pack", "shop.ship"],
    "group": ["shop.charge", "shop.checkout", "shop.pack", "shop.pack"],
    "chord": ["shop.checkout", "shop.pack", "shop.pack", "shop.ship"],
}

TIMEOUTS = ("--step-timeout", "shop.deliver/shop.ship=1", "--step-timeout", "order/carrier.wait=1")
OTHERS = (
    *("refused", "retried", "failing", "killed", "twice"),
    *("order:chain", "order:group", "order:chord", "order:booked", "order:waiting"),
    *("deliver:celery", "deliver:unread"),
    *("loose:group", "stray:unread"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector, after one worker has received all baskets."""
    folder = tmp_path_factory.mktemp("celery")
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    with running_collector(folder, *TIMEOUTS) as collector, pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "FOLDER", str(folder))
        patched.setitem(os.environ, "OTLP", collector.otlp_http)
        with running(sys.executable, APP, "send", *STEPS, *OTHERS, log=folder / "send.log") as sender:
            assert sender.wait(60) == 0, (folder / "send.log").read_text()
        with running(sys.executable, APP, "worker", log=folder / "worker.log"):
            yield collector


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.shows("celery", "healthy", "completed")
def test_the_tasks_of_one_root_are_one_saga(shop: RunningCollector, kind: str) -> None:
    saga = once(shop, f"basket-{kind}", lambda saga: saga["status"] == "completed" and len(shape(saga)) == 4, NAME)
    assert sorted(name for name, *_ in shape(saga)) == STEPS[kind]
    assert [len(step["attempts"]) for step in saga["steps"] if step["attempts"]] == [1, 1, 1, 1]
    assert (saga["attention"], saga["anomalies"]) == (None, [])


def test_a_failed_task_of_a_chain_fails_the_saga(shop: RunningCollector) -> None:
    saga = once(shop, "basket-refused", lambda saga: saga["status"] == "failed", NAME)
    assert [(step["name"], step["state"]) for step in saga["steps"] if step["state"] == "failed"] == [
        ("shop.ship", "failed")
    ]
    assert "no carrier" in saga["headline"]


def attempts(saga: Any, name: str) -> list[tuple[str, str | None]]:
    """Returns the states of a step's attempts, with the messages of their errors."""
    (step,) = [step for step in saga["steps"] if step["name"] == name]
    return [(each["state"], (each["error"] or {}).get("message")) for each in step["attempts"]]


def test_a_retry_is_another_attempt_of_the_step(shop: RunningCollector) -> None:
    saga = once(shop, "basket-retried", lambda saga: saga["status"] == "completed", NAME)
    reason = "Retry in 0.1s: ConnectionError('no answer')"
    assert attempts(saga, "shop.call") == [("error", reason), ("ok", None)]
    assert (saga["attention"], saga["anomalies"]) == (None, [])


@pytest.mark.shows("celery", "retrying", "retrying")
def test_a_task_that_fails_at_every_retry_needs_attention(shop: RunningCollector) -> None:
    saga = once(shop, "basket-failing", lambda saga: saga["attention"] == "retrying", NAME)
    assert saga["step"] == "shop.call"
    assert "no answer" in saga["headline"]


def test_a_task_of_a_worker_that_died_is_one_attempt_of_the_worker_that_executed_it(shop: RunningCollector) -> None:
    saga = once(shop, "basket-killed", lambda saga: saga["status"] == "completed", NAME)
    assert attempts(saga, "shop.weigh") == [("ok", None)]
    assert (saga["attention"], saga["anomalies"]) == (None, [])


def test_one_task_id_that_was_executed_twice_is_applied_twice(shop: RunningCollector) -> None:
    saga = once(shop, "basket-twice", lambda saga: saga["attention"] == "applied_twice", NAME)
    assert attempts(saga, "shop.pack") == [("ok", None), ("ok", None)]


@pytest.mark.shows("celery", "message lost", "next_step_missing")
def test_a_published_task_that_no_worker_took_is_missing(shop: RunningCollector) -> None:
    once(shop, "deliver-celery", lambda saga: saga["status"] == "completed", "shop.deliver")
    saga = once(shop, "deliver-unread", lambda saga: saga["attention"], "shop.deliver")
    assert (saga["attention"], saga["step"]) == ("next_step_missing", "shop.ship")


@pytest.mark.parametrize("kind", STEPS)
def test_what_a_saga_starts_outside_a_task_belongs_to_it(shop: RunningCollector, kind: str) -> None:
    saga = once(shop, f"order-{kind}", lambda saga: saga["status"] == "completed" and len(shape(saga)) == 3, "order")
    assert sorted(name for name, *_ in shape(saga)) == [name for name in STEPS[kind] if name != "shop.checkout"]
    assert (saga["attention"], saga["anomalies"]) == (None, [])


@pytest.mark.shows("celery", "worker lost", "instance_lost")
def test_a_step_in_a_task_shows_that_its_worker_died(shop: RunningCollector) -> None:
    saga = once(shop, "order-booked", lambda saga: saga["attention"], "order")
    assert (saga["attention"], saga["step"], saga["service"]) == ("instance_lost", "carrier.book", "warehouse")


@pytest.mark.shows("celery", "stuck", "hung")
def test_a_step_in_a_task_is_late_while_its_worker_lives(shop: RunningCollector) -> None:
    saga = once(shop, "order-waiting", lambda saga: saga["attention"] == "hung", "order")
    assert (saga["step"], saga["service"]) == ("carrier.wait", "warehouse")


def test_a_second_task_of_a_name_has_a_key(shop: RunningCollector) -> None:
    saga = once(shop, "basket-group", lambda saga: saga["status"] == "completed", NAME)
    assert sorted(step["key"] for step in saga["steps"] if step["name"] == "shop.pack") == ["", "2"]


def test_celerys_own_tasks_are_work_and_no_steps(shop: RunningCollector) -> None:
    saga = once(shop, "basket-chord", lambda saga: saga["status"] == "completed", NAME)
    assert any(span["name"] == "run/celery.chord_unlock" for span in saga["spans"])
    assert not [step for step in saga["steps"] if step["name"].startswith("celery.")]


def test_tasks_without_a_common_root_are_sagas_of_their_own(shop: RunningCollector) -> None:
    query = f"{shop.api}/api/v1/sagas"
    found = {"shop.charge": 1, "shop.pack": 2}

    def listed() -> dict[str, int]:
        answers = {name: httpx.get(query, params={"name": name}, trust_env=False).json()["items"] for name in found}
        return {name: len(items) for name, items in answers.items()}

    wait_until(lambda: listed() == found, f"not {found} sagas: {listed()}")


def test_a_task_in_progress_is_shown_when_it_has_ended(shop: RunningCollector) -> None:
    saga = once(shop, "order-booked", lambda saga: saga["attention"], "order")
    assert all(span["name"] != "run/shop.book" for span in saga["spans"])


def test_a_task_of_an_unknown_type_is_late_at_no_time(shop: RunningCollector) -> None:
    saga = once(shop, "stray-unread", lambda saga: saga["spans"], "shop.stray")
    assert (saga["attention"], saga["plan"]["source"]) == (None, "none")


PROOFS = {
    "a chain, group or chord that a task starts": test_the_tasks_of_one_root_are_one_saga,
    "a chain, group or chord that a saga of Sagascope starts": test_what_a_saga_starts_outside_a_task_belongs_to_it,
    "each of its tasks": test_a_second_task_of_a_name_has_a_key,
    "Celery's own tasks, such as the one that unlocks a chord": test_celerys_own_tasks_are_work_and_no_steps,
    "all published tasks have ended": test_a_failed_task_of_a_chain_fails_the_saga,
    "a retry": test_a_retry_is_another_attempt_of_the_step,
    "one task id that was executed twice, because a broker delivered it again": (
        test_one_task_id_that_was_executed_twice_is_applied_twice
    ),
    "a worker that died in a task, which another worker then executed": (
        test_a_task_of_a_worker_that_died_is_one_attempt_of_the_worker_that_executed_it
    ),
    "a published task of a known type that no worker took": test_a_published_task_that_no_worker_took_is_missing,
    "a step of Sagascope in a task, whose worker died": test_a_step_in_a_task_shows_that_its_worker_died,
    "A group or chord that is started outside of a task": test_tasks_without_a_common_root_are_sagas_of_their_own,
    "A task in progress": test_a_task_in_progress_is_shown_when_it_has_ended,
    "A published task of a type of which no task has ended yet": test_a_task_of_an_unknown_type_is_late_at_no_time,
}
"""The test of each row and each limit of the page."""


def test_every_row_and_limit_of_the_page_has_a_test() -> None:
    page = (DOCS / "engines" / "celery.md").read_text()
    rows = [row for row in re.findall(r"^\| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE) if row not in ("work", "---")]
    limits = re.findall(r"^- (.*)$", page, re.MULTILINE)
    claims = [*rows, *limits]
    assert len(claims) == len(PROOFS)
    assert all(claim.startswith(proven) for claim, proven in zip(claims, PROOFS, strict=True))
