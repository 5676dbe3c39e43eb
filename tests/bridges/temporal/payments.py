"""Temporal workflows for the tests; the start of a workflow id selects what happens to it.

Arguments: the address of the server and workflow ids. The program starts these workflows and runs a worker. It uses
Sagascope only if the first id is `--plugin=ENDPOINT`. The environment variable `DEPLOYED` names the version of the
workflow's code: `fixed` has no bug, `changed` breaks the determinism of running workflows.
"""

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy, WorkerDeploymentVersion
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

QUEUE = "payments"
UNPOLLED_QUEUE = "night-shift"
DEPLOYED = os.environ.get("DEPLOYED", "")
DEPLOYMENT = (
    WorkerDeploymentConfig(WorkerDeploymentVersion("payments", DEPLOYED), use_worker_versioning=False)
    if DEPLOYED
    else None
)
MINUTE = timedelta(minutes=1)
RETRY_POLICY = RetryPolicy(initial_interval=timedelta(seconds=0.5), backoff_coefficient=1.5, maximum_attempts=40)


@activity.defn
async def charge(payment: str) -> None:
    if payment.startswith("failing"):
        try:
            raise OSError("no route to host")
        except OSError as error:
            raise ConnectionError("the bank is away") from error


@activity.defn
async def fulfil(payment: str) -> None:
    if payment.startswith("slow"):
        await asyncio.sleep(3600)
    if payment.startswith("refused"):
        raise ApplicationError("out of stock", non_retryable=True)


@activity.defn
async def refund(payment: str) -> None:
    pass


@workflow.defn
class Payment:
    def __init__(self) -> None:
        self.is_approved = False

    @workflow.signal
    def approve(self) -> None:
        self.is_approved = True

    @workflow.run
    async def run(self, payment: str) -> None:
        queue = UNPOLLED_QUEUE if payment.startswith(("unpolled", "changed")) else QUEUE
        if payment.startswith("bug") and DEPLOYED != "fixed":
            raise ZeroDivisionError("a bug in the workflow")
        if payment.startswith("changed") and DEPLOYED == "changed":
            await workflow.sleep(MINUTE)
        if payment.startswith("timer"):
            await workflow.sleep(timedelta(hours=1))
        if payment.startswith(("approval", "bug")):
            await workflow.wait_condition(lambda: self.is_approved)
        if payment.startswith("parent"):
            await workflow.execute_child_workflow(Payment.run, f"slow/{payment}", id=f"slow/{payment}")
        if payment.startswith("local"):
            await workflow.execute_local_activity(charge, payment, start_to_close_timeout=MINUTE)
            await workflow.execute_local_activity(fulfil, payment.removeprefix("local/"), start_to_close_timeout=MINUTE)
            return
        if payment.startswith("rounds/"):
            workflow.continue_as_new("slow")
        await workflow.execute_activity(
            charge, payment, task_queue=queue, start_to_close_timeout=MINUTE, retry_policy=RETRY_POLICY
        )
        try:
            await workflow.execute_activity(fulfil, payment, start_to_close_timeout=timedelta(hours=1))
        except ActivityError:
            await workflow.execute_activity(refund, payment, start_to_close_timeout=MINUTE)
            raise


def plugins(arguments: list[str]) -> list[Any]:
    """Returns Sagascope's plugin if `--plugin` is given."""
    if not arguments or not arguments[0].startswith("--plugin="):
        return []
    import sagascope
    from sagascope.integrations.temporal import SagascopePlugin

    sagascope.configure("payments", endpoint=arguments.pop(0).partition("=")[2])
    return [SagascopePlugin(compensations={"refund": "charge"})]


async def main(address: str, payments: list[str]) -> None:
    client = await Client.connect(address, plugins=plugins(payments))
    for payment in payments:
        timeout = timedelta(seconds=1) if payment.endswith("/late") else None
        started = await client.start_workflow(
            Payment.run, payment, id=payment, task_queue=QUEUE, execution_timeout=timeout
        )
        if payment.endswith("/terminated"):
            await started.terminate(reason="requested by the bank")
        if payment.endswith("/cancelled"):
            await started.cancel()
        if payment.endswith("/signalled"):
            await started.signal("approve")
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Payment],
        activities=[charge, fulfil, refund],
        workflow_runner=UnsandboxedWorkflowRunner(),
        deployment_config=DEPLOYMENT,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
