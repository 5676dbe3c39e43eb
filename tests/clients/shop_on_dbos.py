"""A shop on DBOS, run by its own interpreter until it is killed: folder, database, OTLP address, orders to begin.

Without an OTLP address (``-``) it sends no telemetry. The first try of each charge fails; a charge of an order called
`killed-...` waits until the file `recovered` exists, and one called `twice-...` reserves twice. One called `asked-...`
waits for an approval, which it gets when the file `approved` exists; one called `asleep-...` sleeps for an hour before
its charge; one called `refused-...` is refunded; of one called `failing-...` a step is retried without end.
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

from dbos import DBOS, SetWorkflowID
from opentelemetry import trace

home, database, otlp, *orders = sys.argv[1:]
folder = Path(home)
sends_logs = otlp != "-" and find_spec("opentelemetry.instrumentation") is not None
DBOS(
    config={
        "name": "shop",
        "system_database_url": database,
        "enable_otlp": otlp != "-",
        "otlp_traces_endpoints": [f"{otlp}/v1/traces"],
        "otlp_logs_endpoints": [f"{otlp}/v1/logs"] if sends_logs else [],
        "run_admin_server": False,
    }
)


@DBOS.step()
def reserve(order: str) -> None:
    pass


@DBOS.step(retries_allowed=True, interval_seconds=0.1, max_attempts=3)
def charge(order: str) -> None:
    if order.startswith("killed") and not (folder / "recovered").exists():
        print(f"charging {order}", flush=True)
        time.sleep(600)
    tried = folder / order
    if not tried.exists():
        tried.touch()
        raise RuntimeError("no route to bank")


@DBOS.step(retries_allowed=True, interval_seconds=0.5, backoff_rate=1, max_attempts=1000)
def pack(order: str) -> None:
    raise RuntimeError("no boxes left")


@DBOS.step()
def ship(order: str) -> None:
    if order.startswith("refused"):
        raise ValueError("no carrier")


@DBOS.step()
def refund_charge(order: str) -> None:
    pass


@DBOS.workflow()
def checkout(order: str) -> None:
    reserve(order)
    if order.startswith("twice"):
        DBOS.sleep(0.01)
        reserve(order)
    if order.startswith("asked"):
        DBOS.recv("approval", timeout_seconds=3600)
    if order.startswith("asleep"):
        DBOS.sleep(3600)
    charge(order)
    if order.startswith("failing"):
        pack(order)
    try:
        ship(order)
    except ValueError:
        refund_charge(order)
        raise


DBOS.launch()
for order in orders:
    with SetWorkflowID(order):
        handle = DBOS.start_workflow(checkout, order)
    if not order.startswith(("killed", "asked", "asleep", "refused", "failing")):
        handle.get_result()
is_approved = False
while True:
    if not is_approved and (folder / "approved").exists():
        is_approved = True
        for order in orders:
            if order.startswith("asked"):
                DBOS.send(order, "yes", "approval")
    if otlp != "-":
        trace.get_tracer_provider().force_flush()
    time.sleep(0.1)
