"""The shop's services: ``python -m sagascope_samples.on_opentelemetry.shop FIRST NUMBER`` places some orders.

A further argument is a folder for files, of which it needs none.

They run in one process, each with a tracer provider of its own, and send to ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from sagascope_samples.calls import Order, Refused, Unavailable
from sagascope_samples.demo.scenario import FIRST_ID, payments
from sagascope_samples.faults import Fault, FaultKind, faults_from_environment

CHECKOUT: Final = "checkout"
CHARGE: Final = "Charge"
REFUND: Final = "Refund"
SHIP: Final = "ShipOrder"
CONFIRM: Final = "SendConfirmation"

SERVICE_OF: Final = {CHARGE: "payment", REFUND: "payment", SHIP: "shipping", CONFIRM: "email"}

ORDER_INTERVAL_SECONDS: Final = 0.2
WORK_SECONDS: Final = 0.03
EXPORT_INTERVAL_MS: Final = 200

ERROR_MESSAGES: Final = {
    SHIP: "The carrier does not deliver to this address",
    REFUND: "The bank's gateway timed out",
    CONFIRM: "The mail server refused the recipient",
}


class Shop:
    """Places orders; `faults` are those of ``PAYMENT/STEP``."""

    def __init__(self, faults: Mapping[str, FaultKind]) -> None:
        self._faults = faults
        self._tracers = {name: _tracer(name) for name in (CHECKOUT, *SERVICE_OF.values())}

    async def place(self, order: Order) -> None:
        """Charges, ships and confirms; refunds where nothing can be shipped."""
        attributes = {
            "app.order.id": order.payment,
            "app.order.amount": str(order.amount),
            "app.order.currency": order.currency,
            "app.customer.name": order.customer,
        }
        checkout = self._tracers[CHECKOUT]
        with checkout.start_as_current_span("PlaceOrder", kind=SpanKind.SERVER, attributes=attributes):
            await self._call(CHARGE, order)
            try:
                await self._call(SHIP, order)
            except Refused:
                await self._call(REFUND, order)
                raise
            await self._call(CONFIRM, order)

    async def _call(self, step: str, order: Order) -> None:
        async with self._spans(step, order):
            await asyncio.sleep(WORK_SECONDS)
            if kind := self._faults.get(f"{order.payment}/{step}"):
                await Fault(kind, ERROR_MESSAGES.get(step, "")).trigger()

    @asynccontextmanager
    async def _spans(self, step: str, order: Order) -> AsyncIterator[None]:
        """The span of the caller, and below it that of the called service."""
        called = self._tracers[SERVICE_OF[step]]
        attributes = {"app.order.id": order.payment}
        with (
            self._tracers[CHECKOUT].start_as_current_span(step, kind=SpanKind.CLIENT),
            called.start_as_current_span(step, kind=SpanKind.SERVER, attributes=attributes),
        ):
            yield


def _tracer(service: str) -> Tracer:
    provider = TracerProvider(resource=Resource({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=EXPORT_INTERVAL_MS))
    return provider.get_tracer(__name__)


async def main(first: int, number: int) -> None:
    """Places an order every `ORDER_INTERVAL_SECONDS`, and then waits until the process is stopped."""
    shop = Shop(faults_from_environment(FaultKind))
    begin = first - FIRST_ID
    async with asyncio.TaskGroup() as orders:
        for order in islice(payments(), begin, begin + number):
            orders.create_task(_placed(shop, order))
            await asyncio.sleep(ORDER_INTERVAL_SECONDS)
    await asyncio.Event().wait()


async def _placed(shop: Shop, order: Order) -> None:
    try:
        await shop.place(order)
    except (Refused, Unavailable) as error:
        print(f"order {order.payment}: {error}", flush=True)  # noqa: T201 - its log


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
