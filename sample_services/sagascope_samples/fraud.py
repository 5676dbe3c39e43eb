"""Fraud: looks at a payment before any money moves. Nothing to undo."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Refused, Transaction, read_order, serve
from sagascope_samples.faults import Faults

CHECK = "fraud.check"

LIMIT = Decimal("5000.00")
"""One payment may not be above this, in any currency."""

SCORING_SECONDS = 0.03
"""What the scoring model would take, were there one."""


class Fraud:
    """``POST /checks``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._faults = Faults()

    def routes(self) -> Sequence[Route]:
        """The calls of this service."""
        return [Route("/checks", self.check, methods=["POST"]), self._faults.route()]

    async def check(self, request: Request) -> JSONResponse:
        """Let a payment pass, or refuse it."""
        order, key = await read_order(request)
        with sagascope.step(CHECK, idempotency_key=key):
            await self._faults.strike(order.payment, CHECK)
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
