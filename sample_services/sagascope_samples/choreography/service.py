"""One service as an event handler: ``python -m sagascope_samples.choreography.service wallet``."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

import nats
from nats.errors import TimeoutError as NothingCame
from nats.js.api import ConsumerConfig
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID

import sagascope
from sagascope import Saga
from sagascope.integrations.messages import publishing
from sagascope_samples.chassis import Order, Unavailable
from sagascope_samples.choreography.faults import Trouble, planted
from sagascope_samples.choreography.roles import ROLES, STREAM, Role

BROKER: Final = "SAMPLE_BROKER"
"""NATS' URL."""

HEARTBEAT_SECONDS: Final = 2.0

AGAIN_SECONDS: Final = 0.4
"""Until JetStream delivers a message again that could not be worked on."""

PAYMENT: Final = Saga("payment")

log = logging.getLogger("choreography")


class Handler:
    """Takes its messages one by one, does its step for each, and publishes what comes of it."""

    def __init__(self, role: Role, stream: Any, faults: Mapping[str, Trouble]) -> None:
        self._role = role
        self._stream = stream
        self._faults = faults

    async def run(self) -> None:
        """Take messages until this is cancelled. Where the process left off, the next one of its name goes on."""
        role = self._role
        config = ConsumerConfig(max_deliver=-1)
        subscription = await self._stream.pull_subscribe(role.takes, role.service, stream=STREAM, config=config)
        while True:
            with suppress(NothingCame):
                for message in await subscription.fetch(1, timeout=5):
                    await self._take(message)

    async def _take(self, message: Any) -> None:
        order = Order.read(json.loads(message.data))
        if self._faults.get(order.payment) is Trouble.LOSE:
            await message.ack()
            return
        try:
            await self._handle(order, message)
        except Unavailable as error:
            log.warning("Payment %s, delivery %d: %s", order.payment, message.metadata.num_delivered, error)
            await message.nak(delay=AGAIN_SECONDS)
        else:
            await message.ack()

    async def _handle(self, order: Order, message: Any) -> None:
        if not self._role.step:
            keys = {"order_id": order.order_id, "customer": order.customer}
            with PAYMENT.begin(order.payment, open=True, amount=order.amount, currency=order.currency, keys=keys):
                await self._tell(order)
            return
        delivery = message.metadata.num_delivered
        with sagascope.extract(message.headers), sagascope.step(self._role.step, attempt=delivery):
            await self._work(order)
            await self._tell(order)

    async def _work(self, order: Order) -> None:
        await asyncio.sleep(self._role.seconds)
        if self._faults.get(order.payment) is Trouble.POISON:
            raise Unavailable(f"{order.customer!r} cannot be written in the mail server's alphabet")

    async def _tell(self, order: Order) -> None:
        """Publish what comes next; the last one closes the payment instead."""
        if not self._role.gives:
            if (saga := sagascope.current()) is not None:
                saga.complete()
            return
        once = {"Nats-Msg-Id": f"{order.payment}/{self._role.gives}"}
        await self._publish(order, once)
        if self._faults.get(order.payment) is Trouble.TWICE:
            await self._publish(order, {})

    async def _publish(self, order: Order, once: Mapping[str, str]) -> None:
        subject = self._role.gives
        async with publishing(subject, system="nats", message_id=once.get("Nats-Msg-Id", "")) as headers:
            await self._stream.publish(subject, json.dumps(order.write()).encode(), headers={**headers, **once})


async def serve(role: Role) -> None:
    """Handle this role's messages until a signal comes."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client = await nats.connect(os.environ[BROKER], name=role.service, max_reconnect_attempts=-1)
    try:
        await Handler(role, client.jetstream(), planted()).run()
    finally:
        await client.close()


def main(name: str) -> None:
    """Be the service of this name."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sagascope.configure(
        name,
        service_version=sagascope.__version__,
        resource_attributes={SERVICE_INSTANCE_ID: f"{name}-{token_hex(2)}"},
        heartbeat_interval=HEARTBEAT_SECONDS,
    )
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(ROLES[name]))


if __name__ == "__main__":
    main(sys.argv[1])
