"""Plans and usual times, learned from finished sagas."""

import random

import pytest

from sagascope_collector.analysis import (
    Context,
    Experience,
    Judgement,
    Lesson,
    Saga,
    judge,
    learn,
    lesson,
    load,
    rebuild,
)
from sagascope_collector.analysis.experience import ENOUGH, percentile
from sagascope_collector.analysis.model import Reason
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, tell

KEY = ("", "payment")


def told(story: str, now: float, saga_id: str = "8492", experience: Experience | None = None) -> Saga:
    facts = seen(tell(story, {"id": saga_id, "name": "payment"})).facts(saga_id)
    (saga,) = rebuild(facts, STARTED + round(now * SECOND), {KEY: experience} if experience else {})
    return saga


def taught(*stories: str, repeat: int = 1) -> list[Lesson]:
    lessons = []
    for number in range(repeat):
        for place, story in enumerate(stories):
            learned = lesson(told(story, 1000, f"{number}-{place}"))
            assert learned is not None
            lessons.append(learned)
    return lessons


def judged(story: str, now: float, experience: Experience) -> tuple[Saga, Judgement]:
    facts = seen(tell(story, {"id": "8492", "name": "payment"})).facts("8492")
    at = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, at, {KEY: experience})
    return saga, judge(saga, facts.instances, Context(at, experience={KEY: experience}))


LINEAR = """
    order-1    0..9 root outcome=completed
    order-1    1..2 run order.place
    payment-1  3..4 run payment.take
    shipping-1 5..6 run shipping.book
"""
STUCK_AFTER_PAYMENT = """
    order-1    1..2 run order.place
    payment-1  3..4 run payment.take
"""
UNDONE = """
    order-1    0..9 root outcome=compensated
    order-1    1..2 run order.place
    payment-1  3..4 run payment.take
    shipping-1 5..6 run shipping.book error="Refused: no such address"
    payment-1  7..8 run payment.return undoes=payment.take
"""


def test_one_finished_saga_teaches_the_plan_of_a_choreography() -> None:
    saga, said = judged(STUCK_AFTER_PAYMENT, 100, learn(taught(LINEAR)))
    assert saga.plan.source == "learned"
    assert [step.name for step in saga.plan.steps] == ["order.place", "payment.take", "shipping.book"]
    assert said.verdict is not None
    assert (said.verdict.reason, said.step) == (Reason.NEXT_STEP_MISSING, "shipping.book")


def test_with_nothing_finished_nothing_is_missed() -> None:
    _, said = judged(STUCK_AFTER_PAYMENT, 100, learn([]))
    assert said.verdict is None


def test_a_saga_that_is_open_teaches_nothing() -> None:
    assert lesson(told(STUCK_AFTER_PAYMENT, 100)) is None


def test_undos_are_learned_from_sagas_that_were_undone() -> None:
    saga, said = judged(
        STUCK_AFTER_PAYMENT.replace("order-1    1..2", "order-1 0..8 root outcome=failed\norder-1    1..2"),
        100,
        learn(taught(LINEAR, UNDONE)),
    )
    assert {step.name: step.compensation for step in saga.plan.steps}["payment.take"] == "payment.return"
    assert said.verdict is not None
    assert (said.verdict.reason, said.step) == (Reason.UNCOMPENSATED, "payment.take")


def test_a_step_that_does_not_always_come_is_not_missed() -> None:
    without = LINEAR.replace("    payment-1  3..4 run payment.take\n", "")
    experience = learn(taught(LINEAR, without, repeat=5))
    saga, _ = judged(STUCK_AFTER_PAYMENT, 100, experience)
    assert [step.name for step in saga.plan.steps if step.optional] == ["payment.take"]
    _, said = judged("order-1 1..2 run order.place", 100, experience)
    assert said.verdict is not None
    assert said.step == "order.place", "either of two may follow: the last one done is named"


def test_the_usual_successor_is_named_where_one_is_usual() -> None:
    without = LINEAR.replace("    payment-1  3..4 run payment.take\n", "")
    experience = learn(taught(*[LINEAR] * 9, without))
    _, said = judged("order-1 1..2 run order.place", 100, experience)
    assert said.step == "payment.take"


def test_parallel_branches_are_not_put_in_order() -> None:
    one = """
        order-1 0..9 root outcome=completed
        order-1 1..2 run reserve
        wallet-1 3..6 run charge
        depot-1 3..5 run pack
        order-1 7..8 run send
    """
    other = one.replace("3..6 run charge", "3..4 run charge")
    plan = learn(taught(one, other)).plan("")
    assert plan is not None
    after = {step.name: step.after for step in plan.steps}
    assert after == {"reserve": (), "charge": ("reserve",), "pack": ("reserve",), "send": ("charge", "pack")}


def test_a_new_version_of_the_flow_raises_no_alarm_on_old_sagas() -> None:
    longer = LINEAR + "    bonus-1    7..8 run bonus.grant\n"
    new = [
        lesson(rebuild(seen(tell(longer, {"id": str(n), "name": "payment"}, VERSION_2)).facts(str(n)))[0])
        for n in range(30)
    ]
    experience = learn([*taught(LINEAR, repeat=30), *(each for each in new if each)])
    done = "\n".join(LINEAR.splitlines()[2:])
    saga, said = judged(done, 12, experience)
    assert "bonus.grant" not in [step.name for step in saga.plan.steps]
    assert said.verdict is None


VERSION_2 = {name: {"version": "2.0"} for name in ("order-1", "payment-1", "shipping-1", "bonus-1")}


@pytest.mark.parametrize(("seconds", "reason"), [(40, None), (70, Reason.HUNG)])
def test_a_step_may_take_three_times_its_usual_longest(seconds: float, reason: Reason | None) -> None:
    slow = LINEAR.replace("3..4", "3..23").replace("5..6", "25..26").replace("0..9", "0..29")
    experience = learn(taught(slow, repeat=ENOUGH))
    assert experience.allowed["payment.take"] == 60
    _, said = judged("order-1 1..2 run order.place\npayment-1 3.. run payment.take", 3 + seconds, experience)
    assert (said.verdict.reason if said.verdict else None) == reason


def test_usual_times_are_known_from_twenty_on_and_are_ten_seconds_at_least() -> None:
    assert learn(taught(LINEAR, repeat=ENOUGH - 1)).allowed == {}
    assert learn(taught(LINEAR, repeat=ENOUGH)).allowed["payment.take"] == 10


def test_lessons_are_kept_as_text_and_learned_in_any_order() -> None:
    lessons = taught(LINEAR, UNDONE, repeat=3)
    assert [load(each.dump()) for each in lessons] == lessons
    shuffled = random.Random(1).sample(lessons * 2, len(lessons) * 2)
    assert learn(shuffled) == learn(lessons)


@pytest.mark.parametrize(("share", "rank"), [(0.99, 99), (0.5, 50), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, rank: int) -> None:
    assert percentile(range(1, 101), share) == rank
