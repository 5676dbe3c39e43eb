"""An outage with three causes at once in the real sample services: three incidents, and every stuck saga in its own."""

import time
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.fault_injection import order
from support.samples import running_samples

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

PAYMENTS = 96
FOUND_WITHIN = 90.0

CAUSES = {
    "hung": ("shipping", "shipping.book", "stall"),
    "retrying": ("wallet", "wallet.debit", "fail"),
    "next_step_missing": ("orchestrator", "ledger.record", "stall"),
}
"""By the reason that must be said: where it goes wrong, and how."""


def test_every_stuck_saga_is_in_the_incident_of_its_cause(tmp_path: Path) -> None:
    chance = Random(8492)
    cause_of = {f"p-{number}": chance.choice([*CAUSES, "", "", "", "", ""]) for number in range(PAYMENTS)}
    with running_collector(tmp_path) as collector, running_samples(tmp_path, telemetry=collector.otlp_http) as samples:
        for payment, cause in cause_of.items():
            if cause:
                service, step, kind = CAUSES[cause]
                samples.plant(service, payment, step, kind, f"account {payment} at 10.0.0.{len(payment)} is locked")
        for payment in cause_of:
            samples.pay(order(payment, chance))
        expected = {
            (step, cause): {payment for payment, why in cause_of.items() if why == cause}
            for cause, (_, step, _) in CAUSES.items()
        }
        _await(collector, expected)


def _await(collector: RunningCollector, expected: dict[tuple[str, str], set[str]]) -> None:
    """Wait until the incidents are these and no others, with these sagas and no others."""
    deadline = time.monotonic() + FOUND_WITHIN
    with httpx.Client(base_url=f"{collector.api}/api/v1", trust_env=False, timeout=30.0) as http:
        while (found := _incidents(http)) != expected and time.monotonic() < deadline:
            time.sleep(0.5)
    assert {cause: len(ids) for cause, ids in found.items()} == {cause: len(ids) for cause, ids in expected.items()}
    assert found == expected


def _incidents(http: httpx.Client) -> dict[tuple[str, str], set[str]]:
    """The ids of the sagas of each incident that goes on."""
    items: list[dict[str, Any]] = http.get("/incidents", params={"state": "open"}).json()["items"]
    found: dict[tuple[str, str], set[str]] = {}
    for each in items:
        asked = {"incident": each["key"], "limit": 500}
        ids = {saga["id"] for saga in http.get("/sagas", params=asked).json()["items"]}
        assert found.setdefault((each["step"], each["reason"]), ids) is ids, "two incidents of one step and reason"
    return found
