"""The six services over HTTP with an orchestrator: the planted faults, and how payments are sent."""

import asyncio
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import httpx

from sagascope_samples.calls import KEY_HEADER, Order
from sagascope_samples.demo import scenario as demo
from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import Finding, Scenario, payments
from sagascope_samples.demo.supervisor import services
from sagascope_samples.faults import Fault, FaultKind

HEADLESS_PAYMENTS: Final = 25
PAYMENT_INTERVAL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault(demo.PlantedFault):
    """A fault in one payment, planted in one service."""

    service: str
    step: str
    fault: Fault
    kills_service: bool = False
    """Whether the service's process is killed while it works on the payment, and restarted."""


PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8492",
        description="The ledger is killed (SIGKILL) while it records this payment, and restarted; its callback never "
        "arrives.",
        service="ledger",
        step="ledger.record",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "instance_lost", "forward", "ledger.record", "ledger"),
        kills_service=True,
    ),
    PlantedFault(
        payment="8495",
        description="Shipping waits for a response of the carrier that never arrives.",
        service="shipping",
        step="shipping.book",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "hung", "forward", "shipping.book", "shipping"),
    ),
    PlantedFault(
        payment="8497",
        description="The account is locked, and the wallet retries the debit again and again.",
        service="wallet",
        step="wallet.debit",
        fault=Fault(FaultKind.FAIL, "The account is locked by the end-of-day run"),
        expected=Finding("running", "retrying", "forward", "wallet.debit", "wallet"),
    ),
    PlantedFault(
        payment="8500",
        description="The orchestrator does not start the next step, shipping.",
        service="orchestrator",
        step="shipping.book",
        fault=Fault(FaultKind.STALL),
        expected=Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
    ),
    PlantedFault(
        payment="8502",
        description="The ledger refuses this payment, and its committed steps are compensated: no action required.",
        service="ledger",
        step="ledger.record",
        fault=Fault(FaultKind.REFUSE, "The books of this month are closed"),
        expected=Finding("compensated", None, None, None, None),
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}


class HttpScenario(Scenario):
    """Requests payments from the orchestrator, and kills a service while it works on one."""

    planted_faults = PLANTED_FAULTS
    payments = HEADLESS_PAYMENTS

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__(services(addresses, folder))
        self._urls = {name: address.url for name, address in addresses.services.items()}

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
        self.report(planted)

    async def _kill_in_flight(self, http: httpx.AsyncClient, order: Order, planted: PlantedFault) -> None:
        """Kills a service while it works on this payment and no other, and restarts it."""
        await self.wait_for_healthy()
        await self._send_with_fault(http, order, planted)
        await self.wait_in_flight(planted.payment, planted.service)
        service = next(each for each in self.services if each.name == planted.service)
        await self.supervisor.kill(service.name)
        self.supervisor.start(service)
        await self.supervisor.wait_ready(service)
