"""Shipping: books the parcel. It accepts work with status 202 and calls back when the carrier has responded."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Refused, Transaction, read_order, serve
from sagascope_samples.faults import FaultInjector

BOOK = "shipping.book"
CANCEL = "shipping.cancel"

CARRIER_SECONDS = 0.12
"""Simulated duration of the carrier's API."""

log = logging.getLogger("shipping")


class Shipping:
    """``POST /bookings`` and ``POST /cancellations``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._callbacks = chassis.callbacks
        self._faults = FaultInjector()

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [
            Route("/bookings", self.accept_booking, methods=["POST"]),
            Route("/cancellations", self.accept_cancellation, methods=["POST"]),
            self._faults.route(),
        ]

    async def accept_booking(self, request: Request) -> Response:
        """Accepts a payment whose goods must be sent."""
        order, key = await read_order(request)
        return self._callbacks.accept(request, partial(self._book, order, key))

    async def accept_cancellation(self, request: Request) -> Response:
        """Accepts a payment whose booking must be cancelled."""
        order, key = await read_order(request)
        return self._callbacks.accept(request, partial(self._cancel, order, key))

    async def _book(self, order: Order, key: str) -> None:
        with sagascope.step(BOOK, idempotency_key=key):
            log.info("Asking the carrier for payment %s", order.payment)
            await self._faults.trigger(order.payment, BOOK)
            await asyncio.sleep(CARRIER_SECONDS)
            booking = await self._database.once(key, partial(_book, order))
            log.info("Payment %s is booking %s", order.payment, booking["booking"])

    async def _cancel(self, order: Order, key: str) -> None:
        with sagascope.compensation(CANCEL, compensates=BOOK, idempotency_key=key):
            await self._faults.trigger(order.payment, CANCEL)
            booking = await self._database.once(key, partial(_cancel, order))
            log.info("Booking %s of payment %s is cancelled", booking["booking"], order.payment)


def _book(order: Order, transaction: Transaction) -> Json:
    (kept,) = transaction.run("keep_booking", payment=order.payment, customer=order.customer)
    return {"booking": kept["number"]}


def _cancel(order: Order, transaction: Transaction) -> Json:
    cancelled = transaction.one("cancel_booking", payment=order.payment)
    if cancelled is None:
        raise Refused(f"Nothing is booked for payment {order.payment}")
    return {"booking": cancelled["number"]}


if __name__ == "__main__":
    serve("shipping", Shipping)
