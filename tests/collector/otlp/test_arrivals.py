"""Requests that are arriving over gRPC: they have a time limit, and their memory is bounded together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from sagascope_collector.errors import Overloaded
from sagascope_collector.otlp import budget
from sagascope_collector.otlp.budget import MIN_GROWTH_BYTES, Arrivals
from support.collector import RunningCollector, running_collector
from support.http2 import Http2
from support.load import EXPORT
from support.otlp import span, traces

MEBIBYTE = 2**20
REQUEST_BYTES = 60 * MEBIBYTE
CALLS = 10


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CHECK_INTERVAL_SECONDS", 0.001)


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


async def is_ended(task: asyncio.Task) -> bool:
    with pytest.raises(Overloaded, match="as much at one time"):
        await asyncio.wait_for(task, 30)
    return True


def test_those_that_have_been_arriving_longest_are_ended_where_memory_grows() -> None:
    async def scenario() -> None:
        resident = 100 * MEBIBYTE
        checks = asyncio.Queue()

        def measured() -> int:
            checks.put_nowait(None)
            return resident

        async def checked() -> None:
            while not checks.empty():
                checks.get_nowait()
            for _ in range(2):
                await asyncio.wait_for(checks.get(), 30)

        arrivals = Arrivals(20 * MEBIBYTE, measured)
        first, second = (asyncio.create_task(arrivals.receive(never)) for _ in range(2))
        await checked()
        resident += 20 * MEBIBYTE
        await checked()
        assert not first.done()
        assert not second.done()
        third = asyncio.create_task(arrivals.receive(never))
        await checked()
        resident += 1
        assert await is_ended(first)
        assert await is_ended(second)
        await checked()
        resident += 100 * MEBIBYTE
        await checked()
        assert not third.done()  # it is alone
        third.cancel()

    asyncio.run(scenario())


def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "RECEIVE_SECONDS", 0.01)

    async def scenario() -> None:
        with pytest.raises(Overloaded, match="was not received within"):
            await Arrivals(MIN_GROWTH_BYTES).receive(never)

    asyncio.run(scenario())


def test_the_memory_of_this_process_is_known() -> None:
    known = psutil.Process().memory_info().rss
    assert known / 2 < budget.resident_bytes() < known * 2


@contextmanager
def connections(collector: RunningCollector, number: int) -> Iterator[list[Http2]]:
    opened = [Http2(collector.otlp_grpc) for _ in range(number)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def test_requests_that_never_end_hold_little_memory_and_keep_out_no_other(tmp_path: Path) -> None:
    """Four connections of ten calls each, all of which send almost the whole of a large request: 2.4 GB."""
    piece = bytes(256 * 1024)
    with (
        running_collector(tmp_path, own_python=True) as collector,
        connections(collector, 4) as hostile,
        grpc.insecure_channel(collector.otlp_grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as ordinary,
    ):
        export = ordinary.unary_unary(EXPORT)
        assert export(traces(span(1)).SerializeToString(), timeout=30) == b""
        process = psutil.Process(collector.process.pid)
        before = peak = process.memory_info().rss
        begun = {each: [each.begin(EXPORT, REQUEST_BYTES) for _ in range(CALLS)] for each in hostile}
        left = {(each, stream): REQUEST_BYTES - len(piece) for each, streams in begun.items() for stream in streams}
        number = 1
        while left:
            number += 1
            assert export(traces(span(number)).SerializeToString(), timeout=30) == b""
            for (connection, stream), missing in list(left.items()):
                left[connection, stream] -= connection.send(stream, piece[:missing])
                if not left[connection, stream] or stream in connection.ended or not connection.is_open:
                    del left[connection, stream]
            for connection in hostile:
                connection.receive()
            peak = max(peak, process.memory_info().rss)
        assert all(each.ended for each in hostile)
        assert peak - before < 300 * MEBIBYTE
        assert export(traces(span(number + 1)).SerializeToString(), timeout=30) == b""
