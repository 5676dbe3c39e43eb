"""The memory of arriving requests: few that hold much keep out none that hold little."""

import asyncio
import socket
import threading
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pyarrow as pa
import pytest

from sagascope_collector.errors import Overloaded, Undecodable
from sagascope_collector.otlp import budget as budget_module
from sagascope_collector.otlp.budget import Budget, Lease
from support.collector import RunningCollector, running_collector
from support.otlp import of_saga, span, traces

PROTOBUF = {"content-type": "application/x-protobuf"}
MEBIBYTE = 2**20


async def holding(budget: Budget, amount: int) -> tuple[Lease, "asyncio.Task[None]"]:
    """A request that holds so many bytes and goes on."""
    taken: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with budget.lease() as lease:
            lease.take(amount)
            taken.set_result(lease)
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    return await taken, task


def test_the_request_that_holds_most_loses_to_one_that_holds_less() -> None:
    async def scenario() -> None:
        budget = Budget(100)
        _, large = await holding(budget, 70)
        lease, small = await holding(budget, 30)
        async with budget.lease() as other:
            other.take(20)
            with pytest.raises(Overloaded):
                await large
            other.take(30)
            with pytest.raises(Overloaded):
                lease.take(50)
        assert not small.done()
        small.cancel()

    asyncio.run(scenario())


def test_bytes_that_cannot_be_freed_stay() -> None:
    async def scenario() -> None:
        budget = Budget(100)
        lease, task = await holding(budget, 90)
        lease.make_irrevocable()
        with pytest.raises(Overloaded):
            async with budget.lease() as other:
                other.take(20)
        task.cancel()
        await asyncio.wait([task])
        async with budget.lease() as other:
            other.take(100)

    asyncio.run(scenario())


def test_a_request_that_lost_its_bytes_takes_and_pins_no_more() -> None:
    async def scenario() -> None:
        budget = Budget(100)
        lease, task = await holding(budget, 70)
        async with budget.lease() as other:
            other.take(60)
            with pytest.raises(Overloaded):
                lease.take(1)
            with pytest.raises(Overloaded):
                lease.make_irrevocable()
            with pytest.raises(Overloaded):
                await task
            assert lease.held == 0

    asyncio.run(scenario())


def test_a_request_whose_time_is_over_can_lose_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "RECEIVE_SECONDS", 0.0)

    async def scenario() -> None:
        budget, late, goes_on = Budget(100), asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with budget.lease() as lease:
                lease.take(70)
                try:
                    await asyncio.Event().wait()
                finally:
                    late.set()
                    await goes_on.wait()

        task = asyncio.create_task(hold())
        await late.wait()
        monkeypatch.setattr(budget_module, "RECEIVE_SECONDS", 60.0)
        async with budget.lease() as other:
            other.take(60)
            goes_on.set()
            with pytest.raises(Overloaded):
                await task

    asyncio.run(scenario())


def test_cancelled_requests_hold_their_bytes_and_their_turn_until_the_thread_ends() -> None:
    async def scenario() -> None:
        budget, started, goes_on = Budget(100), threading.Semaphore(0), threading.Event()

        def work() -> None:
            started.release()
            goes_on.wait(60)
            raise Undecodable("No one waits for this.")

        async def check() -> None:
            async with budget.lease() as lease:
                lease.take(30)
                await lease.run(work)

        first = asyncio.create_task(check())
        await asyncio.to_thread(started.acquire)
        others = [asyncio.create_task(check()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in (first, *others):
            task.cancel()
        assert all(isinstance(each, asyncio.CancelledError) for each in await gathered(first, *others))
        assert not started.acquire(blocking=False)
        async with budget.lease() as other:
            other.take(20)
            with pytest.raises(Overloaded):
                other.take(60)
        next_ = asyncio.create_task(check())
        await asyncio.sleep(0)
        assert not started.acquire(blocking=False)
        goes_on.set()
        with pytest.raises(Undecodable):
            await next_
        async with budget.lease() as other, budget.lease() as another:
            other.take(50)
            another.take(50)

    async def gathered(*tasks: "asyncio.Task[None]") -> list[BaseException | None]:
        return await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_request_that_is_alone_may_hold_more() -> None:
    async def scenario() -> None:
        async with Budget(100).lease() as lease:
            lease.take(80)
            lease.take(80)

    asyncio.run(scenario())


def test_bodies_that_inflate_and_never_end_keep_out_no_other(tmp_path: Path) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    inflating = packer.compress(bytes(4 * MEBIBYTE - 64)) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n"
    head += b"Content-Length: 999999\r\n\r\n"
    good = traces(span(1, attributes=of_saga("beside"))).SerializeToString()
    with running_collector(tmp_path, "--queue-bytes", str(16 * MEBIBYTE)) as collector:
        place = urlsplit(collector.otlp_http)
        connections = [socket.create_connection((place.hostname, place.port)) for _ in range(8)]
        for each in connections:
            each.sendall(head + inflating)
        answers = [
            httpx.post(f"{collector.otlp_http}/v1/traces", content=good, headers=PROTOBUF, trust_env=False, timeout=60)
            for _ in range(20)
        ]
        assert [each.status_code for each in answers] == [200] * 20
        for each in connections:
            each.close()


def test_bodies_that_are_inflated_or_wait_to_be_checked_are_bounded_together(tmp_path: Path) -> None:
    body = pa.Codec("zstd").compress(bytes(40 * MEBIBYTE), asbytes=True)

    async def send(collector: RunningCollector) -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=120, headers=PROTOBUF) as client:
            url, coded = f"{collector.otlp_http}/v1/traces", {"content-encoding": "zstd"}
            answers = await asyncio.gather(*(client.post(url, content=body, headers=coded) for _ in range(24)))
        return [each.status_code for each in answers]

    async def peak_while_sending(collector: RunningCollector) -> int:
        process, peak = psutil.Process(collector.process.pid), 0
        before, sending = process.memory_info().rss, asyncio.create_task(send(collector))
        while not sending.done():
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.02)
        assert 503 in await sending
        return peak - before

    with running_collector(tmp_path, "--queue-bytes", str(48 * MEBIBYTE), own_python=True) as collector:
        assert asyncio.run(peak_while_sending(collector)) < 300 * MEBIBYTE
