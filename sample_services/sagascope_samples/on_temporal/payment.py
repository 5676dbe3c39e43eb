"""The workflow. Temporal runs this code again and again, in a sandbox: it imports nothing but Temporal."""

from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

PAYMENTS: Final = "payments"
BANK: Final = "bank"
WAREHOUSE: Final = "warehouse"

CHARGE: Final = "charge"
FULFIL: Final = "fulfil"
REFUND: Final = "refund"

LONG: Final = timedelta(minutes=10)
"""What one try may take. None says meanwhile that it is alive, so for so long the server waits for a dead one."""

SOON: Final = RetryPolicy(initial_interval=timedelta(seconds=0.4), backoff_coefficient=1.0)
TWICE: Final = RetryPolicy(initial_interval=timedelta(seconds=0.4), maximum_attempts=2)


@workflow.defn(name="payment")
class Payment:
    """Charges a customer, has the order fulfilled, and gives the money back when it cannot be."""

    @workflow.run
    async def run(self, order: dict[str, Any], warehouse: str) -> None:
        """Lead one payment; `warehouse` is the task queue that fulfils it."""
        await workflow.execute_activity(CHARGE, order, task_queue=BANK, start_to_close_timeout=LONG, retry_policy=SOON)
        try:
            await workflow.execute_activity(
                FULFIL, order, task_queue=warehouse, start_to_close_timeout=LONG, retry_policy=SOON
            )
        except ActivityError:
            await workflow.execute_activity(
                REFUND, order, task_queue=BANK, start_to_close_timeout=LONG, retry_policy=TWICE
            )
            raise
