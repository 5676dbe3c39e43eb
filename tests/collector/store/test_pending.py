"""What waits to be summarised: in order, claimed, postponed, and up to which commit all was seen."""

from random import Random

import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import Changed
from sagascope_collector.store.pending import Pending

A, B, C = (SagaId("", each) for each in "abc")


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def pending(clock: list[float]) -> Pending:
    return Pending(lambda: clock[0])


def test_those_that_are_quiet_or_wait_for_long_are_claimed(pending: Pending, clock: list[float]) -> None:
    pending.add([A, B], 1)
    clock[0] += 0.5
    pending.add([B, C], 2)
    assert pending.claim(9) == [A, B, C]
    assert pending.claim(9, quiet=0.3, within=1.0) == [A]
    clock[0] += 0.6
    pending.add([B], 3)
    assert pending.claim(9, quiet=0.3, within=1.0) == [A, B, C]
    assert pending.claim(1, quiet=0.3, within=1.0) == [A]
    assert pending.waiting() == Changed(3, pytest.approx(1.1))


def test_what_comes_after_the_claim_stays_pending(pending: Pending) -> None:
    pending.add([A, B], 1)
    assert pending.seen(1) == 0
    pending.claim(9)
    pending.add([A], 2)
    pending.settle([A, B])
    assert (pending.claim(9), pending.seen(2)) == ([A], 1)
    pending.settle([A])
    assert (pending.claim(9), pending.seen(2)) == ([], 2)
    assert pending.waiting() == (0, 0.0)


def test_what_is_postponed_comes_last_and_is_not_forgotten(pending: Pending, clock: list[float]) -> None:
    pending.add([A], 1)
    pending.add([B], 2)
    clock[0] += 5
    pending.claim(9)
    pending.postpone([A, C])
    assert pending.claim(9) == [B, A]
    assert pending.seen(2) == 0
    assert pending.waiting().seconds == 5


def test_nothing_is_ever_said_to_be_seen_that_was_not(pending: Pending) -> None:
    chance, first = Random(1), dict[SagaId, int]()
    for seq in range(1, 1000, 2):
        changed = chance.sample([A, B, C], chance.randint(0, 3))
        pending.add(changed, seq)
        first |= {each: seq for each in changed if each not in first}
        claimed = pending.claim(chance.randint(0, 3))
        late = chance.sample([A, B, C], chance.randint(0, 1))
        pending.add(late, seq + 1)
        pending.settle(claimed)
        for each in claimed:
            first.pop(each, None)
        first |= {each: seq + 1 for each in late if each not in first}
        assert pending.seen(seq + 1) < min(first.values(), default=seq + 2)
        assert set(pending.all()) >= set(first) - set(claimed)
