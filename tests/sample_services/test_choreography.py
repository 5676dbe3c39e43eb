"""The demo over NATS, as far as it needs no broker."""

import pytest

from sagascope_samples.chassis import FAULTS_VARIABLE, faults_from_environment, faults_to_environment
from sagascope_samples.choreography import KILLED_SERVICE, PLANTED_FAULTS, ROLES, MessageFault, faults_of


def test_each_published_message_has_one_consumer() -> None:
    published = sorted(role.publishes for role in ROLES.values() if role.publishes)
    assert published == sorted(role.consumes for role in ROLES.values() if role.service != "checkout")


def test_faults_reach_their_service_only() -> None:
    for planted in PLANTED_FAULTS:
        assert planted.service in ROLES
        faults = faults_from_environment(MessageFault, faults_to_environment(faults_of(planted.service)))
        assert faults.get(planted.payment) == planted.fault
    assert faults_from_environment(MessageFault, faults_to_environment(faults_of(KILLED_SERVICE))) == {}
    assert faults_from_environment(MessageFault, {}) == {}


def test_unknown_fault_is_refused() -> None:
    assert faults_from_environment(MessageFault, {FAULTS_VARIABLE: "8486=lose"}) == {"8486": MessageFault.LOSE}
    with pytest.raises(ValueError, match="explode"):
        faults_from_environment(MessageFault, {FAULTS_VARIABLE: "8486=explode"})
