"""Every error has its HTTP status, and its exit status."""

from collections.abc import Iterator

import pytest

from sagascope_collector import client, errors
from sagascope_collector.api import responses
from sagascope_collector.cli import terminal


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from leaves(each)


@pytest.mark.parametrize("leaf", list(leaves(errors.SagascopeError)))
def test_every_leaf_has_a_status_and_a_kind_of_its_own(leaf: type[errors.SagascopeError]) -> None:
    assert responses.status_of(leaf("why")) == responses.STATUS[leaf]
    assert leaf.kind()
    assert leaf.title not in {errors.SagascopeError.title, errors.Refused.title, errors.CannotStart.title}


def test_the_caller_s_faults_are_4xx_and_all_others_5xx() -> None:
    for kind, status in responses.STATUS.items():
        assert (400 <= status < 500) == issubclass(kind, errors.Refused), kind


def test_kinds_are_written_with_hyphens() -> None:
    assert errors.StorageUnavailable.kind() == "storage-unavailable"


@pytest.mark.parametrize("leaf", [*leaves(errors.SagascopeError), *leaves(client.ClientError)])
def test_every_leaf_has_an_exit_status(leaf: type[Exception]) -> None:
    error = leaf.__new__(leaf)
    assert terminal.status_of(error) == (terminal.NOT_FOUND if leaf.__name__ == "NotFound" else terminal.NOT_DONE)


def test_a_fault_of_ours_has_none() -> None:
    assert terminal.status_of(ZeroDivisionError()) is None
