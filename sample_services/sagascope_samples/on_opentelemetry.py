"""A shop with OpenTelemetry's SDK and nothing of Sagascope. ``sagascope demo --engine opentelemetry`` runs it.

Its spans have the order's id as `app.order.id`; ``on_opentelemetry.yaml`` is all that the collector is told.

``python -m sagascope_samples.on_opentelemetry FIRST NUMBER`` places some orders; a further argument is a folder for
files, of which it needs none. The services run in one process, each with a tracer provider of its own, and send to
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from sagascope_samples.calls import Order, Refused, Unavailable
from sagascope_samples.chassis import Fault, FaultKind, faults_from_environment
from sagascope_samples.demo.scenario import Finding, PlantedFault, ShopScenario, spaced_payments, step_timeouts

CHECKOUT: Final = "checkout"
CHARGE: Final = "Charge"
REFUND: Final = "Refund"
SHIP: Final = "ShipOrder"
CONFIRM: Final = "SendConfirmation"

SERVICE_OF: Final = {CHARGE: "payment", REFUND: "payment", SHIP: "shipping", CONFIRM: "email"}

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
    """Places orders, and runs until the process is stopped."""
    shop = Shop(faults_from_environment(FaultKind))
    async with asyncio.TaskGroup() as orders:
        async for order in spaced_payments(first, number):
            orders.create_task(_placed(shop, order))
    await asyncio.Event().wait()


async def _placed(shop: Shop, order: Order) -> None:
    try:
        await shop.place(order)
    except (Refused, Unavailable) as error:
        print(f"order {order.payment}: {error}", flush=True)  # noqa: T201 - its log


PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8484",
        description="The carrier refuses this order, and the shop refunds it: no action required.",
        expected=Finding("failed", None, None, None, None),
    ),
    PlantedFault(
        payment="8486",
        description="The carrier refuses this order, and the refund fails: the customer was charged for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, SERVICE_OF[REFUND]),
        headline="The bank's gateway timed out",
    ),
    PlantedFault(
        payment="8490",
        description="The last step of this order fails, and the shop reverses nothing.",
        expected=Finding("failed", "uncompensated", "compensation", CHARGE, SERVICE_OF[CHARGE]),
        headline="The mail server refused the recipient",
    ),
    PlantedFault(
        payment="8494",
        description="The shop is killed (SIGKILL) while it ships this order; of the step in flight nothing is sent.",
        expected=Finding("running", "next_step_missing", "forward", SHIP, SERVICE_OF[SHIP]),
        headline=f"no start of {SHIP} was received",
    ),
)


class OpenTelemetryScenario(ShopScenario):
    """Runs the services of a shop with plain OpenTelemetry."""

    planted_faults = PLANTED_FAULTS
    collector_options = ("--mapping", str(Path(__file__).with_suffix(".yaml")), *step_timeouts(SHIP))
    killed = "8494"
    faults: ClassVar = {
        f"8484/{SHIP}": FaultKind.REFUSE,
        f"8486/{SHIP}": FaultKind.REFUSE,
        f"8486/{REFUND}": FaultKind.FAIL,
        f"8490/{CONFIRM}": FaultKind.FAIL,
        f"{killed}/{SHIP}": FaultKind.STALL,
    }


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
