"""Orders on Temporal, run by their own interpreter: ``worker`` or ``client``, OTLP address, Temporal's address, orders.

The first try of each charge fails; the shipment of an order that is called `killed-...` never ends.
"""

import asyncio
import sys
from datetime import timedelta

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

part, otlp, temporal, *orders = sys.argv[1:]
provider = TracerProvider(resource=Resource.create({"service.name": part}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(otlp, insecure=True), schedule_delay_millis=100))
trace.set_tracer_provider(provider)


@activity.defn
async def reserve(order: str) -> None:
    pass


@activity.defn
async def charge(order: str) -> None:
    if activity.info().attempt == 1:
        raise RuntimeError("no route to bank")


@activity.defn
async def ship(order: str) -> None:
    if order.startswith("killed"):
        await asyncio.Event().wait()


@workflow.defn
class Order:
    @workflow.run
    async def run(self, order: str) -> None:
        for step in (reserve, charge, ship):
            await workflow.execute_activity(
                step,
                order,
                start_to_close_timeout=timedelta(minutes=10),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
            )


async def main() -> None:
    client = await Client.connect(temporal, interceptors=[TracingInterceptor()])
    if part == "client":
        for order in orders:
            await client.start_workflow(Order.run, order, id=order, task_queue="orders")
        provider.shutdown()
        return
    activities = [reserve, charge, ship]
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue="orders", workflows=[Order], activities=activities, workflow_runner=runner):
        await asyncio.Event().wait()


asyncio.run(main())
