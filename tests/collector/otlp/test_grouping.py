"""Requests share commits when they come close together, and none waits for others without need."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps

from sagascope_collector.ingest import Decoded, Encoding, Ingest, Limits, Payload, Receipt, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import Storage
from support.otlp import span, traces

WITHIN = 30.0
ENDLESS = 3600.0


def on_a_loop(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(scenario)
    def run() -> None:
        asyncio.run(scenario())

    del run.__wrapped__
    return run


class Commits:
    """Notes which senders' requests were decoded together."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    def decode(self, payloads: Sequence[Payload]) -> Decoded:
        self.groups.append([each.sender for each in payloads])
        return decode(payloads)


@asynccontextmanager
async def ingest(commits: Commits, limits: Limits) -> AsyncIterator[Ingest]:
    store = Storage()
    taking = Ingest(store.records, commits.decode, limits=limits)
    taking.start()
    try:
        yield taking
    finally:
        assert await asyncio.to_thread(taking.close, WITHIN)
        store.close()


def of(sender: str, number: int, size: int = 1) -> Payload:
    body = traces(*(span(each) for each in range(number, number + size))).SerializeToString()
    return Payload(Signal.TRACES, Encoding.PROTOBUF, body, 1, sender)


async def answered(*futures: asyncio.Future[Receipt]) -> None:
    async with asyncio.timeout(WITHIN):
        assert [await each for each in futures] == [Receipt()] * len(futures)


@on_a_loop
async def test_the_first_request_waits_for_nobody_and_the_next_for_whom_it_answered() -> None:
    commits = Commits()
    async with ingest(commits, Limits(interval_seconds=ENDLESS)) as taking:
        await answered(taking.submit(of("a", 1)))
        later = taking.submit(of("b", 2))
        await answered(later, taking.submit(of("a", 3)))
    assert sorted(map(sorted, commits.groups)) == [["a"], ["a", "b"]]


@on_a_loop
async def test_a_sender_that_is_alone_never_waits() -> None:
    commits = Commits()
    async with ingest(commits, Limits(interval_seconds=ENDLESS)) as taking:
        for number in range(1, 6):
            await answered(taking.submit(of("a", number)))
    assert commits.groups == [["a"]] * 5


@on_a_loop
async def test_much_waits_for_nobody() -> None:
    commits = Commits()
    async with ingest(commits, Limits(interval_seconds=ENDLESS, enough_bytes=2_000)) as taking:
        await answered(taking.submit(of("a", 1)))
        await answered(taking.submit(of("b", 2, size=100)))
    assert commits.groups == [["a"], ["b"]]


@on_a_loop
async def test_nobody_waits_for_longer_than_the_interval_for_one_who_is_gone() -> None:
    commits = Commits()
    async with ingest(commits, Limits(interval_seconds=0.05)) as taking:
        await answered(taking.submit(of("gone", 1)))
        await answered(taking.submit(of("b", 2)))
    assert commits.groups == [["gone"], ["b"]]


@on_a_loop
async def test_what_waits_is_stored_when_the_collector_stops() -> None:
    commits = Commits()
    async with ingest(commits, Limits(interval_seconds=ENDLESS)) as taking:
        await answered(taking.submit(of("a", 1)))
        waiting = taking.submit(of("b", 2))
    await answered(waiting)
    assert commits.groups == [["a"], ["b"]]
