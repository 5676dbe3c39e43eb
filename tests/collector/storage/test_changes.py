"""Changed sagas: claimed in order, deferred, and never lost between two claims."""

from random import Random

import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.storage.changes import Backlog, Bounds, Changes

A, B, C = (SagaId("", each) for each in "abc")


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def changes(clock: list[float]) -> Changes:
    return Changes(lambda: clock[0])


def add(changes: Changes, seq: int, *sagas: SagaId) -> None:
    changes.add(seq, dict.fromkeys(sagas, 1))


def test_sagas_that_are_quiet_or_wait_for_long_are_claimed(changes: Changes, clock: list[float]) -> None:
    add(changes, 1, A, B)
    clock[0] += 0.5
    add(changes, 2, B, C)
    assert changes.claim(9) == [A, B, C]
    assert changes.claim(9, quiet=0.3, within=1.0) == [A]
    clock[0] += 0.6
    add(changes, 3, B)
    assert changes.claim(9, quiet=0.3, within=1.0) == [A, B, C]
    assert changes.claim(1, quiet=0.3, within=1.0) == [A]
    assert changes.backlog() == Backlog(3, pytest.approx(1.1))


def test_records_after_the_claim_change_a_saga_again(changes: Changes) -> None:
    add(changes, 1, A, B)
    changes.claim(9)
    add(changes, 2, A)
    changes.settle([A, B])
    assert changes.bounds([A, B]) == {A: Bounds(((2, 2),), 0, 1)}
    assert changes.claim(9) == [A]
    changes.settle([A])
    assert changes.claim(9) == []
    assert changes.backlog() == (0, 0.0)


def test_a_deferred_saga_comes_last_and_is_not_forgotten(changes: Changes, clock: list[float]) -> None:
    add(changes, 1, A)
    add(changes, 2, B)
    clock[0] += 5
    changes.claim(9)
    changes.defer([A, C])
    assert changes.claim(9) == [B, A]
    assert changes.backlog().seconds == 5


def test_a_saga_deferred_for_a_time_is_no_delay_and_not_claimed_before(changes: Changes, clock: list[float]) -> None:
    add(changes, 1, A)
    changes.claim(9)
    changes.defer([A], seconds=10.0)
    add(changes, 2, A)
    clock[0] += 9
    assert changes.claim(9) == []
    assert changes.backlog() == (1, 0.0)
    clock[0] += 2
    assert changes.claim(9) == [A]
    assert changes.claimed(A) == Bounds(((1, 2),), 0, 2)


def test_no_record_is_settled_that_was_not_claimed(changes: Changes) -> None:
    chance, waiting = Random(1), dict[SagaId, list[int]]()
    for seq in range(1, 1000, 2):
        changed = chance.sample([A, B, C], chance.randint(0, 3))
        add(changes, seq, *changed)
        for each in changed:
            waiting.setdefault(each, []).append(seq)
        claimed = changes.claim(chance.randint(0, 3))
        late = chance.sample([A, B, C], chance.randint(0, 1))
        add(changes, seq + 1, *late)
        if chance.random() < 0.3:
            deferred = chance.sample(list(claimed), chance.randint(0, len(claimed)))
            changes.defer(deferred)
            claimed = [each for each in claimed if each not in deferred]
        changes.settle(claimed)
        for each in claimed:
            waiting.pop(each)
        for each in late:
            waiting.setdefault(each, []).append(seq + 1)
        found = changes.bounds([A, B, C])
        assert found.keys() == waiting.keys() == changes.all().keys()
        for saga, seqs in waiting.items():
            assert found[saga].records == len(seqs)
            assert all(any(first <= each <= last for first, last in found[saga].intervals) for each in seqs)
