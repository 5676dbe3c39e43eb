"""Plays the scenario over HTTP: sends the payments, plants the faults, and kills processes."""

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Final

import httpx

from sagascope_samples.chassis import KEY_HEADER, Order
from sagascope_samples.demo.report import Inspector
from sagascope_samples.demo.scenario import FaultReporter, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, Supervisor
from sagascope_samples.scenario import FAULT_BY_PAYMENT, PlantedFault, payments

PAYMENT_INTERVAL_SECONDS: Final = 0.5


class HttpPlayer:
    """Plays the scenario with the running services."""

    def __init__(
        self,
        services: Mapping[str, ProcessSpec],
        urls: Mapping[str, str],
        supervisor: Supervisor,
        inspector: Inspector,
        report: FaultReporter,
    ) -> None:
        self._services = services
        self._urls = urls
        self._supervisor = supervisor
        self._inspector = inspector
        self._report = report
        self.sent: list[str] = []
        """Payments sent so far, in order."""

    async def play(self, payments_sent: int | None = None) -> None:
        """Sends this number of payments, and plants the faults of the scenario; None sends payments without end."""
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for order in islice(payments(), payments_sent):
                next_at = asyncio.get_running_loop().time() + PAYMENT_INTERVAL_SECONDS
                planted = FAULT_BY_PAYMENT.get(order.payment)
                if planted is None:
                    await self._send(http, order)
                elif planted.kills_service:
                    await self._kill_in_flight(http, order, planted)
                else:
                    await self._send_with_fault(http, order, planted)
                await asyncio.sleep(max(0.0, next_at - asyncio.get_running_loop().time()))

    async def _send(self, http: httpx.AsyncClient, order: Order) -> None:
        self.sent.append(order.payment)
        url, headers = f"{self._urls['orchestrator']}/payments", {KEY_HEADER: order.payment}
        (await http.post(url, json=order.write(), headers=headers)).raise_for_status()

    async def _send_with_fault(self, http: httpx.AsyncClient, order: Order, planted: PlantedFault) -> None:
        url = f"{self._urls[planted.service]}/faults/{planted.payment}/{planted.step}"
        fault = {"kind": planted.fault.kind, "message": planted.fault.message}
        (await http.put(url, json=fault)).raise_for_status()
        await self._send(http, order)
        self._report(planted)

    async def _kill_in_flight(self, http: httpx.AsyncClient, order: Order, planted: PlantedFault) -> None:
        """Kills a service while it works on this payment and no other, and restarts it."""
        await wait_until(lambda: self._are_ended(http), "payments without a fault have not ended")
        await self._send_with_fault(http, order, planted)
        otherwise = f"the collector does not know that {planted.service} works on payment {planted.payment}"
        await wait_until(lambda: self._inspector.is_in_flight(planted.payment, planted.service), otherwise)
        service = self._services[planted.service]
        await self._supervisor.kill(service.name)
        self._supervisor.start(service)
        await self._supervisor.wait_ready(service)

    async def _are_ended(self, http: httpx.AsyncClient) -> bool:
        """Returns whether the orchestrator has ended every payment without a fault."""
        for payment in set(self.sent) - FAULT_BY_PAYMENT.keys():
            response = await http.get(f"{self._urls['orchestrator']}/payments/{payment}")
            if response.raise_for_status().json()["state"] == "accepted":
                return False
        return True
