"""One service as an event handler: ``python -m sagascope_samples.choreography.service wallet``."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import nats
from nats.errors import TimeoutError as FetchTimeout
from nats.js.api import ConsumerConfig

import sagascope
from sagascope import Saga
from sagascope.integrations.messages import publishing
from sagascope_samples.calls import Order, Unavailable
from sagascope_samples.chassis import run
from sagascope_samples.faults import faults_from_environment

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


if __name__ == "__main__":
    run(sys.argv[1], serve(ROLES[sys.argv[1]]))
