"""Payments as DBOS workflows: the planted faults, and the expected findings."""

from pathlib import Path
from typing import ClassVar, Final

from sagascope_samples.demo.scenario import SAGA, Finding, PlantedFault
from sagascope_samples.demo.shop import ShopScenario
from sagascope_samples.faults import FaultKind
from sagascope_samples.on_dbos.shop import RECORD, REFUND, SERVICE

MAPPING: Final = Path(__file__).with_name("mapping.yaml")

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

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
    payments = 14
    collector_options = ("--mapping", str(MAPPING), "--step-timeout", f"{SAGA}/{RECORD}={STEP_TIMEOUT_SECONDS}")
    shop = "sagascope_samples.on_dbos.shop"
    killed = "8492"
    faults: ClassVar = {
        f"8484/{RECORD}": FaultKind.REFUSE,
        f"8486/{RECORD}": FaultKind.REFUSE,
        f"8486/{REFUND}": FaultKind.FAIL,
        f"{killed}/{RECORD}": FaultKind.STALL,
    }
