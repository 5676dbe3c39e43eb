"""A payment on Temporal: charge, fulfil, refund; what goes wrong is in the payment's id."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

import sagascope
from sagascope.integrations.temporal import compensates

QUEUE = "payments"
ELSEWHERE = "warehouse"
UNPOLLED_QUEUE = "unpolled"

OFTEN: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3),
}


@activity.defn
async def charge(payment: str) -> None:
    if payment.startswith("flaky") and activity.info().attempt < 3:
        raise ConnectionError("no route to bank")


@activity.defn
def fulfil(payment: str) -> str:
    saga = sagascope.current()
    with sagascope.step("stock.take"):
        pass
    if payment.startswith("refused"):
        raise ApplicationError("out of stock", non_retryable=True)
    return saga.id if saga is not None else ""


@compensates("charge")
@activity.defn(name="give_back")
async def refund(payment: str) -> None:
    pass


@activity.defn
async def wait_for_ever(payment: str) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@workflow.defn
class Payment:
    @workflow.run
    async def run(self, payment: str) -> str:
        await workflow.execute_activity(charge, payment, **OFTEN)
        try:
            return await workflow.execute_activity(fulfil, payment, **OFTEN)
        except ActivityError:
            await workflow.execute_activity(refund, payment, **OFTEN)
            raise


@workflow.defn
class Everything:
    """Calls, waits, and asks, in all the ways that there are."""

    def __init__(self) -> None:
        self.released = 0

    @workflow.run
    async def run(self, payment: str) -> int:
        await workflow.execute_activity(charge, f"{payment}/1", **OFTEN)
        await workflow.execute_local_activity(charge, f"{payment}/2", start_to_close_timeout=timedelta(seconds=30))
        await workflow.execute_child_workflow(Payment.run, f"{payment}/child", id=f"{payment}/child")
        await workflow.wait_condition(lambda: self.released == 2)
        await workflow.sleep(timedelta(milliseconds=10))
        await workflow.execute_activity(charge, f"{payment}/3", **OFTEN)
        return self.released

    @workflow.signal
    async def release(self) -> None:
        self.released += 1

    @workflow.update
    async def hurry(self) -> int:
        return self.released

    @workflow.query
    def how_often(self) -> int:
        return self.released


@workflow.defn
class Rounds:
    """Goes on in another run, once."""

    @workflow.run
    async def run(self, left: int) -> None:
        await workflow.execute_activity(charge, "round", **OFTEN)
        if left:
            workflow.continue_as_new(left - 1)


@workflow.defn
class LongWait:
    """Waits for an activity that ends only when it is cancelled, or that no worker takes."""

    @workflow.run
    async def run(self, queue: str) -> None:
        await workflow.execute_activity(
            wait_for_ever, "", task_queue=queue, heartbeat_timeout=timedelta(seconds=1), **OFTEN
        )


@workflow.defn
class Hurried:
    """Gives an activity little time to be taken."""

    @workflow.run
    async def run(self, queue: str) -> None:
        soon = timedelta(seconds=0.3 if queue == UNPOLLED_QUEUE else 30)
        await workflow.execute_activity(charge, "", task_queue=queue, schedule_to_start_timeout=soon, **OFTEN)


@workflow.defn
class Approval:
    """Declares that it waits for a signal."""

    def __init__(self) -> None:
        self.is_approved = False

    @workflow.run
    async def run(self, payment: str) -> None:
        await workflow.execute_activity(charge, payment, **OFTEN)
        saga = sagascope.current()
        assert saga is not None
        saga.wait_for("approval", "above the limit")
        await workflow.wait_condition(lambda: self.is_approved)
        await workflow.execute_activity(fulfil, payment, **OFTEN)

    @workflow.signal
    def approve(self) -> None:
        self.is_approved = True


@workflow.defn
class Broken:
    """Its own code fails, until it is released."""

    def __init__(self) -> None:
        self.released = False

    @workflow.run
    async def run(self, payment: str) -> None:
        await asyncio.sleep(0)
        if not self.released:
            raise ZeroDivisionError("a bug")

    @workflow.signal
    def release(self) -> None:
        self.released = True


@activity.defn
def book_hotel(trip: str) -> None:
    pass


@activity.defn
def book_flight(trip: str) -> None:
    raise ApplicationError("sold out", non_retryable=True)


@activity.defn
def cancel_hotel(trip: str) -> None:
    pass


@workflow.defn
class Trip:
    """Its compensation is declared nowhere: the name says it."""

    @workflow.run
    async def run(self, trip: str) -> None:
        minute = timedelta(minutes=1)
        await workflow.execute_activity(book_hotel, trip, start_to_close_timeout=minute)
        try:
            await workflow.execute_activity(book_flight, trip, start_to_close_timeout=minute)
        except ActivityError:
            await workflow.execute_activity(cancel_hotel, trip, start_to_close_timeout=minute)
            raise


@workflow.defn
class Basket:
    """Charges twice, and refunds as often as it is asked to."""

    @workflow.run
    async def run(self, refunds: int) -> None:
        for item in ("1", "2"):
            await workflow.execute_activity(charge, item, **OFTEN)
        for number in range(refunds):
            await workflow.execute_activity(refund, str(number), **OFTEN)
        raise ApplicationError("out of stock")


WORKFLOWS = [Payment, Everything, Rounds, LongWait, Hurried, Approval, Broken, Trip, Basket]
ACTIVITIES = [charge, fulfil, refund, wait_for_ever, book_hotel, book_flight, cancel_hotel]
