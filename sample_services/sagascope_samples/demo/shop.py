"""A scenario of one process that sends nothing but its own telemetry, and is killed in the end."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import FIRST_ID, Scenario, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, module
from sagascope_samples.faults import FaultKind, faults_to_environment


class ShopScenario(Scenario):
    """Starts the shop, which places its orders, and kills it during one. Nothing listens on a service port."""

    shop: ClassVar[str]
    """The module to run with the first id, the number of orders, and a folder for its files."""
    faults: ClassVar[Mapping[str, FaultKind]]
    """By ``PAYMENT/STEP``."""
    killed: ClassVar[str]
    """The payment during which the shop is killed."""

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__([])
        self._endpoint = addresses.otlp_http.url
        self._folder = folder

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        environment = {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self._endpoint}/v1/traces",
            "NO_PROXY": "*",
            **faults_to_environment(self.faults),
        }
        command = module(self.shop, str(FIRST_ID), str(self.payments), str(self._folder))
        self.supervisor.start(ProcessSpec("shop", command, environment, ready_url=""))
        self.sent += [str(FIRST_ID + number) for number in range(self.payments)]

        async def is_received() -> bool:
            return await self.inspector.saga(self.killed) is not None

        await wait_until(is_received, f"payment {self.killed} was not received")
        await self.wait_for_healthy()
        await self.supervisor.kill("shop")
        for planted in self.planted_faults:
            self.report(planted)
        if payments_sent is None:
            await asyncio.Event().wait()
