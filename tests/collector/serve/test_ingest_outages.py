"""When a collector took nothing in, and what it reports of it."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from sagascope_collector.health import MAX_RETURN_NS, STOPPED_NS, IngestOutages, LivenessRecorder
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND


class Clocks:
    """A wall clock and a steady one, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 7 * SECOND

    def go_on(self, nanoseconds: int) -> None:
        self.wall += nanoseconds
        self.steady += nanoseconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def storage(clocks: Clocks) -> Iterator[Storage]:
    opened = Storage(clock=lambda: clocks.wall)
    yield opened
    opened.close()


def made(storage: Storage, clocks: Clocks) -> IngestOutages:
    return IngestOutages(storage, lambda: clocks.wall, lambda: clocks.steady)


@pytest.fixture
def outages(storage: Storage, clocks: Clocks) -> IngestOutages:
    known = made(storage, clocks)
    known.record_alive()
    return known


def test_a_collector_that_runs_has_no_outage(outages: IngestOutages, clocks: Clocks) -> None:
    for _ in range(10):
        clocks.go_on(2 * SECOND)
        outages.record_alive()
    assert (outages.intervals(), outages.notices()) == ([], [])


def test_the_first_reader_after_a_stop_knows_of_it(outages: IngestOutages, clocks: Clocks) -> None:
    clocks.go_on(600 * SECOND)
    assert outages.intervals() == [(NOON, NOON + 600 * SECOND + MAX_RETURN_NS)]
    outages.record_alive()
    clocks.go_on(SECOND)
    assert outages.intervals() == [(NOON, NOON + 600 * SECOND + MAX_RETURN_NS)]


def test_senders_take_no_longer_to_return_than_they_waited(outages: IngestOutages, clocks: Clocks) -> None:
    clocks.go_on(STOPPED_NS + SECOND)
    assert outages.intervals() == [(NOON, NOON + 2 * (STOPPED_NS + SECOND))]


def test_a_stop_outlives_the_process(outages: IngestOutages, storage: Storage, clocks: Clocks) -> None:
    clocks.go_on(60 * SECOND)
    outages.record_alive()
    outages.store()
    assert (NOON, clocks.wall) in storage.outages.since(0)
    assert made(storage, clocks).intervals() == [(NOON, clocks.wall + MAX_RETURN_NS)]


def test_an_outage_is_a_notice_for_an_hour(outages: IngestOutages, clocks: Clocks) -> None:
    clocks.go_on(600 * SECOND)
    outages.record_alive()
    (notice,) = outages.notices()
    assert notice.startswith("ingest_outage: this collector ingested nothing from ")
    for _ in range(3_600):
        clocks.go_on(2 * SECOND)
        outages.record_alive()
    assert outages.notices() == []


def test_refusals_for_a_moment_are_no_notice(outages: IngestOutages, clocks: Clocks) -> None:
    outages.refused()
    clocks.go_on(SECOND)
    outages.refused()
    assert outages.notices() == []
    assert outages.intervals() == [(NOON, NOON + 2 * SECOND)]


@pytest.mark.parametrize("years", [2, -2])
def test_a_wall_clock_that_is_wrong_for_a_moment_is_no_outage(
    outages: IngestOutages, storage: Storage, clocks: Clocks, years: int
) -> None:
    wrong = years * 365 * 86_400 * SECOND
    clocks.wall += wrong
    for _ in range(3):
        clocks.go_on(2 * SECOND)
        outages.record_alive()
        outages.store()
    clocks.wall -= wrong
    clocks.go_on(SECOND)
    outages.record_alive()
    outages.store()
    assert outages.intervals() == []
    assert storage.outages.since(0) == []


def give_signs_while_writes_hang(
    storage: Storage,
    outages: IngestOutages,
    clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
    oldest: int | None,
    is_enough: Callable[[], bool],
) -> None:
    """Gives signs of life, two seconds apart, until `is_enough`; `oldest` is when the waiting request was received."""
    over = threading.Event()
    monkeypatch.setattr(storage.outages, "record_alive", lambda _: over.wait())

    async def give() -> None:
        enough = asyncio.Event()

        def next_round() -> int | None:
            if is_enough():
                enough.set()
            clocks.go_on(2 * SECOND)
            return oldest

        signs = LivenessRecorder(outages, storage, next_round, lambda _: None, lambda: clocks.wall)
        running = asyncio.create_task(signs.run(0.0))
        await asyncio.wait_for(enough.wait(), 60)
        over.set()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(give())


def test_a_slow_write_is_no_stop_of_the_collector(
    storage: Storage, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages, rounds = made(storage, clocks), itertools.count(1)
    give_signs_while_writes_hang(storage, outages, clocks, monkeypatch, None, lambda: next(rounds) == 10)
    assert (outages.intervals(), outages.notices()) == ([], [])


def test_a_request_that_waits_too_long_is_an_outage_although_nothing_can_be_stored(
    storage: Storage, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages, received = made(storage, clocks), clocks.wall
    give_signs_while_writes_hang(storage, outages, clocks, monkeypatch, received, lambda: bool(outages.intervals()))
    ((start, _),) = outages.intervals()
    assert start == received
