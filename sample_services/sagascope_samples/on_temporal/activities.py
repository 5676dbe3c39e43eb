"""What the workers do for a payment; there is no bank, and no warehouse, behind it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.trace import get_current_span
from temporalio import activity
from temporalio.exceptions import ApplicationError

from sagascope import semconv
from sagascope.integrations.temporal import compensates
from sagascope_samples.chassis import Refused
from sagascope_samples.on_temporal.faults import Trouble, strike
from sagascope_samples.on_temporal.payment import BANK, CHARGE, FULFIL, REFUND, WAREHOUSE

SECONDS: Final = {CHARGE: 0.03, FULFIL: 0.08, REFUND: 0.03}
"""What the work would take, were there any."""

WHY: Final = {
    CHARGE: "The account is locked by the end-of-day run",
    FULFIL: "The last one was sold a minute ago",
    REFUND: "The card was closed",
}


class Work:
    """The activities of one worker, with the faults that are planted in it."""

    def __init__(self, faults: Mapping[str, Trouble]) -> None:
        self._faults = faults

    def of(self, service: str) -> list[Any]:
        """Those that a worker of this name runs."""
        return {BANK: [self.charge, self.refund], WAREHOUSE: [self.fulfil]}.get(service, [])

    @activity.defn(name=CHARGE)
    async def charge(self, order: dict[str, Any]) -> None:
        """Take the money."""
        await self._do(CHARGE, order)

    @activity.defn(name=FULFIL)
    async def fulfil(self, order: dict[str, Any]) -> None:
        """Send the goods."""
        await self._do(FULFIL, order)

    @compensates(CHARGE)
    @activity.defn(name=REFUND)
    async def refund(self, order: dict[str, Any]) -> None:
        """Give the money back."""
        await self._do(REFUND, order)

    async def _do(self, name: str, order: dict[str, Any]) -> None:
        # bank and warehouse would be given this, so that they do it once however often it is tried
        get_current_span().set_attribute(semconv.STEP_IDEMPOTENCY_KEY, f"{order['payment']}/{name}")
        await asyncio.sleep(SECONDS[name])
        try:
            await strike(self._faults.get(f"{order['payment']}/{name}"), WHY[name])
        except Refused as refusal:
            raise ApplicationError(str(refusal), type="Refused", non_retryable=True) from refusal
