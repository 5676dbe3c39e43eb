"""Orders of a shop with plain OpenTelemetry: the planted faults, and the expected findings."""

from pathlib import Path
from typing import ClassVar, Final

from sagascope_samples.demo.scenario import Finding, PlantedFault
from sagascope_samples.demo.shop import ShopScenario
from sagascope_samples.faults import FaultKind
from sagascope_samples.on_opentelemetry.shop import CHARGE, CONFIRM, REFUND, SERVICE_OF, SHIP

MAPPING: Final = Path(__file__).with_name("mapping.yaml")

STEP_TIMEOUT_SECONDS: Final = 4
"""Time after which a step that has not started needs attention."""

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
    payments = 14
    collector_options = ("--mapping", str(MAPPING), "--step-timeout", f"payment/{SHIP}={STEP_TIMEOUT_SECONDS}")
    shop = "sagascope_samples.on_opentelemetry.shop"
    killed = "8494"
    faults: ClassVar = {
        f"8484/{SHIP}": FaultKind.REFUSE,
        f"8486/{SHIP}": FaultKind.REFUSE,
        f"8486/{REFUND}": FaultKind.FAIL,
        f"8490/{CONFIRM}": FaultKind.FAIL,
        f"{killed}/{SHIP}": FaultKind.STALL,
    }
