"""Fraud: checks a payment before any money moves. Its step needs no compensation."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Refused, Transaction, read_order, serve
from sagascope_samples.faults import FaultInjector

CHECK = "fraud.check"

LIMIT = Decimal("5000.00")
"""The maximum of one payment, in any currency."""

SCORING_SECONDS = 0.03
"""Simulated duration of the scoring model."""


class Fraud:
    """``POST /checks``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._faults = FaultInjector()

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [Route("/checks", self.check, methods=["POST"]), self._faults.route()]

    async def check(self, request: Request) -> JSONResponse:
        """Accepts or refuses a payment."""
        order, key = await read_order(request)
        with sagascope.step(CHECK, idempotency_key=key):
            await self._faults.trigger(order.payment, CHECK)
            await asyncio.sleep(SCORING_SECONDS)
            return JSONResponse(await self._database.once(key, partial(_check, order)))


def _check(order: Order, transaction: Transaction) -> Json:
    if order.amount > LIMIT:
        raise Refused(f"{order.amount} {order.currency} is above the limit of {LIMIT}")
    transaction.run(
        "keep_check", payment=order.payment, customer=order.customer, cents=order.cents, currency=order.currency
    )
    return {"passed": True}


if __name__ == "__main__":
    serve("fraud", Fraud)
