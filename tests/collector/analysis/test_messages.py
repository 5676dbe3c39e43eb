"""What is said of messages: one that nobody took, one that comes again and again, two where one was meant."""

from collections.abc import Mapping
from typing import Any

import pytest

from sagascope_collector.analysis import Context, Experience, Judgement, judge, learn, lesson, rebuild
from sagascope_collector.analysis.context import Passed
from sagascope_collector.records import Process, SagaKey
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, tell

WHOLE = """
wallet-1 1..2   run  wallet.debit as=debit
wallet-1 1.5..2 span publish under=debit kind=producer as=sent
ledger-1 3..4   run  ledger.record under=sent
ledger-1 4.5..5 span close outcome=completed
"""

STOPPED = """
wallet-1 1..2       run  wallet.debit as=debit
wallet-1 1.5..1.8   span publish under=debit kind=producer as=sent @messaging.destination.name=payments.debited
"""

NEXT = ("", "payment", "ledger.record")

OTHER = Passed(STARTED + 4 * SECOND, SagaKey("", "payment", "8493", ""), Process("ledger", "ledger-1"), "aa", "bb")


@pytest.fixture(scope="module")
def learned() -> Experience:
    """What payments that went through taught."""
    lessons = []
    for number in range(20):
        facts = seen(tell(WHOLE, {"id": str(number), "name": "payment"})).facts(str(number))
        lessons += [each for saga in rebuild(facts) if (each := lesson(saga))]
    return learn(lessons)


def judged(story: str, experience: Experience | None = None, **known: Any) -> Judgement:
    facts = seen(tell(story, {"id": "8492", "name": "payment"})).facts("8492")
    now = STARTED + 100 * SECOND
    learnt: Mapping[tuple[str, str], Experience] = {("", "payment"): experience} if experience else {}
    (saga,) = rebuild(facts, now, learnt)
    context = Context(now, experience=learnt, services={NEXT: "ledger"}, step_timeouts={NEXT[1:]: 5.0}, **known)
    return judge(saga, facts.instances, context)


def test_where_the_consumer_takes_others_it_is_this_message(learned: Experience) -> None:
    said = judged(STOPPED, learned, passed={NEXT: OTHER})
    assert said.verdict is not None
    assert (said.verdict.reason, said.step, said.service) == ("next_step_missing", "ledger.record", "ledger")
    assert (
        "The message that wallet-1 published to payments.debited at 11:06:41Z was not received by any consumer"
        in said.headline
    )
    assert "ledger-1 received others (payment 8493 at 11:06:44Z), so the cause is this message" in said.headline
    assert said.verdict.actions[0].startswith("Find out in payments.debited what happened to the message")
    assert said.verdict.actions[1].startswith("Verify in ledger whether ledger.record took effect for payment 8492")
    assert "wallet-1 published to payments.debited" in [each.text for each in said.verdict.evidence]


def test_where_the_consumer_takes_none_it_may_be_the_consumer(learned: Experience) -> None:
    said = judged(STOPPED, learned)
    assert said.verdict is not None
    assert (
        "ledger received no other message by 11:06:47Z, and it is not reporting, so the consumer may be the cause"
        in said.headline
    )
    assert said.verdict.actions == (
        "Check that ledger runs and receives from payments.debited. If the message still waits there, payment 8492 "
        "then continues by itself.",
    )


def test_what_another_did_before_the_message_says_nothing(learned: Experience) -> None:
    before = Passed(STARTED + SECOND, OTHER.key, OTHER.process, "aa", "bb")
    assert "the consumer may be the cause" in judged(STOPPED, learned, passed={NEXT: before}).headline


def test_a_consumer_that_is_heard_of_and_takes_nothing_is_said_to_be(learned: Experience) -> None:
    said = judged(STOPPED, learned, heard={("", "ledger"): STARTED + 90 * SECOND})
    assert "received no other message by 11:06:47Z, although it is reporting" in said.headline


def test_it_is_seen_again_whether_others_are_taken(learned: Experience) -> None:
    due = judged(STOPPED, learned).due_at
    assert due is not None
    assert due <= STARTED + 200 * SECOND


@pytest.mark.parametrize(
    "taken",
    [
        "ledger-1 3..4 consume ledger.record under=sent",
        "audit-1 3..4 span audit under=sent",
    ],
)
def test_a_message_that_was_taken_is_not_spoken_of(learned: Experience, taken: str) -> None:
    assert "published" not in judged(STOPPED + taken, learned).headline


def test_a_message_that_could_not_be_published_is_none(learned: Experience) -> None:
    assert "published" not in judged(STOPPED.replace("kind=", 'error="no broker" kind='), learned).headline


def test_after_a_failure_it_is_the_retry_that_is_missing(learned: Experience) -> None:
    said = judged(STOPPED.replace("as=debit", "as=debit retry_in=1 error=away"), learned, passed={NEXT: OTHER})
    assert said.verdict is not None
    assert said.verdict.reason == "next_step_missing"
    assert said.step == "wallet.debit"
    assert "published" not in said.headline


def test_where_somebody_leads_the_saga_a_message_is_not_what_comes_next() -> None:
    led = 'boss-1 0.. root plan="wallet.debit, ledger.record"\nboss-1 0..99 beats' + STOPPED
    said = judged(led)
    assert said.verdict is not None
    assert said.verdict.reason == "next_step_missing"
    assert "published" not in said.headline


def test_a_call_under_way_waits_for_its_message() -> None:
    said = judged("""
        boss-1 0..   root
        boss-1 0..99 beats
        boss-1 1..   call ledger.record as=asked
        boss-1 1..2  span publish under=asked kind=producer @messaging.destination.name=ledger.commands
    """)
    assert said.verdict is not None
    assert said.verdict.reason == "hung"
    assert "boss-1 published to ledger.commands at 11:06:41Z was not received by any consumer" in said.headline


def test_who_works_on_a_step_does_not_wait_for_what_it_published() -> None:
    said = judged("""
        wallet-1 0..1  span publish kind=producer as=sent
        ledger-1 0..99 beats
        ledger-1 1..   run ledger.record under=sent as=works
        ledger-1 1..2  span publish under=works kind=producer @messaging.destination.name=audit
    """)
    assert said.verdict is not None
    assert said.verdict.reason == "hung"
    assert "published" not in said.headline


def test_a_poison_message_is_named() -> None:
    tries = "".join(
        f'ledger-1 {at}..{at}.5 run ledger.record attempt={at} under=sent retry_in=200 error="Bad: no"\n'
        for at in range(3, 7)
    )
    said = judged(STOPPED + tries)
    assert said.verdict is not None
    assert said.verdict.reason == "retrying"
    assert "published to payments.debited at 11:06:41Z is redelivered after each failure" in said.headline


def test_attempts_for_several_messages_are_not_one_that_is_poison() -> None:
    story = STOPPED + "wallet-1 2..2.5 span publish kind=producer as=second\n"
    tries = 'ledger-1 {at}..{at}.5 run ledger.record attempt={at} under={of} retry_in=200 error="Bad: no"\n'
    story += "".join(tries.format(at=at, of=of) for at, of in ((3, "sent"), (4, "second"), (5, "sent")))
    assert "redelivered" not in judged(story).headline


TWICE = """
wallet-1 1..1.2 span publish kind=producer as=sent @messaging.destination.name=payments.debited
ledger-1 3..4   run  ledger.record under=sent
ledger-1 5..6   run  ledger.record under={second}
"""


def test_one_message_that_was_delivered_twice_is_the_cause() -> None:
    said = judged(TWICE.format(second="sent"))
    assert "The message that wallet-1 published to payments.debited at 11:06:41Z was delivered twice." in said.headline


def test_two_messages_where_one_was_meant_are_the_cause() -> None:
    again = "wallet-1 2..2.2 span publish kind=producer as=again @messaging.destination.name=payments.debited"
    said = judged(again + TWICE.format(second="again"))
    assert "Two messages requested it, published by wallet-1 to payments.debited at 11:06:41Z and 11:06:42Z." in (
        said.headline
    )
