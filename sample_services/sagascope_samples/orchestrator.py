"""The orchestrator: runs each payment through the other services, and compensates when one of them refuses.

It waits for responses and callbacks without a timeout. Running payments are in memory only; its database stores how
each payment ended.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sagascope import Attempt, RunningSaga, Saga, Step
from sagascope_samples.calls import Order, Refused, Unavailable, read_order, retried
from sagascope_samples.chassis import Service, Settings, post


@dataclass(frozen=True, slots=True)
class StepCall:
    """The call of a service that executes a step or a compensation."""

    step: str
    path: str

    @property
    def service(self) -> str:
        """The service that is called."""
        return self.step.partition(".")[0]


@dataclass(frozen=True, slots=True)
class PaymentStep:
    """One step of a payment and its compensation."""

    action: StepCall
    compensation: StepCall | None
    timeout_seconds: float
    """Time after which an attempt is overdue; it is not aborted then."""


STEPS = (
    PaymentStep(StepCall("fraud.check", "/checks"), None, 8.0),
    PaymentStep(StepCall("wallet.debit", "/debits"), StepCall("wallet.refund", "/refunds"), 8.0),
    PaymentStep(StepCall("ledger.record", "/entries"), StepCall("ledger.reverse", "/reversals"), 8.0),
    PaymentStep(StepCall("shipping.book", "/bookings"), StepCall("shipping.cancel", "/cancellations"), 8.0),
    PaymentStep(StepCall("notification.send", "/messages"), None, 8.0),
)

PAYMENT = Saga(
    "payment",
    [
        Step(
            step.action.step,
            compensation=step.compensation.step if step.compensation else None,
            timeout=step.timeout_seconds,
        )
        for step in STEPS
    ],
)


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
        committed: list[PaymentStep] = []
        try:
            for step in STEPS:
                await self.faults.trigger(order.payment, step.action.step)
                await self._call_step(saga.step, step.action, order)
                committed.append(step)
            self.log.info("Payment %s completed", order.payment)
        except Refused as refusal:
            self.log.warning("Payment %s is refused: %s", order.payment, refusal)
            await self._compensate(saga, order, committed)
            raise

    async def _compensate(self, saga: RunningSaga, order: Order, committed: Sequence[PaymentStep]) -> None:
        for step in reversed(committed):
            if step.compensation is None:
                continue
            try:
                await self._call_step(saga.compensation, step.compensation, order)
            except Refused as refusal:
                raise CompensationFailed(f"{step.action.step} could not be compensated: {refusal}") from refusal

    async def _call_step(self, open_attempt: Callable[..., Attempt], call: StepCall, order: Order) -> None:
        key = f"{order.payment}/{call.step}"
        await retried(
            lambda number: open_attempt(call.step, attempt=number, idempotency_key=key),
            partial(self._request, call, order, key),
        )

    async def _request(self, call: StepCall, order: Order, key: str) -> None:
        with self._expect_callback() as (path, result):
            if await self.peers.post(call.service, call.path, order.write(), key, path):
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
