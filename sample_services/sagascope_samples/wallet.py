"""Wallet: debits and refunds accounts. It retries failed debits by itself."""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Refused, Transaction, read_order, retried, serve
from sagascope_samples.faults import FaultInjector

DEBIT = "wallet.debit"
REFUND = "wallet.refund"

OPENING_CENTS = 100_000_000
"""Initial balance of an account, enough for every payment of the demo."""


class Wallet:
    """``POST /debits`` and ``POST /refunds``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._faults = FaultInjector()

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [
            Route("/debits", self.debit, methods=["POST"]),
            Route("/refunds", self.refund, methods=["POST"]),
            self._faults.route(),
        ]

    async def debit(self, request: Request) -> JSONResponse:
        """Debits the account; retries without end while the account is unavailable."""
        order, key = await read_order(request)
        answer = await retried(
            lambda number: sagascope.step(
                DEBIT, attempt=number, idempotency_key=key, amount=order.amount, currency=order.currency
            ),
            partial(self._debit, order, key),
        )
        return JSONResponse(answer)

    async def refund(self, request: Request) -> JSONResponse:
        """Refunds the debit of a payment."""
        order, key = await read_order(request)
        with sagascope.compensation(REFUND, compensates=DEBIT, idempotency_key=key):
            await self._faults.trigger(order.payment, REFUND)
            return JSONResponse(await self._database.once(key, partial(_refund, order)))

    async def _debit(self, order: Order, key: str) -> Json:
        await self._faults.trigger(order.payment, DEBIT)
        return await self._database.once(key, partial(_debit, order))


def _debit(order: Order, transaction: Transaction) -> Json:
    account = {"customer": order.customer, "currency": order.currency}
    transaction.run("open_account", **account, cents=OPENING_CENTS)
    moved = transaction.one("move_money", **account, cents=-order.cents)
    if moved is None:
        raise Refused(f"The account of {order.customer} holds less than {order.amount} {order.currency}")
    transaction.run("keep_movement", payment=order.payment, kind="debit", **account, cents=-order.cents)
    return {"balance": str(Decimal(moved["cents"]).scaleb(-2))}


def _refund(order: Order, transaction: Transaction) -> Json:
    debit = transaction.one("find_debit", payment=order.payment)
    if debit is None:
        raise Refused(f"Nothing was debited for payment {order.payment}")
    account = {"customer": debit["customer"], "currency": debit["currency"]}
    transaction.run("move_money", **account, cents=-debit["cents"])
    transaction.run("keep_movement", payment=order.payment, kind="refund", **account, cents=-debit["cents"])
    return {"refunded": True}


if __name__ == "__main__":
    serve("wallet", Wallet)
