"""Payments as DBOS workflows: the planted faults, and the expected findings."""

import asyncio
from pathlib import Path
from typing import Final

from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import FIRST_ID, SAGA, Finding, PlantedFault, Scenario, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, module
from sagascope_samples.faults import FaultKind, faults_to_environment
from sagascope_samples.on_dbos.shop import RECORD, REFUND, SERVICE

MAPPING: Final = Path(__file__).with_name("mapping.yaml")

PAYMENTS: Final = 14
STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8484",
        description="The ledger refuses this payment, and the workflow refunds it: no action required.",
        expected=Finding("failed", None, None, None, None),
    ),
    PlantedFault(
        payment="8486",
        description="The ledger refuses this payment, and the refund fails: the customer paid for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, SERVICE),
        headline="The bank rejected the refund",
    ),
    PlantedFault(
        payment="8492",
        description="The shop is killed (SIGKILL) while it records this payment; of the step in flight nothing came.",
        expected=Finding("running", "next_step_missing", "forward", RECORD, SERVICE),
        headline=f"no start of {RECORD} was received",
    ),
)

KILLED: Final = PLANTED_FAULTS[-1]

FAULTS: Final = {
    f"8484/{RECORD}": FaultKind.REFUSE,
    f"8486/{RECORD}": FaultKind.REFUSE,
    f"8486/{REFUND}": FaultKind.FAIL,
    f"{KILLED.payment}/{RECORD}": FaultKind.STALL,
}


class DbosScenario(Scenario):
    """Starts the shop, which starts its payments, and kills it during one. Nothing listens on a service port."""

    planted_faults = PLANTED_FAULTS
    payments = PAYMENTS
    collector_options = ("--mapping", str(MAPPING), "--step-timeout", f"{SAGA}/{RECORD}={STEP_TIMEOUT_SECONDS}")

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        super().__init__([])
        self._endpoint = addresses.otlp_http.url
        self._database = folder / "dbos.sqlite"

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        environment = {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self._endpoint}/v1/traces",
            "NO_PROXY": "*",
            **faults_to_environment(FAULTS),
        }
        arguments = (str(self._database), str(FIRST_ID), str(PAYMENTS))
        command = module("sagascope_samples.on_dbos.shop", *arguments)
        self.supervisor.start(ProcessSpec("shop", command, environment, ready_url=""))
        self.sent += [str(FIRST_ID + number) for number in range(PAYMENTS)]

        async def is_debited() -> bool:
            return await self.inspector.saga(KILLED.payment) is not None

        await wait_until(is_debited, f"payment {KILLED.payment} was not received")
        await self.wait_for_healthy()
        await self.supervisor.kill("shop")
        for planted in PLANTED_FAULTS:
            self.report(planted)
        if payments_sent is None:
            await asyncio.Event().wait()
