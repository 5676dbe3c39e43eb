"""Chains, groups and chords of Celery with real workers: each is one saga."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.instrumentation.celery", reason="its instrumentation is not installed")

from support.clients import running
from support.collector import RunningCollector, running_collector
from support.following import once, shape

APP = Path(__file__).with_name("baskets_on_celery.py")
NAME = "shop.checkout"
STEPS = {
    "chain": ["shop.charge", "shop.checkout", "shop.pack", "shop.ship"],
    "group": ["shop.charge", "shop.checkout", "shop.pack", "shop.pack"],
    "chord": ["shop.checkout", "shop.pack", "shop.pack", "shop.ship"],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector, after one worker has received all baskets."""
    folder = tmp_path_factory.mktemp("celery")
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    with running_collector(folder) as collector, pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "FOLDER", str(folder))
        patched.setitem(os.environ, "OTLP", collector.otlp_http)
        with running(sys.executable, APP, "send", *STEPS, "refused", log=folder / "send.log") as sender:
            assert sender.wait(60) == 0, (folder / "send.log").read_text()
        with running(sys.executable, APP, "worker", log=folder / "worker.log"):
            yield collector


@pytest.mark.parametrize("kind", STEPS)
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
