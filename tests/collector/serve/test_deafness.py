"""When a collector took nothing in, and what it says of it."""

from collections.abc import Iterator

import pytest

from sagascope_collector.deafness import RETURN, STOPPED, Deafness
from sagascope_collector.store import DuckDBStore
from support.otlp import NOON, SECOND

Clock = list[int]


@pytest.fixture
def clock() -> Clock:
    return [NOON]


@pytest.fixture
def store(clock: Clock) -> Iterator[DuckDBStore]:
    opened = DuckDBStore(clock=lambda: clock[0])
    yield opened
    opened.close()


@pytest.fixture
def deafness(store: DuckDBStore, clock: Clock) -> Deafness:
    made = Deafness(store, lambda: clock[0])
    made.alive()
    return made


def test_one_that_runs_is_not_deaf(deafness: Deafness, clock: Clock) -> None:
    for _ in range(10):
        clock[0] += 2 * SECOND
        deafness.alive()
    assert (deafness.intervals(), deafness.notices()) == ([], [])


def test_whoever_asks_first_after_a_stop_knows_of_it(deafness: Deafness, clock: Clock) -> None:
    clock[0] += 600 * SECOND
    assert deafness.intervals() == [(NOON, NOON + 600 * SECOND + RETURN)]
    deafness.alive()
    clock[0] += SECOND
    assert deafness.intervals() == [(NOON, NOON + 600 * SECOND + RETURN)]


def test_senders_take_no_longer_to_return_than_they_waited(deafness: Deafness, clock: Clock) -> None:
    clock[0] += STOPPED + SECOND
    assert deafness.intervals() == [(NOON, NOON + 2 * (STOPPED + SECOND))]


def test_a_stop_outlives_the_process(deafness: Deafness, store: DuckDBStore, clock: Clock) -> None:
    clock[0] += 60 * SECOND
    deafness.alive()
    deafness.keep()
    assert (NOON, clock[0]) in store.deaf_intervals(0)
    assert Deafness(store, lambda: clock[0]).intervals() == [(NOON, clock[0] + RETURN)]


def test_it_is_told_for_an_hour(deafness: Deafness, clock: Clock) -> None:
    clock[0] += 600 * SECOND
    deafness.alive()
    (notice,) = deafness.notices()
    assert notice.startswith("deaf: this collector took nothing in from ")
    for _ in range(3_600):
        clock[0] += 2 * SECOND
        deafness.alive()
    assert deafness.notices() == []


def test_refusals_for_a_moment_are_not_told(deafness: Deafness, clock: Clock) -> None:
    deafness.refused()
    clock[0] += SECOND
    deafness.refused()
    assert deafness.notices() == []
    assert deafness.intervals() == [(NOON, NOON + 2 * SECOND)]
