"""The services of the demo, each with its own database: ``python -m sagascope_samples.services wallet``.

The orchestrator runs each payment through the others, and compensates when one of them refuses. Fraud, wallet and
notification respond when the work is done. Ledger and shipping accept work with status 202, and call back when it is
done.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, Literal
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sagascope
from sagascope import RunningSaga, Saga, Step
from sagascope.integrations.tenacity import attempts
from sagascope_samples.calls import Order, Refused, Unavailable, read_order, retrying
from sagascope_samples.chassis import Json, Service, Settings, Transaction, post, serve

# --- the orchestrator ------------------------------------------------------------------------------

PAYMENT = Saga(
    "payment",
    [
        Step("fraud.check", timeout=8.0),
        Step("wallet.debit", compensation="wallet.refund", timeout=8.0),
        Step("ledger.record", compensation="ledger.reverse", timeout=8.0),
        Step("shipping.book", compensation="shipping.cancel", timeout=8.0),
        Step("notification.send", timeout=8.0),
    ],
)
"""The plan. An attempt is overdue after its timeout; it is not aborted then."""

PATHS = {
    "fraud.check": "/checks",
    "wallet.debit": "/debits",
    "wallet.refund": "/refunds",
    "ledger.record": "/entries",
    "ledger.reverse": "/reversals",
    "shipping.book": "/bookings",
    "shipping.cancel": "/cancellations",
    "notification.send": "/messages",
}
"""The endpoint of each step and compensation; the service is the first part of the step's name."""


class CompensationFailed(Exception):
    """A payment was refused, and a committed step could not be compensated."""


class Orchestrator(Service):
    """Runs payments: ``POST /payments``, ``GET /payments/{id}`` and ``POST /call-backs/{token}``.

    It waits for responses and callbacks without a timeout. Running payments are in memory only; its database stores how
    each payment ended.
    """

    name = "orchestrator"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._expected: dict[str, asyncio.Future[Any]] = {}
        """The results of accepted work, by the token in the callback's path."""

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [
            post("/payments", self.accept),
            Route("/payments/{id}", self.show),
            post("/call-backs/{token}", self.receive_callback),
        ]

    async def accept(self, request: Request) -> Response:
        """Accepts and starts a payment, unless it was accepted before."""
        order, _ = await read_order(request)
        accepted = await self.database.run(lambda transaction: transaction.one("accept_payment", id=order.payment))
        if accepted:
            self.tasks.start(self._pay(order))
        return JSONResponse({"payment": order.payment}, status_code=202)

    async def show(self, request: Request) -> Response:
        """Returns how a payment ended, or that it has not."""
        payment = request.path_params["id"]
        found = await self.database.run(lambda transaction: transaction.one("find_payment", id=payment))
        if found is None:
            raise HTTPException(404, f"Payment {payment} was not accepted")
        return JSONResponse(dict(found))

    async def receive_callback(self, request: Request) -> Response:
        """Receives the result of accepted work; a repeated callback has no effect."""
        future = self._expected.get(request.path_params["token"])
        if future is None or future.done():
            self.log.info("Ignored a callback that is not expected")
        else:
            future.set_result(await request.json())
        return Response(status_code=204)

    async def _pay(self, order: Order) -> None:
        state, detail = "completed", ""
        keys = {"order_id": order.order_id, "customer": order.customer}
        try:
            with PAYMENT.begin(order.payment, amount=order.amount, currency=order.currency, keys=keys) as saga:
                await self._execute(saga, order)
        except Refused as refusal:
            state, detail = "compensated", str(refusal)
        except CompensationFailed as failure:
            state, detail = "failed", str(failure)
        await self.database.run(
            lambda transaction: transaction.run("close_payment", id=order.payment, state=state, detail=detail)
        )

    async def _execute(self, saga: RunningSaga, order: Order) -> None:
        self.log.info("Payment %s of %s %s for %s", order.payment, order.amount, order.currency, order.customer)
        committed: list[Step] = []
        try:
            for step in PAYMENT.plan.steps:
                await self.faults.trigger(order.payment, step.name)
                await self._call(saga, step.name, "action", order)
                committed.append(step)
            self.log.info("Payment %s completed", order.payment)
        except Refused as refusal:
            self.log.warning("Payment %s is refused: %s", order.payment, refusal)
            await self._compensate(saga, order, committed)
            raise

    async def _compensate(self, saga: RunningSaga, order: Order, committed: Sequence[Step]) -> None:
        for step in reversed(committed):
            if step.compensation is None:
                continue
            try:
                await self._call(saga, step.compensation, "compensation", order)
            except Refused as refusal:
                raise CompensationFailed(f"{step.name} could not be compensated: {refusal}") from refusal

    async def _call(self, saga: RunningSaga, step: str, kind: Literal["action", "compensation"], order: Order) -> None:
        """Calls the service of a step or compensation until it has executed or refused it."""
        key, service = f"{order.payment}/{step}", step.partition(".")[0]
        retries = retrying(f"{step} of payment {order.payment}")
        async for attempt in attempts(step, retries, saga=saga, type=kind, idempotency_key=key):
            with attempt, self._expect_callback() as (path, result):
                if await self.peers.post(service, PATHS[step], order.write(), key, path):
                    _raise_failure(await result)

    @contextmanager
    def _expect_callback(self) -> Iterator[tuple[str, asyncio.Future[Any]]]:
        """Opens a callback path, and returns it with the future result."""
        token = uuid4().hex
        self._expected[token] = asyncio.get_running_loop().create_future()
        try:
            yield f"/call-backs/{token}", self._expected[token]
        finally:
            del self._expected[token]


def _raise_failure(result: Any) -> None:
    """Raises the error of accepted work; returns if it succeeded."""
    match result["ended"]:
        case "refused":
            raise Refused(result["error"])
        case "unavailable":
            raise Unavailable(result["error"])


# --- the services that it calls --------------------------------------------------------------------

SCORING_SECONDS = 0.03
"""Simulated duration of the scoring model."""

CARRIER_SECONDS = 0.12
"""Simulated duration of the carrier's API."""

MAIL_SECONDS = 0.05
"""Simulated duration of the mail server."""

PAYMENT_LIMIT = Decimal("5000.00")
"""The maximum of one payment, in any currency."""

OPENING_CENTS = 100_000_000
"""Initial balance of an account, enough for every payment of the demo."""


class Fraud(Service):
    """Checks a payment before any money moves. Its step needs no compensation."""

    name = "fraud"

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [post("/checks", self.check)]

    async def check(self, request: Request) -> JSONResponse:
        """Accepts or refuses a payment."""
        order, key = await read_order(request)
        with sagascope.step("fraud.check", idempotency_key=key):
            await self.faults.trigger(order.payment, "fraud.check")
            await asyncio.sleep(SCORING_SECONDS)
            return JSONResponse(await self.database.run_once(key, partial(_check, order)))


def _check(order: Order, transaction: Transaction) -> Json:
    if order.amount > PAYMENT_LIMIT:
        raise Refused(f"{order.amount} {order.currency} is above the limit of {PAYMENT_LIMIT}")
    transaction.run(
        "insert_check", payment=order.payment, customer=order.customer, cents=order.cents, currency=order.currency
    )
    return {"passed": True}


class Wallet(Service):
    """Debits and refunds accounts. It retries failed debits by itself."""

    name = "wallet"

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [post("/debits", self.debit), post("/refunds", self.refund)]

    async def debit(self, request: Request) -> JSONResponse:
        """Debits the account; retries without end while the account is unavailable."""
        order, key = await read_order(request)
        retries = attempts(
            "wallet.debit",
            retrying(f"Debit of payment {order.payment}"),
            idempotency_key=key,
            amount=order.amount,
            currency=order.currency,
        )
        answer: Json = {}
        async for attempt in retries:
            with attempt:
                await self.faults.trigger(order.payment, "wallet.debit")
                answer = await self.database.run_once(key, partial(_debit, order))
        return JSONResponse(answer)

    async def refund(self, request: Request) -> JSONResponse:
        """Refunds the debit of a payment."""
        order, key = await read_order(request)
        with sagascope.compensation("wallet.refund", compensates="wallet.debit", idempotency_key=key):
            await self.faults.trigger(order.payment, "wallet.refund")
            return JSONResponse(await self.database.run_once(key, partial(_refund, order)))


def _debit(order: Order, transaction: Transaction) -> Json:
    account = {"customer": order.customer, "currency": order.currency}
    transaction.run("open_account", **account, cents=OPENING_CENTS)
    moved = transaction.one("move_money", **account, cents=-order.cents)
    if moved is None:
        raise Refused(f"The account of {order.customer} holds less than {order.amount} {order.currency}")
    transaction.run("insert_movement", payment=order.payment, kind="debit", **account, cents=-order.cents)
    return {"balance": str(Decimal(moved["cents"]).scaleb(-2))}


def _refund(order: Order, transaction: Transaction) -> Json:
    debit = transaction.one("find_debit", payment=order.payment)
    if debit is None:
        raise Refused(f"Nothing was debited for payment {order.payment}")
    account = {"customer": debit["customer"], "currency": debit["currency"]}
    transaction.run("move_money", **account, cents=-debit["cents"])
    transaction.run("insert_movement", payment=order.payment, kind="refund", **account, cents=-debit["cents"])
    return {"refunded": True}


class Ledger(Service):
    """Records payments, and reverses the entries of payments that are compensated."""

    name = "ledger"

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [post("/entries", self.accepting(self._record)), post("/reversals", self.accepting(self._reverse))]

    async def _record(self, order: Order, key: str) -> None:
        with sagascope.step("ledger.record", idempotency_key=key):
            self.log.info("Recording payment %s: %s %s", order.payment, order.amount, order.currency)
            await self.faults.trigger(order.payment, "ledger.record")
            entry = await self.database.run_once(key, partial(_record, order))
            self.log.info("Payment %s is entry %s", order.payment, entry["entry"])

    async def _reverse(self, order: Order, key: str) -> None:
        with sagascope.compensation("ledger.reverse", compensates="ledger.record", idempotency_key=key):
            await self.faults.trigger(order.payment, "ledger.reverse")
            entry = await self.database.run_once(key, partial(_reverse, order))
            self.log.info("Payment %s is reversed by entry %s", order.payment, entry["entry"])


def _record(order: Order, transaction: Transaction) -> Json:
    return _insert_entry(transaction, payment=order.payment, kind="record", cents=order.cents, currency=order.currency)


def _reverse(order: Order, transaction: Transaction) -> Json:
    record = transaction.one("find_record", payment=order.payment)
    if record is None:
        raise Refused(f"Payment {order.payment} has no ledger entry")
    cents, currency = -record["cents"], record["currency"]
    return _insert_entry(transaction, payment=order.payment, kind="reverse", cents=cents, currency=currency)


def _insert_entry(transaction: Transaction, **entry: str | int) -> Json:
    (inserted,) = transaction.run("insert_entry", **entry)
    return {"entry": inserted["number"]}


class Shipping(Service):
    """Books the parcel at the carrier."""

    name = "shipping"

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [post("/bookings", self.accepting(self._book)), post("/cancellations", self.accepting(self._cancel))]

    async def _book(self, order: Order, key: str) -> None:
        with sagascope.step("shipping.book", idempotency_key=key):
            self.log.info("Asking the carrier for payment %s", order.payment)
            await self.faults.trigger(order.payment, "shipping.book")
            await asyncio.sleep(CARRIER_SECONDS)
            booking = await self.database.run_once(key, partial(_book, order))
            self.log.info("Payment %s is booking %s", order.payment, booking["booking"])

    async def _cancel(self, order: Order, key: str) -> None:
        with sagascope.compensation("shipping.cancel", compensates="shipping.book", idempotency_key=key):
            await self.faults.trigger(order.payment, "shipping.cancel")
            booking = await self.database.run_once(key, partial(_cancel, order))
            self.log.info("Booking %s of payment %s is cancelled", booking["booking"], order.payment)


def _book(order: Order, transaction: Transaction) -> Json:
    (inserted,) = transaction.run("insert_booking", payment=order.payment, customer=order.customer)
    return {"booking": inserted["number"]}


def _cancel(order: Order, transaction: Transaction) -> Json:
    cancelled = transaction.one("cancel_booking", payment=order.payment)
    if cancelled is None:
        raise Refused(f"Nothing is booked for payment {order.payment}")
    return {"booking": cancelled["number"]}


class Notification(Service):
    """Notifies the customer. Its step needs no compensation."""

    name = "notification"

    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""
        return [post("/messages", self.send)]

    async def send(self, request: Request) -> JSONResponse:
        """Sends the confirmation of a payment."""
        order, key = await read_order(request)
        with sagascope.step("notification.send", idempotency_key=key):
            await self.faults.trigger(order.payment, "notification.send")
            await asyncio.sleep(MAIL_SECONDS)
            return JSONResponse(await self.database.run_once(key, partial(_send, order)))


def _send(order: Order, transaction: Transaction) -> Json:
    text = f"Your payment {order.payment} of {order.amount} {order.currency} went through."
    (inserted,) = transaction.run("insert_message", payment=order.payment, customer=order.customer, text=text)
    return {"message": inserted["number"]}


SERVICES: dict[str, type[Service]] = {
    service.name: service for service in (Orchestrator, Fraud, Wallet, Ledger, Shipping, Notification)
}

if __name__ == "__main__":
    serve(SERVICES[sys.argv[1]])
