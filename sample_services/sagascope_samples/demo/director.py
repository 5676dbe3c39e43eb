"""Plays the story: sends the payments, plants the faults, kills what must be killed."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

import httpx

from sagascope_samples.chassis import KEY_HEADER, Order
from sagascope_samples.demo.inspection import Inspector
from sagascope_samples.demo.scene import until
from sagascope_samples.demo.supervisor import Part, Supervisor
from sagascope_samples.story import PLANTED, Plant, payments

BEAT: Final = 0.5
"""Seconds between two payments."""


class Director:
    """Plays the story against running services."""

    def __init__(
        self,
        services: Mapping[str, Part],
        urls: Mapping[str, str],
        supervisor: Supervisor,
        inspector: Inspector,
        tell: Callable[[Plant], None],
    ) -> None:
        self._services = services
        self._urls = urls
        self._supervisor = supervisor
        self._inspector = inspector
        self._tell = tell
        self.sent: list[str] = []
        """Payments sent so far, in order."""

    async def play(self, most: int | None = None) -> None:
        """Send payments, `most` of them or without end; the planted ones go wrong in their way."""
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for order in islice(payments(), most):
                beat = asyncio.get_running_loop().time() + BEAT
                plant = PLANTED.get(order.payment)
                if plant is None:
                    await self._send(http, order)
                elif plant.killed:
                    await self._kill_at_work(http, order, plant)
                else:
                    await self._spoil(http, order, plant)
                await asyncio.sleep(max(0.0, beat - asyncio.get_running_loop().time()))

    async def _send(self, http: httpx.AsyncClient, order: Order) -> None:
        self.sent.append(order.payment)
        url, headers = f"{self._urls['orchestrator']}/payments", {KEY_HEADER: order.payment}
        (await http.post(url, json=order.write(), headers=headers)).raise_for_status()

    async def _spoil(self, http: httpx.AsyncClient, order: Order, plant: Plant) -> None:
        """Plant a fault, then send the payment that meets it."""
        url = f"{self._urls[plant.service]}/faults/{plant.payment}/{plant.step}"
        fault = {"kind": plant.fault.kind, "message": plant.fault.message}
        (await http.put(url, json=fault)).raise_for_status()
        await self._send(http, order)
        self._tell(plant)

    async def _kill_at_work(self, http: httpx.AsyncClient, order: Order, plant: Plant) -> None:
        """Kill a service while it works on this payment and no other, and start it again."""
        await until(lambda: self._all_ended(http), "Payments without a fault are still under way")
        await self._spoil(http, order, plant)
        unknown = f"The collector does not know that {plant.service} works on payment {plant.payment}"
        await until(lambda: self._inspector.is_known_at_work(plant.payment, plant.service), unknown)
        part = self._services[plant.service]
        await self._supervisor.kill(part.name)
        self._supervisor.start(part)
        await self._supervisor.ready(part)

    async def _all_ended(self, http: httpx.AsyncClient) -> bool:
        """Whether the orchestrator has seen every payment so far to its end, but for those with a fault."""
        for payment in set(self.sent) - PLANTED.keys():
            answer = await http.get(f"{self._urls['orchestrator']}/payments/{payment}")
            if answer.raise_for_status().json()["state"] == "accepted":
                return False
        return True
