"""The demo on Temporal, as far as it needs no server."""

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from sagascope_samples.chassis import FAULTS_VARIABLE, FaultKind, faults_from_environment, faults_to_environment
from sagascope_samples.on_temporal import (
    ACTIVITY_FAULTS,
    BANK,
    PAYMENTS,
    PLANTED_FAULTS,
    UNSERVED_QUEUE,
    WAREHOUSE,
    WORK_SECONDS,
    Activities,
)


def test_each_activity_runs_in_one_worker() -> None:
    activities = {name: len(Activities({}).of(name)) for name in (PAYMENTS, BANK, WAREHOUSE, UNSERVED_QUEUE)}
    assert activities == {PAYMENTS: 0, BANK: 2, WAREHOUSE: 1, UNSERVED_QUEUE: 0}
    assert sum(activities.values()) == len(WORK_SECONDS)


def test_faults_reach_the_workers() -> None:
    assert faults_from_environment(FaultKind, faults_to_environment(ACTIVITY_FAULTS)) == ACTIVITY_FAULTS
    assert faults_from_environment(FaultKind, {}) == {}
    assert {target.partition("/")[2] for target in ACTIVITY_FAULTS} <= WORK_SECONDS.keys()
    assert {target.partition("/")[0] for target in ACTIVITY_FAULTS} <= {each.payment for each in PLANTED_FAULTS}


def test_unknown_fault_is_refused() -> None:
    assert faults_from_environment(FaultKind, {FAULTS_VARIABLE: "8484/charge=fail"}) == {"8484/charge": FaultKind.FAIL}
    with pytest.raises(ValueError, match="explode"):
        faults_from_environment(FaultKind, {FAULTS_VARIABLE: "8484/charge=explode"})
