"""Payments as DBOS workflows, with DBOS's own telemetry alone. ``sagascope demo --engine dbos`` runs it.

``python -m sagascope_samples.on_dbos FIRST NUMBER FOLDER`` starts some payments and completes them. It sends to
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``. ``SAMPLE_FAULTS`` has its faults, as ``PAYMENT/STEP=KIND``.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import ClassVar, Final

from dbos import DBOS, SetWorkflowID
from opentelemetry import trace

from sagascope_samples.calls import Refused
from sagascope_samples.chassis import Fault, FaultKind, faults_from_environment
from sagascope_samples.demo.scenario import SAGA, Finding, PlantedFault, ShopScenario, spaced_payments, step_timeouts

SERVICE: Final = "shop"
DEBIT: Final = "debit_wallet"
REFUND: Final = "refund_wallet"
RECORD: Final = "record_in_ledger"
NOTIFY: Final = "notify"

FLUSH_INTERVAL_SECONDS: Final = 0.2
WORK_SECONDS: Final = 0.03

ERROR_MESSAGES: Final = {
    RECORD: "The ledger's period is closed",
    REFUND: "The bank rejected the refund",
    NOTIFY: "The mail server refused the recipient",
}

FAULTS: Final = faults_from_environment(FaultKind)


async def _work(step: str, payment: str) -> None:
    await asyncio.sleep(WORK_SECONDS)
    if kind := FAULTS.get(f"{payment}/{step}"):
        await Fault(kind, ERROR_MESSAGES.get(step, "")).trigger()


@DBOS.step(name=DEBIT)
async def debit_wallet(payment: str) -> None:
    """Debits the customer's wallet."""
    await _work(DEBIT, payment)


@DBOS.step(name=REFUND)
async def refund_wallet(payment: str) -> None:
    """Reverses the debit."""
    await _work(REFUND, payment)


@DBOS.step(name=RECORD)
async def record_in_ledger(payment: str) -> None:
    """Records the payment."""
    await _work(RECORD, payment)


@DBOS.step(name=NOTIFY, retries_allowed=True, interval_seconds=0.1, max_attempts=3)
async def notify(payment: str) -> None:
    """Tells the customer."""
    await _work(NOTIFY, payment)


@DBOS.workflow(name=SAGA)
async def pay(payment: str) -> None:
    """Debits, records and notifies; refunds where nothing can be recorded."""
    await debit_wallet(payment)
    try:
        await record_in_ledger(payment)
    except Refused:
        await refund_wallet(payment)
        raise
    await notify(payment)


async def main(first: int, number: int, folder: Path) -> None:
    """Starts payments, and runs until the process is stopped."""
    endpoint = os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    DBOS(
        config={
            "name": SERVICE,
            "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}",
            "enable_otlp": True,
            "otlp_traces_endpoints": [endpoint],
        }
    )
    DBOS.launch()
    async for order in spaced_payments(first, number):
        with SetWorkflowID(order.payment):
            await DBOS.start_workflow_async(pay, order.payment)
    while True:  # DBOS's own interval is 5 s
        await asyncio.to_thread(trace.get_tracer_provider().force_flush)  # type: ignore[attr-defined]
        await asyncio.sleep(FLUSH_INTERVAL_SECONDS)


PLANTED_FAULTS: Final = (
    PlantedFault(
        payment="8484",
        description="The ledger refuses this payment, and the workflow refunds it: no action required.",
        expected=Finding("failed", None, None, None, None),
    ),
    PlantedFault(
        payment="8486",
        description="The ledger refuses this payment, and the refund fails: the customer paid for nothing.",
        expected=Finding("failed", "compensation_failed", "compensation", REFUND, SERVICE),
        headline="The bank rejected the refund",
    ),
    PlantedFault(
        payment="8492",
        description="The shop is killed (SIGKILL) while it records this payment; of the step in flight nothing came.",
        expected=Finding("running", "next_step_missing", "forward", RECORD, SERVICE),
        headline=f"no start of {RECORD} was received",
    ),
)


class DbosScenario(ShopScenario):
    """Runs payments as DBOS workflows."""

    planted_faults = PLANTED_FAULTS
    collector_options = ("--mapping", str(Path(__file__).with_suffix(".yaml")), *step_timeouts(RECORD))
    killed = "8492"
    faults: ClassVar = {
        f"8484/{RECORD}": FaultKind.REFUSE,
        f"8486/{RECORD}": FaultKind.REFUSE,
        f"8486/{REFUND}": FaultKind.FAIL,
        f"{killed}/{RECORD}": FaultKind.STALL,
    }


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
