"""The parts of the demo over NATS that need no broker."""

import pytest

from sagascope_samples.choreography.faults import FAULTS, Trouble, planted, written
from sagascope_samples.choreography.roles import ROLES
from sagascope_samples.choreography.story import DOWN, PLANTS, faults_of


def test_each_message_that_is_published_is_taken_by_one_service() -> None:
    given = sorted(role.gives for role in ROLES.values() if role.gives)
    assert given == sorted(role.takes for role in ROLES.values() if role.service != "checkout")


def test_faults_reach_their_service_and_no_other() -> None:
    for plant in PLANTS:
        assert plant.service in ROLES
        read = planted(written(faults_of(plant.service)))
        assert read.get(plant.payment) == plant.trouble
    assert planted(written(faults_of(DOWN))) == {}
    assert planted({}) == {}


def test_a_trouble_that_does_not_exist_is_refused() -> None:
    assert planted({FAULTS: "8486=lose"}) == {"8486": Trouble.LOSE}
    with pytest.raises(ValueError, match="explode"):
        planted({FAULTS: "8486=explode"})
