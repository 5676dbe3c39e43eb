"""The parts of the demo on Temporal that need no server."""

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

from sagascope_samples.on_temporal.activities import SECONDS, Work
from sagascope_samples.on_temporal.faults import FAULTS, Trouble, planted, written
from sagascope_samples.on_temporal.payment import BANK, PAYMENTS, WAREHOUSE
from sagascope_samples.on_temporal.story import FAULTS as STORY
from sagascope_samples.on_temporal.story import NIGHT, PLANTS


def test_each_activity_is_run_by_one_worker_and_nobody_works_at_night() -> None:
    run = {name: len(Work({}).of(name)) for name in (PAYMENTS, BANK, WAREHOUSE, NIGHT)}
    assert run == {PAYMENTS: 0, BANK: 2, WAREHOUSE: 1, NIGHT: 0}
    assert sum(run.values()) == len(SECONDS)


def test_faults_reach_the_workers_as_they_were_planted() -> None:
    assert planted(written(STORY)) == STORY
    assert planted({}) == {}
    assert {where.partition("/")[2] for where in STORY} <= SECONDS.keys()
    assert {where.partition("/")[0] for where in STORY} <= {plant.payment for plant in PLANTS}


def test_a_trouble_that_does_not_exist_is_refused() -> None:
    assert planted({FAULTS: "8484/charge=fail"}) == {"8484/charge": Trouble.FAIL}
    with pytest.raises(ValueError, match="explode"):
        planted({FAULTS: "8484/charge=explode"})
