"""Every step of a plan can start, even where the declared plan has cycles."""

import random
from collections.abc import Sequence

from hypothesis import given, strategies as st

from sagascope_collector.analysis.model import PlannedStep
from sagascope_collector.analysis.plans import without_cycles

NAMES = [f"s{number}" for number in range(6)]
PREDECESSORS = st.none() | st.lists(st.sampled_from([*NAMES, "unknown"]), max_size=4).map(tuple)


def step(name: str, after: Sequence[str] | None) -> PlannedStep:
    return PlannedStep(name, None, None, after=None if after is None else tuple(after))


def doable(steps: Sequence[PlannedStep]) -> set[str]:
    """The steps that can be done one after the other; what is not in the plan is not waited for."""
    names, done = {each.name for each in steps}, set[str]()
    before = dict(zip(names_of(steps), [None, *names_of(steps)], strict=False))
    while True:
        ready = {
            each.name
            for each in steps
            if set(each.after if each.after is not None else filter(None, [before[each.name]])) & names
            <= done | {each.name}
        }
        if ready <= done:
            return done
        done |= ready


def names_of(steps: Sequence[PlannedStep]) -> list[str]:
    return [each.name for each in steps]


@given(st.lists(PREDECESSORS, min_size=1, max_size=len(NAMES)))
def test_no_ring_is_left(after: list[tuple[str, ...] | None]) -> None:
    steps = [step(name, of) for name, of in zip(NAMES, after, strict=False)]
    ordered = without_cycles(steps)
    assert names_of(ordered) == names_of(steps)
    assert doable(ordered) == set(names_of(steps))
    if doable(steps) == set(names_of(steps)):
        assert ordered == tuple(steps)


def test_only_the_first_of_a_ring_waits_for_less() -> None:
    plan = [step("a", ["b"]), step("b", ["a"]), step("c", ["a", "b"])]
    assert without_cycles(plan) == (step("a", []), plan[1], plan[2])


def test_a_tangled_plan_of_a_thousand_steps_is_quick() -> None:
    chance, names = random.Random(1), [f"s{number}" for number in range(1_000)]
    assert len(without_cycles([step(name, chance.sample(names, 10)) for name in names])) == 1_000
