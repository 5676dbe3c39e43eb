"""A thread that looks now and then looks at once when it is called, and outlives every fault."""

import logging
import threading

import pytest

from sagascope_collector.periodic import PeriodicTask
from support.payments import soon

NEVER = 3_600.0


def test_a_call_brings_a_look_at_once_and_one_during_a_look_brings_another() -> None:
    looks, free = [], threading.Event()

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            free.wait(30)

    rounds = PeriodicTask("test", look, interval_seconds=NEVER)
    rounds.start()
    try:
        soon(lambda: len(looks) == 1)
        soon(lambda: (rounds.trigger(), len(looks) == 2)[1])
        rounds.trigger()
        free.set()
        soon(lambda: len(looks) == 3)
    finally:
        free.set()
        rounds.stop()


def test_a_fault_is_logged_as_it_begins_and_the_looks_go_on(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) < 4:
            raise RuntimeError("no luck")

    rounds = PeriodicTask("test", look, interval_seconds=0.01)
    with caplog.at_level(logging.ERROR):
        rounds.start()
        soon(lambda: len(looks) >= 6)
        rounds.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_one_that_was_never_started_stops() -> None:
    PeriodicTask("test", lambda: None, interval_seconds=NEVER).stop()
