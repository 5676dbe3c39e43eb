"""The queue: bounded, fair to senders, and in order for each."""

from collections import Counter, defaultdict

from hypothesis import given, strategies as st

from sagascope_collector.ingest import FairQueue

CAPACITY = 100
OFFERS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60)), max_size=40)


def drain(queue: FairQueue[int]) -> list[int]:
    taken = []
    while item := queue.take():
        taken.append(item.content)
    return taken


@given(OFFERS)
def test_nothing_vanishes_and_the_bound_holds(offers: list[tuple[str, int]]) -> None:
    queue: FairQueue[int] = FairQueue(CAPACITY)
    refused: list[int] = []
    for number, (sender, cost) in enumerate(offers):
        taken, ousted = queue.offer(number, sender, cost)
        refused += ousted if taken else [*ousted, number]
        assert queue.cost <= CAPACITY
    taken_out = drain(queue)
    assert Counter(refused + taken_out) == Counter(range(len(offers)))
    assert (queue.cost, queue.length) == (0, 0)
    by_sender = defaultdict(list)
    for number in taken_out:
        by_sender[offers[number][0]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_sender.values())


@given(OFFERS)
def test_whoever_holds_less_than_his_share_is_never_refused(offers: list[tuple[str, int]]) -> None:
    queue: FairQueue[int] = FairQueue(CAPACITY)
    held: Counter[str] = Counter()
    for number, (sender, cost) in enumerate(offers):
        taken, ousted = queue.offer(number, sender, cost)
        for each in ousted:
            held[offers[each][0]] -= offers[each][1]
        if taken:
            held[sender] += cost
        else:
            assert held[sender] + cost >= max(held.values())


def test_senders_are_served_in_turn() -> None:
    queue: FairQueue[int] = FairQueue(CAPACITY)
    for number in range(10):
        queue.offer(number, "flood", 1)
    queue.offer(99, "other", 1)
    assert drain(queue)[:3] == [0, 99, 1]


def test_an_empty_queue_takes_anything() -> None:
    queue: FairQueue[int] = FairQueue(CAPACITY)
    assert queue.offer(1, "a", CAPACITY * 9) == (True, [])
    assert queue.offer(2, "a", 1) == (False, [])
    assert queue.offer(3, "b", 1) == (True, [1])
