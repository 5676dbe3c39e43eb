"""One worker: ``python -m sagascope_samples.on_temporal.worker bank``. It needs one line for Sagascope: the plugin."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from temporalio.client import Client
from temporalio.worker import Worker

import sagascope
from sagascope import Saga, Step
from sagascope.integrations.temporal import SagascopePlugin, WorkflowDescription
from sagascope_samples.on_temporal.activities import Work
from sagascope_samples.on_temporal.faults import planted
from sagascope_samples.on_temporal.payment import CHARGE, FULFIL, PAYMENTS, REFUND, Payment

SERVER: Final = "SAMPLE_TEMPORAL"
"""The address of Temporal's server."""

HEARTBEAT_SECONDS: Final = 2.0

PAYMENT: Final = Saga("payment", [Step(CHARGE, compensation=REFUND), FULFIL])
"""The plan, so that it is known what undoes what also where no refund ever ran."""


def about(_workflow: str, args: Sequence[Any]) -> WorkflowDescription:
    """What people look for when they ask about a payment."""
    order = args[0]
    keys = {"order_id": order["order_id"], "customer": order["customer"]}
    return WorkflowDescription(amount=order["amount"], currency=order["currency"], keys=keys)


async def serve(name: str) -> None:
    """Work until a signal comes. The worker that leads payments runs their workflows, the others their activities."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client = await Client.connect(os.environ[SERVER], plugins=[SagascopePlugin(describe=about)])
    workflows = [Payment] if name == PAYMENTS else []
    await Worker(client, task_queue=name, workflows=workflows, activities=Work(planted()).of(name)).run()


def main(name: str) -> None:
    """Be the worker of this name."""
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
