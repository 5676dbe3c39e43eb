"""The workflow. Temporal runs this code in a sandbox, repeatedly, so it imports nothing but Temporal."""

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
