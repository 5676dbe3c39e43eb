"""The orchestrator: runs each payment through the other services, and compensates when one of them refuses.

It waits for responses and callbacks without a timeout. Running payments are in memory only; its database stores how
each payment ended.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sagascope import RunningSaga, Saga, Step
from sagascope.integrations.tenacity import attempts
from sagascope_samples.calls import Order, Refused, Unavailable, read_order, retrying
from sagascope_samples.chassis import Service, Settings, post

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
    """Runs payments: ``POST /payments``, ``GET /payments/{id}`` and ``POST /call-backs/{token}``."""

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
