"""Notification: notifies the customer. Its step needs no compensation."""

import asyncio
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Transaction, read_order, serve
from sagascope_samples.faults import FaultInjector

SEND = "notification.send"

MAIL_SECONDS = 0.05
"""Simulated duration of the mail server."""


class Notification:
    """``POST /messages``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._faults = FaultInjector()

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [Route("/messages", self.send, methods=["POST"]), self._faults.route()]

    async def send(self, request: Request) -> JSONResponse:
        """Sends the confirmation of a payment."""
        order, key = await read_order(request)
        with sagascope.step(SEND, idempotency_key=key):
            await self._faults.trigger(order.payment, SEND)
            await asyncio.sleep(MAIL_SECONDS)
            return JSONResponse(await self._database.once(key, partial(_send, order)))


def _send(order: Order, transaction: Transaction) -> Json:
    text = f"Your payment {order.payment} of {order.amount} {order.currency} went through."
    (kept,) = transaction.run("keep_message", payment=order.payment, customer=order.customer, text=text)
    return {"message": kept["number"]}


if __name__ == "__main__":
    serve("notification", Notification)
