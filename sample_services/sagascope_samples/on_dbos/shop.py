"""The shop: ``python -m sagascope_samples.on_dbos.shop FIRST NUMBER FOLDER`` starts some payments and completes them.

It sends to ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``. ``SAMPLE_FAULTS`` has its faults, as ``PAYMENT/STEP=KIND``.
"""

import asyncio
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Final

from dbos import DBOS, SetWorkflowID
from opentelemetry import trace

from sagascope_samples.calls import Order, Refused
from sagascope_samples.demo.scenario import FIRST_ID, SAGA, payments
from sagascope_samples.faults import Fault, FaultKind, faults_from_environment

SERVICE: Final = "shop"
DEBIT: Final = "debit_wallet"
REFUND: Final = "refund_wallet"
RECORD: Final = "record_in_ledger"
NOTIFY: Final = "notify"

START_INTERVAL_SECONDS: Final = 0.2
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


async def main(orders: list[Order], folder: Path) -> None:
    """Starts a payment every `START_INTERVAL_SECONDS`, and runs until the process is stopped."""
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
    for order in orders:
        with SetWorkflowID(order.payment):
            await DBOS.start_workflow_async(pay, order.payment)
        await asyncio.sleep(START_INTERVAL_SECONDS)
    while True:  # DBOS's own interval is 5 s
        await asyncio.to_thread(trace.get_tracer_provider().force_flush)  # type: ignore[attr-defined]
        await asyncio.sleep(FLUSH_INTERVAL_SECONDS)


if __name__ == "__main__":
    begin = int(sys.argv[1]) - FIRST_ID
    asyncio.run(main(list(islice(payments(), begin, begin + int(sys.argv[2]))), Path(sys.argv[3])))
