"""One worker and its activities: ``python -m sagascope_samples.on_temporal.worker bank``.

Sagascope needs one line in it: the plugin.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from opentelemetry.trace import get_current_span
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

import sagascope
from sagascope import Saga, Step, semconv
from sagascope.integrations.temporal import SagascopePlugin, WorkflowDescription, compensates
from sagascope_samples.chassis import Refused
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, PAYMENTS, REFUND, WAREHOUSE, Payment
from sagascope_samples.on_temporal.scenario import ActivityFault, faults_from_environment, trigger

SERVER_VARIABLE: Final = "SAMPLE_TEMPORAL"
"""The address of Temporal's server."""

HEARTBEAT_SECONDS: Final = 2.0

WORK_SECONDS: Final = {CHARGE: 0.03, FULFIL: 0.08, REFUND: 0.03}
"""Simulated duration of each activity."""

ERROR_MESSAGES: Final = {
    CHARGE: "The account is locked by the end-of-day run",
    FULFIL: "The last one was sold a minute ago",
    REFUND: "The card was closed",
}

PAYMENT: Final = Saga("payment", [Step(CHARGE, compensation=REFUND), FULFIL])
"""The plan, so that the compensation is known also where no refund ever ran."""


class Activities:
    """The activities of one worker, with its planted faults. They simulate a bank and a warehouse."""

    def __init__(self, faults: Mapping[str, ActivityFault]) -> None:
        self._faults = faults

    def of(self, worker: str) -> list[Any]:
        """Returns the activities of the worker of this name."""
        return {BANK: [self.charge, self.refund], WAREHOUSE: [self.fulfil]}.get(worker, [])

    @activity.defn(name=CHARGE)
    async def charge(self, order: dict[str, Any]) -> None:
        """Charges the customer."""
        await self._execute(CHARGE, order)

    @activity.defn(name=FULFIL)
    async def fulfil(self, order: dict[str, Any]) -> None:
        """Sends the goods."""
        await self._execute(FULFIL, order)

    @compensates(CHARGE)
    @activity.defn(name=REFUND)
    async def refund(self, order: dict[str, Any]) -> None:
        """Refunds the customer."""
        await self._execute(REFUND, order)

    async def _execute(self, name: str, order: dict[str, Any]) -> None:
        # a real bank or warehouse would receive this key, and execute the request once
        get_current_span().set_attribute(semconv.STEP_IDEMPOTENCY_KEY, f"{order['payment']}/{name}")
        await asyncio.sleep(WORK_SECONDS[name])
        try:
            await trigger(self._faults.get(f"{order['payment']}/{name}"), ERROR_MESSAGES[name])
        except Refused as refusal:
            raise ApplicationError(str(refusal), type="Refused", non_retryable=True) from refusal


def describe(_workflow: str, args: Sequence[Any]) -> WorkflowDescription:
    """Returns what people search a payment by."""
    order = args[0]
    keys = {"order_id": order["order_id"], "customer": order["customer"]}
    return WorkflowDescription(amount=order["amount"], currency=order["currency"], keys=keys)


async def serve(name: str) -> None:
    """Runs the worker until SIGTERM arrives: that of `PAYMENTS` runs the workflows, the others their activities."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client = await Client.connect(os.environ[SERVER_VARIABLE], plugins=[SagascopePlugin(describe=describe)])
    workflows = [Payment] if name == PAYMENTS else []
    activities = Activities(faults_from_environment()).of(name)
    await Worker(client, task_queue=name, workflows=workflows, activities=activities).run()


def main(name: str) -> None:
    """Runs the worker of this name."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sagascope.configure(
        name,
        service_version=sagascope.__version__,
        resource_attributes={SERVICE_INSTANCE_ID: f"{name}-{token_hex(2)}"},
        heartbeat_interval=HEARTBEAT_SECONDS,
    )
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(name))


if __name__ == "__main__":
    main(sys.argv[1])
