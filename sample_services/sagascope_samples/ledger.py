"""Ledger: records payments. It accepts work with status 202 and calls back when the entry is written."""

import logging
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import sagascope
from sagascope_samples.chassis import Chassis, Json, Order, Refused, Transaction, read_order, serve
from sagascope_samples.faults import FaultInjector

RECORD = "ledger.record"
REVERSE = "ledger.reverse"

log = logging.getLogger("ledger")


class Ledger:
    """``POST /entries`` and ``POST /reversals``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._callbacks = chassis.callbacks
        self._faults = FaultInjector()

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [
            Route("/entries", self.accept_entry, methods=["POST"]),
            Route("/reversals", self.accept_reversal, methods=["POST"]),
            self._faults.route(),
        ]

    async def accept_entry(self, request: Request) -> Response:
        """Accepts a payment to record."""
        order, key = await read_order(request)
        return self._callbacks.accept(request, partial(self._record, order, key))

    async def accept_reversal(self, request: Request) -> Response:
        """Accepts a payment whose entry must be reversed."""
        order, key = await read_order(request)
        return self._callbacks.accept(request, partial(self._reverse, order, key))

    async def _record(self, order: Order, key: str) -> None:
        with sagascope.step(RECORD, idempotency_key=key):
            log.info("Recording payment %s: %s %s", order.payment, order.amount, order.currency)
            await self._faults.trigger(order.payment, RECORD)
            entry = await self._database.once(key, partial(_record, order))
            log.info("Payment %s is entry %s", order.payment, entry["entry"])

    async def _reverse(self, order: Order, key: str) -> None:
        with sagascope.compensation(REVERSE, compensates=RECORD, idempotency_key=key):
            await self._faults.trigger(order.payment, REVERSE)
            entry = await self._database.once(key, partial(_reverse, order))
            log.info("Payment %s is reversed by entry %s", order.payment, entry["entry"])


def _record(order: Order, transaction: Transaction) -> Json:
    return _keep(transaction, payment=order.payment, kind="record", cents=order.cents, currency=order.currency)


def _reverse(order: Order, transaction: Transaction) -> Json:
    record = transaction.one("find_record", payment=order.payment)
    if record is None:
        raise Refused(f"Payment {order.payment} is not in the books")
    return _keep(
        transaction, payment=order.payment, kind="reverse", cents=-record["cents"], currency=record["currency"]
    )


def _keep(transaction: Transaction, **entry: str | int) -> Json:
    (kept,) = transaction.run("keep_entry", **entry)
    return {"entry": kept["number"]}


if __name__ == "__main__":
    serve("ledger", Ledger)
