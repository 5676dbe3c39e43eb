"""Orders of a shop with plain OpenTelemetry: the planted faults, and the expected findings."""

import asyncio
from pathlib import Path
from typing import Final

from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import FIRST_ID, Finding, PlantedFault, Scenario, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, module
from sagascope_samples.faults import FaultKind, faults_to_environment
from sagascope_samples.on_opentelemetry.shop import CHARGE, CONFIRM, REFUND, SERVICE_OF, SHIP

MAPPING: Final = Path(__file__).with_name("mapping.yaml")

ORDERS: Final = 14
STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8484",
        description="The carrier refuses this order, and the shop refunds it: no action required.",
        expected=Finding("failed", None, None, None, None),
    ),
    PlantedFault(
        payment="8486",
        description="The carrier refuses this order, and the refund fails: the customer was charged for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, SERVICE_OF[REFUND]),
        headline="The bank's gateway timed out",
    ),
    PlantedFault(
        payment="8490",
        description="The last step of this order fails, and the shop reverses nothing.",
        expected=Finding("failed", "uncompensated", "compensation", CHARGE, SERVICE_OF[CHARGE]),
        headline="The mail server refused the recipient",
    ),
    PlantedFault(
        payment="8494",
        description="The shop is killed (SIGKILL) while it ships this order; of the step in flight nothing is sent.",
        expected=Finding("running", "next_step_missing", "forward", SHIP, SERVICE_OF[SHIP]),
        headline=f"no start of {SHIP} was received",
    ),
)

KILLED: Final = PLANTED_FAULTS[-1]

FAULTS: Final = {
    f"8484/{SHIP}": FaultKind.REFUSE,
    f"8486/{SHIP}": FaultKind.REFUSE,
    f"8486/{REFUND}": FaultKind.FAIL,
    f"8490/{CONFIRM}": FaultKind.FAIL,
    f"{KILLED.payment}/{SHIP}": FaultKind.STALL,
}


class OpenTelemetryScenario(Scenario):
    """Starts the shop, which places its orders, and kills it during the last one. Nothing listens on a service port."""

    planted_faults = PLANTED_FAULTS
    payments = ORDERS
    collector_options = ("--mapping", str(MAPPING), "--step-timeout", f"payment/{SHIP}={STEP_TIMEOUT_SECONDS}")

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__([])
        self._endpoint = addresses.otlp_http.url

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        environment = {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self._endpoint}/v1/traces",
            "NO_PROXY": "*",
            **faults_to_environment(FAULTS),
        }
        command = module("sagascope_samples.on_opentelemetry.shop", str(FIRST_ID), str(ORDERS))
        self.supervisor.start(ProcessSpec("shop", command, environment, ready_url=""))
        self.sent += [str(FIRST_ID + number) for number in range(ORDERS)]

        async def is_charged() -> bool:
            return await self.inspector.saga(KILLED.payment) is not None

        await wait_until(is_charged, f"order {KILLED.payment} was not received")
        await self.wait_for_healthy()
        await self.supervisor.kill("shop")
        for planted in PLANTED_FAULTS:
            self.report(planted)
        if payments_sent is None:
            await asyncio.Event().wait()
