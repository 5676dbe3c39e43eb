"""One worker and its activities: ``python -m sagascope_samples.on_temporal.worker bank``.

Sagascope needs one line in it: the plugin.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.trace import get_current_span
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from sagascope import Saga, Step, semconv
from sagascope.integrations.temporal import SagascopePlugin, WorkflowDescription, compensates
from sagascope_samples.calls import Refused
from sagascope_samples.chassis import run
from sagascope_samples.faults import Fault, FaultKind, faults_from_environment
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, PAYMENTS, REFUND, WAREHOUSE, Payment

SERVER_VARIABLE: Final = "SAMPLE_TEMPORAL"
"""The address of Temporal's server."""

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

    def __init__(self, faults: Mapping[str, FaultKind]) -> None:
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
        kind = self._faults.get(f"{order['payment']}/{name}")
        try:
            if kind is not None:
                await Fault(kind, ERROR_MESSAGES[name]).trigger()
        except Refused as refusal:
            raise ApplicationError(str(refusal), type="Refused", non_retryable=True) from refusal


def describe(_workflow: str, args: Sequence[Any]) -> WorkflowDescription:
    """Returns what people search a payment by."""
    order = args[0]
    keys = {"order_id": order["order_id"], "customer": order["customer"]}
    return WorkflowDescription(amount=order["amount"], currency=order["currency"], keys=keys)


async def serve(name: str) -> None:
    """Runs the worker until it is cancelled: that of `PAYMENTS` runs the workflows, the others their activities."""
    client = await Client.connect(os.environ[SERVER_VARIABLE], plugins=[SagascopePlugin(describe=describe)])
    workflows = [Payment] if name == PAYMENTS else []
    activities = Activities(faults_from_environment(FaultKind)).of(name)
    await Worker(client, task_queue=name, workflows=workflows, activities=activities).run()


if __name__ == "__main__":
    run(sys.argv[1], serve(sys.argv[1]))
