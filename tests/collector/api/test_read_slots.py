"""Read slots limit how many calls read at one time and for how long; the others are refused with a time to retry."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sagascope_collector.api.admission import MAX_WAITING_CALLS, ReadLimits, ReadSlots
from sagascope_collector.errors import Overloaded
from support.collector import running_collector

CALLS = 60


def test_calls_that_wait_too_long_are_refused_with_retry_after_and_health_is_answered(tmp_path: Path) -> None:
    with (
        running_collector(tmp_path, "--readers", "1", "--read-seconds", "0.01") as collector,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(CALLS) as pool,
    ):
        answers = list(pool.map(lambda _: http.get("/api/v1/sagas"), range(CALLS)))
        refused = [each for each in answers if each.status_code == 503]
        assert {each.status_code for each in answers} <= {200, 503}
        assert refused
        assert {each.headers["content-type"] for each in refused} == {"application/problem+json"}
        assert all(float(each.headers["retry-after"]) > 0 for each in refused)
        assert http.get("/readyz").status_code == 200
        assert http.get("/api/v1/status").status_code == 200


def test_slots_are_assigned_in_order_and_passed_on() -> None:
    async def ask(slots: ReadSlots, order: list[int], number: int) -> None:
        async for _ in slots.hold():
            order.append(number)
            await asyncio.sleep(0)

    async def many() -> list[int]:
        slots, order = ReadSlots(ReadLimits(readers=1, seconds=30)), list[int]()
        await asyncio.gather(*(ask(slots, order, number) for number in range(20)))
        return order

    assert asyncio.run(many()) == list(range(20))


def test_calls_beyond_the_waiting_limit_are_refused() -> None:
    async def ask(slots: ReadSlots) -> None:
        async for _ in slots.hold():
            await asyncio.sleep(0.01)

    async def flood() -> list[BaseException | None]:
        slots = ReadSlots(ReadLimits(readers=1, seconds=60))
        return await asyncio.gather(*(ask(slots) for _ in range(1 + MAX_WAITING_CALLS + 10)), return_exceptions=True)

    refused = [each for each in asyncio.run(flood()) if each]
    assert all(isinstance(each, Overloaded) for each in refused)
    assert len(refused) == 10


def test_a_call_without_a_slot_in_time_is_refused() -> None:
    async def both() -> None:
        slots = ReadSlots(ReadLimits(readers=1, seconds=0.01))
        holding = slots.hold()
        await anext(holding)
        with pytest.raises(Overloaded, match="no read slot became free in time"):
            await anext(slots.hold())
        await holding.aclose()

    asyncio.run(both())
