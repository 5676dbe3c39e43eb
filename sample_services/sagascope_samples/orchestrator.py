"""Orchestrator: leads each payment through the other services, and back when one of them refuses.

It waits as long as it takes: for an answer, and for a call back. What it leads is in memory; its database says how
each payment ended.
"""

import asyncio
import logging
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
from sagascope_samples.chassis import Chassis, Order, Refused, Unavailable, read_order, retried, serve
from sagascope_samples.faults import Faults

log = logging.getLogger("orchestrator")


@dataclass(frozen=True, slots=True)
class Errand:
    """One call to one service, and the name of the step or compensation that it is."""

    step: str
    path: str

    @property
    def service(self) -> str:
        """Who is called."""
        return self.step.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Leg:
    """One step of a payment, and what undoes it."""

    do: Errand
    undo: Errand | None
    timeout: float
    """Seconds after which somebody should look; nothing is given up then."""


LEGS = (
    Leg(Errand("fraud.check", "/checks"), None, 8.0),
    Leg(Errand("wallet.debit", "/debits"), Errand("wallet.refund", "/refunds"), 8.0),
    Leg(Errand("ledger.record", "/entries"), Errand("ledger.reverse", "/reversals"), 8.0),
    Leg(Errand("shipping.book", "/bookings"), Errand("shipping.cancel", "/cancellations"), 8.0),
    Leg(Errand("notification.send", "/messages"), None, 8.0),
)

PAYMENT = Saga(
    "payment",
    [Step(leg.do.step, compensation=leg.undo.step if leg.undo else None, timeout=leg.timeout) for leg in LEGS],
)


class StillInForce(Exception):
    """A payment was refused half-way, and what had been done could not be undone."""


class Orchestrator:
    """``POST /payments``, ``GET /payments/{id}`` and ``POST /call-backs/{token}``."""

    def __init__(self, chassis: Chassis) -> None:
        self._database = chassis.database
        self._peers = chassis.peers
        self._tasks = chassis.tasks
        self._faults = Faults()
        self._awaited: dict[str, asyncio.Future[Any]] = {}

    def routes(self) -> Sequence[Route]:
        """The calls of this service."""
        return [
            Route("/payments", self.accept, methods=["POST"]),
            Route("/payments/{id}", self.show),
            Route("/call-backs/{token}", self.call_back, methods=["POST"]),
            self._faults.route(),
        ]

    async def accept(self, request: Request) -> Response:
        """Take a payment and start it; one that is known is not started again."""
        order, _ = await read_order(request)
        accepted = await self._database.run(lambda transaction: transaction.one("accept_payment", id=order.payment))
        if accepted:
            self._tasks.start(self._pay(order))
        return JSONResponse({"payment": order.payment}, status_code=202)

    async def show(self, request: Request) -> Response:
        """Say how a payment ended, or that it has not."""
        wanted = request.path_params["id"]
        found = await self._database.run(lambda transaction: transaction.one("find_payment", id=wanted))
        if found is None:
            raise HTTPException(404, f"No payment {wanted} was ever accepted")
        return JSONResponse(dict(found))

    async def call_back(self, request: Request) -> Response:
        """Take the word of a service that the work it took has ended; said again, it changes nothing."""
        awaited = self._awaited.get(request.path_params["token"])
        if awaited is None or awaited.done():
            log.info("A call back came for which nobody waits")
        else:
            awaited.set_result(await request.json())
        return Response(status_code=204)

    async def _pay(self, order: Order) -> None:
        state, detail = "completed", ""
        keys = {"order_id": order.order_id, "customer": order.customer}
        try:
            with PAYMENT.begin(order.payment, amount=order.amount, currency=order.currency, keys=keys) as saga:
                await self._lead(saga, order)
        except Refused as refusal:
            state, detail = "compensated", str(refusal)
        except StillInForce as failure:
            state, detail = "failed", str(failure)
        await self._database.run(
            lambda transaction: transaction.run("close_payment", id=order.payment, state=state, detail=detail)
        )

    async def _lead(self, saga: RunningSaga, order: Order) -> None:
        log.info("Payment %s of %s %s for %s", order.payment, order.amount, order.currency, order.customer)
        done: list[Leg] = []
        try:
            for leg in LEGS:
                await self._faults.strike(order.payment, leg.do.step)
                await self._run(saga.step, leg.do, order)
                done.append(leg)
            log.info("Payment %s went through", order.payment)
        except Refused as refusal:
            log.warning("Payment %s is refused: %s", order.payment, refusal)
            await self._undo(saga, order, done)
            raise

    async def _undo(self, saga: RunningSaga, order: Order, done: Sequence[Leg]) -> None:
        for leg in reversed(done):
            if leg.undo is None:
                continue
            try:
                await self._run(saga.compensation, leg.undo, order)
            except Refused as refusal:
                raise StillInForce(f"{leg.do.step} could not be undone: {refusal}") from refusal

    async def _run(self, open_attempt: Callable[..., Attempt], errand: Errand, order: Order) -> None:
        key = f"{order.payment}/{errand.step}"
        await retried(
            lambda number: open_attempt(errand.step, attempt=number, idempotency_key=key),
            partial(self._ask, errand, order, key),
        )

    async def _ask(self, errand: Errand, order: Order, key: str) -> None:
        with self._call_back() as (path, ended):
            reply = await self._peers.post(errand.service, errand.path, order.write(), key, path)
            if reply.accepted:
                _check(await ended)

    @contextmanager
    def _call_back(self) -> Iterator[tuple[str, asyncio.Future[Any]]]:
        """A path that can be called while this is open, and what comes in there."""
        token = uuid4().hex
        self._awaited[token] = asyncio.get_running_loop().create_future()
        try:
            yield f"/call-backs/{token}", self._awaited[token]
        finally:
            del self._awaited[token]


def _check(result: Any) -> None:
    """Return if the work that a service took was done; else raise what kept it from it."""
    match result["ended"]:
        case "refused":
            raise Refused(result["error"])
        case "unavailable":
            raise Unavailable(result["error"])


if __name__ == "__main__":
    serve("orchestrator", Orchestrator)
