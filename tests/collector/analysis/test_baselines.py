"""Plans and step durations learned from finished sagas."""

import random

import pytest

from sagascope_collector.analysis import (
    Baseline,
    Context,
    Diagnosis,
    Saga,
    SagaSample,
    diagnose,
    learn_baseline,
    load_sample,
    rebuild,
    take_sample,
)
from sagascope_collector.analysis.baseline import MIN_SAMPLES, percentile
from sagascope_collector.attention_codes import AttentionCode
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

KEY = ("", "payment")


def assembled(story: str, now: float, saga_id: str = "8492", baseline: Baseline | None = None) -> Saga:
    facts = seen(emit(story, {"id": saga_id, "name": "payment"})).facts(saga_id)
    (saga,) = rebuild(facts, STARTED + round(now * SECOND), {KEY: baseline} if baseline else {})
    return saga


def taught(*stories: str, repeat: int = 1) -> list[SagaSample]:
    samples = []
    for number in range(repeat):
        for place, story in enumerate(stories):
            learned = take_sample(assembled(story, 1000, f"{number}-{place}"))
            assert learned is not None
            samples.append(learned)
    return samples


def diagnosed(story: str, now: float, baseline: Baseline) -> tuple[Saga, Diagnosis]:
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    at = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, at, {KEY: baseline})
    return saga, diagnose(saga, facts.instances, Context(at, baselines={KEY: baseline}))


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
COMPENSATED = """
    order-1    0..9 root outcome=compensated
    order-1    1..2 run order.place
    payment-1  3..4 run payment.take
    shipping-1 5..6 run shipping.book error="Refused: no such address"
    payment-1  7..8 run payment.return compensates=payment.take
"""


def test_one_finished_saga_teaches_the_plan_of_a_choreography() -> None:
    saga, answer = diagnosed(STUCK_AFTER_PAYMENT, 100, learn_baseline(taught(LINEAR)))
    assert saga.plan.source == "learned"
    assert [step.name for step in saga.plan.steps] == ["order.place", "payment.take", "shipping.book"]
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step) == (AttentionCode.NEXT_STEP_MISSING, "shipping.book")


def test_without_finished_sagas_no_step_is_missing() -> None:
    _, answer = diagnosed(STUCK_AFTER_PAYMENT, 100, learn_baseline([]))
    assert answer.verdict is None


def test_an_open_saga_is_no_sample() -> None:
    assert take_sample(assembled(STUCK_AFTER_PAYMENT, 100)) is None


def test_compensations_are_learned_from_compensated_sagas() -> None:
    saga, answer = diagnosed(
        STUCK_AFTER_PAYMENT.replace("order-1    1..2", "order-1 0..8 root outcome=failed\norder-1    1..2"),
        100,
        learn_baseline(taught(LINEAR, COMPENSATED)),
    )
    assert {step.name: step.compensation for step in saga.plan.steps}["payment.take"] == "payment.return"
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step) == (AttentionCode.UNCOMPENSATED, "payment.take")


def test_a_step_that_does_not_always_come_is_not_missed() -> None:
    without = LINEAR.replace("    payment-1  3..4 run payment.take\n", "")
    baseline = learn_baseline(taught(LINEAR, without, repeat=5))
    saga, _ = diagnosed(STUCK_AFTER_PAYMENT, 100, baseline)
    assert [step.name for step in saga.plan.steps if step.optional] == ["payment.take"]
    _, answer = diagnosed("order-1 1..2 run order.place", 100, baseline)
    assert answer.verdict is not None
    assert answer.step == "order.place", "either of two may follow: the last one done is named"


def test_the_usual_successor_is_named_where_one_is_usual() -> None:
    without = LINEAR.replace("    payment-1  3..4 run payment.take\n", "")
    baseline = learn_baseline(taught(*[LINEAR] * 9, without))
    _, answer = diagnosed("order-1 1..2 run order.place", 100, baseline)
    assert answer.step == "payment.take"


def test_parallel_branches_are_not_put_in_order() -> None:
    one = """
        order-1 0..9 root outcome=completed
        order-1 1..2 run reserve
        wallet-1 3..6 run charge
        depot-1 3..5 run pack
        order-1 7..8 run send
    """
    other = one.replace("3..6 run charge", "3..4 run charge")
    plan = learn_baseline(taught(one, other)).plan("")
    assert plan is not None
    after = {step.name: step.after for step in plan.steps}
    assert after == {"reserve": (), "charge": ("reserve",), "pack": ("reserve",), "send": ("charge", "pack")}


def test_a_new_version_of_the_flow_raises_no_alarm_on_old_sagas() -> None:
    longer = LINEAR + "    bonus-1    7..8 run bonus.grant\n"
    new = [
        take_sample(rebuild(seen(emit(longer, {"id": str(n), "name": "payment"}, VERSION_2)).facts(str(n)))[0])
        for n in range(30)
    ]
    baseline = learn_baseline([*taught(LINEAR, repeat=30), *(each for each in new if each)])
    done = "\n".join(LINEAR.splitlines()[2:])
    saga, answer = diagnosed(done, 12, baseline)
    assert "bonus.grant" not in [step.name for step in saga.plan.steps]
    assert answer.verdict is None


VERSION_2 = {name: {"version": "2.0"} for name in ("order-1", "payment-1", "shipping-1", "bonus-1")}


@pytest.mark.parametrize(("seconds", "reason"), [(40, None), (70, AttentionCode.HUNG)])
def test_a_step_is_late_after_three_times_its_p99(seconds: float, reason: AttentionCode | None) -> None:
    slow = LINEAR.replace("3..4", "3..23").replace("5..6", "25..26").replace("0..9", "0..29")
    baseline = learn_baseline(taught(slow, repeat=MIN_SAMPLES))
    assert baseline.duration_limits["payment.take"] == 60
    _, answer = diagnosed("order-1 1..2 run order.place\npayment-1 3.. run payment.take", 3 + seconds, baseline)
    assert (answer.verdict.reason if answer.verdict else None) == reason


def test_usual_times_are_known_from_twenty_on_and_are_ten_seconds_at_least() -> None:
    assert learn_baseline(taught(LINEAR, repeat=MIN_SAMPLES - 1)).duration_limits == {}
    assert learn_baseline(taught(LINEAR, repeat=MIN_SAMPLES)).duration_limits["payment.take"] == 10


def test_samples_are_stored_as_text_and_learned_in_any_order() -> None:
    samples = taught(LINEAR, COMPENSATED, repeat=3)
    assert [load_sample(each.dump()) for each in samples] == samples
    shuffled = random.Random(1).sample(samples * 2, len(samples) * 2)
    assert learn_baseline(shuffled) == learn_baseline(samples)


@pytest.mark.parametrize(("share", "rank"), [(0.99, 99), (0.5, 50), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, rank: int) -> None:
    assert percentile(range(1, 101), share) == rank


CALLED = """
    order-1 0..9 root outcome=completed
    order-1 1..2 call order.place
    order-1 3..4 call payment.take
    order-1 5..6 call shipping.book
"""


@pytest.mark.parametrize(("beats", "step"), [("0..0", "payment.take"), ("0..10", "order.place")])
def test_a_call_was_answered_where_a_step_that_waits_for_it_was_called_and_no_heartbeat_lists_it(
    beats: str, step: str
) -> None:
    baseline = learn_baseline(taught(CALLED))
    lost = (
        f"order-1 0.. root\norder-1 1.. call order.place\norder-1 3.. call payment.take\norder-1 {beats} beats every=5"
    )
    _, answer = diagnosed(lost, 60, baseline)
    assert answer.verdict is not None
    assert answer.verdict.reason is AttentionCode.INSTANCE_LOST
    assert answer.step == "payment.take"
    _, answer = diagnosed(lost.replace("3.. call payment.take", "3..4 call payment.take"), 60, baseline)
    assert answer.step == ("shipping.book" if step == "payment.take" else "order.place")


def test_a_transition_over_a_step_that_failed_teaches_no_limit() -> None:
    late = COMPENSATED.replace("5..6", "5..65").replace("7..8", "66..67").replace("0..9", "0..68")
    baseline = learn_baseline(taught(*[LINEAR] * 4, late, repeat=MIN_SAMPLES))
    assert baseline.transition_limits["payment.take"] == 10
