"""What is recommended and to be verified for a saga of an incident: items of a step, and participants."""

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.incidents.affected_sagas import (
    RecommendedAction,
    Verification,
    recommended_action,
    verifications,
)
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

ONE_OF_TWO_FAILED = """
    orchestrator-1 0..   root plan="pick/unpick, pack, send"
    orchestrator-1 1..5  call pick key=item-1 {} error="Refused: sold out"
    orchestrator-1 2..2.5 call pick key=item-2 idem=P2
    orchestrator-1 3..3.5 call pack key=item-2
    orchestrator-1 0..5  beats every=2
"""

ONE_OF_TWO_COMPENSATED = """
    orchestrator-1 0..9  root plan="pick/unpick, send" outcome=failed
    depot-1 1..2         run  pick key=item-1 idem=P1
    depot-1 2..3         run  pick key=item-2 idem=P2
    post-1  4..5         run  send error="Refused: no such street"
    depot-1 6..6.5       run  unpick key=item-2 compensates=pick idem=U2
"""


PREPARED = """
    stock-1  1..2   run  stock type=prepare
    wallet-1 1..2   run  wallet type=prepare
"""


def advice(story: str) -> tuple[RecommendedAction, tuple[Verification, ...]]:
    """The recommended action, and the work to verify."""
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    now = STARTED + 100 * SECOND
    saga = min(rebuild(facts, now), key=lambda each: each.key.run)
    diagnosis = diagnose(saga, facts.instances, Context(now))
    return recommended_action(saga, diagnosis), verifications(saga, diagnosis)


def recommended(story: str) -> tuple[RecommendedAction, list[str | None]]:
    """The recommended action, and the idempotency keys of the work to verify."""
    action, work = advice(story)
    return action, [each.attempt and each.attempt.idempotency_key for each in work]


def test_the_key_of_another_item_does_not_make_it_safe_to_resume() -> None:
    assert recommended(ONE_OF_TWO_FAILED.format("idem=P1"))[0] is RecommendedAction.RESUME
    assert recommended(ONE_OF_TWO_FAILED.format(""))[0] is RecommendedAction.VERIFY_FIRST


def test_only_items_that_are_in_effect_are_verified() -> None:
    assert recommended(ONE_OF_TWO_COMPENSATED)[1] == ["P1"]


def test_every_participant_of_a_two_phase_commit_is_verified() -> None:
    decided = PREPARED + "stock-1 3..4 run stock type=commit idem=C1\n    wallet-1 3..5 run wallet type=rollback"
    for story in (decided, PREPARED):
        action, work = advice(story)
        assert action is RecommendedAction.VERIFY_FIRST
        assert [each.service for each in work] == ["stock", "wallet"]
    assert recommended(decided)[1] == ["C1", None], "the decision, not the vote"


def test_a_planned_participant_that_was_not_seen_is_verified() -> None:
    work = advice("""
        stock-1 1..1   run stock type=prepare  trace=1 plan="stock, wallet"
        stock-1 40..40 run stock type=rollback trace=1 outcome=failed
    """)[1]
    assert [(each.step, each.service) for each in work] == [("stock", "stock"), ("wallet", None)]


def test_behind_the_pivot_nothing_is_compensated_unverified() -> None:
    story = """
        boss-1   0..9  root plan="charge/refund, send, notify" outcome=failed
        wallet-1 1..2  run charge
        wallet-1 0..99 beats
        boss-1   3..4  run send pivot={}
        boss-1   5..6  run notify error="X: x"
    """
    assert advice(story.format("false"))[0] is RecommendedAction.COMPENSATE
    assert advice(story.format("true"))[0] is RecommendedAction.VERIFY_FIRST


def test_nothing_is_compensated_before_the_other_run_was_looked_at() -> None:
    story = """
        boss-1   0..9     root run=a plan="charge/refund, send" trace=1 outcome=failed
        wallet-1 1..2     run charge run=a trace=1
        post-1   3..4     run send run=a trace=1 error="Refused: no such street"
        wallet-1 5..6     run refund run=a trace=1 compensates=charge max=1 error="Refused: account closed"
    """
    assert advice(story)[0] is RecommendedAction.COMPENSATE
    other = "        boss-1 50.. root run=b trace=2\n        wallet-1 51..52 run charge run=b trace=2\n"
    assert advice(story + other)[0] is RecommendedAction.VERIFY_FIRST
