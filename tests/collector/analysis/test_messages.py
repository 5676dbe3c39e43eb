"""Diagnosis of messages: not received, redelivered, published twice."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sagascope import semconv
from sagascope_collector.analysis import Baseline, Context, Diagnosis, diagnose, learn_baseline, rebuild, take_sample
from sagascope_collector.analysis.context import StepSuccess
from sagascope_collector.analysis.messages import published_at
from sagascope_collector.records import Process, SagaKey
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

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

OTHER = StepSuccess(
    STARTED + 30 * SECOND, SagaKey("", "payment", "8493", ""), Process("ledger", "ledger-1"), "aa", "bb"
)


@pytest.fixture(scope="module")
def learned() -> Baseline:
    """What payments that went through taught."""
    samples = []
    for number in range(20):
        facts = seen(emit(WHOLE, {"id": str(number), "name": "payment"})).facts(str(number))
        samples += [each for saga in rebuild(facts) if (each := take_sample(saga))]
    return learn_baseline(samples)


def diagnosed(story: str, baseline: Baseline | None = None, **known: Any) -> Diagnosis:
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    now = STARTED + 100 * SECOND
    learnt: Mapping[tuple[str, str], Baseline] = {("", "payment"): baseline} if baseline else {}
    (saga,) = rebuild(facts, now, learnt)
    context = Context(now, baselines=learnt, services={NEXT: "ledger"}, step_timeouts={NEXT[1:]: 5.0}, **known)
    return diagnose(saga, facts.instances, context)


def test_where_the_consumer_receives_others_the_cause_is_this_message(learned: Baseline) -> None:
    answer = diagnosed(STOPPED, learned, latest_successes={NEXT: OTHER})
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step, answer.service) == ("next_step_missing", "ledger.record", "ledger")
    assert (
        "The message that wallet-1 published to payments.debited at 11:06:41Z was not received by any consumer"
        in answer.headline
    )
    assert "ledger-1 received others (the latest at 11:07:10Z), so the cause is this message" in answer.headline
    assert OTHER.key.id not in answer.headline, "a stored headline must not hold the id of a saga that may be erased"
    assert answer.verdict.actions[0].startswith("Find out in payments.debited what happened to the message")
    assert answer.verdict.actions[1].startswith("Verify in ledger whether ledger.record took effect for payment 8492")
    assert "wallet-1 published to payments.debited" in [each.text for each in answer.verdict.evidence]


def test_where_the_consumer_receives_none_the_cause_may_be_the_consumer(learned: Baseline) -> None:
    answer = diagnosed(STOPPED, learned)
    assert answer.verdict is not None
    assert (
        "ledger received no other message by 11:06:47Z, and it is not reporting, so the consumer may be the cause"
        in answer.headline
    )
    assert answer.verdict.actions == (
        "Check that ledger runs and receives from payments.debited. If the message still waits there, payment 8492 "
        "then continues by itself.",
    )


@pytest.mark.parametrize(
    "queue",
    [
        "payments.debited.dlq",
        "payments-DLT",
        "debited/$DeadLetterQueue",
        "dead_letters",
        "PaymentsDLQ",
        "payments2Dlq.fifo",
    ],
)
def test_a_dead_letter_does_not_continue_by_itself(queue: str, learned: Baseline) -> None:
    moved = f"ledger-1 3.5..3.8 span publish under=got kind=producer @messaging.destination.name={queue}"
    received = "ledger-1 3..4 span process under=sent kind=consumer as=got"
    answer = diagnosed(f"{STOPPED}{received}\n{moved}\n", learned)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step) == ("next_step_missing", "ledger.record")
    dead = f"message that ledger-1 published to {queue} at 11:06:43Z is in the dead-letter queue {queue}"
    assert dead in answer.headline
    assert "may be the cause" not in answer.headline
    assert answer.verdict.actions == (
        f"Find out in {queue} why the message was moved there, and remove the cause.",
        "Verify in ledger whether ledger.record took effect for payment 8492: its telemetry may be missing.",
        "Only if it did not take effect, have the message delivered again.",
    )


@pytest.mark.parametrize("queue", ["handlxyz", "WORLDLT", "payments.DLTs", "deadliest.letters"])
def test_another_queue_is_no_dead_letter_queue(queue: str, learned: Baseline) -> None:
    answer = diagnosed(STOPPED.replace("payments.debited", queue), learned)
    assert "was not received by any consumer" in answer.headline


def test_a_message_that_was_read_from_a_dead_letter_queue_was_received_by_no_consumer(learned: Baseline) -> None:
    read = "reader-1 9..9.1 span receive under=sent kind=consumer @messaging.destination=payments.dlx"
    answer = diagnosed(STOPPED + read, learned)
    dead = (
        "The message that wallet-1 published to payments.debited at 11:06:41Z is in the dead-letter queue payments.dlx"
    )
    assert dead in answer.headline
    assert answer.verdict is not None
    assert answer.verdict.actions[0].startswith("Find out in payments.dlx why")


def test_the_name_of_a_queue_fills_no_sentence(learned: Baseline) -> None:
    name = 5_000 * "q"
    waiting = f"dead-1 9 log dead in=sent event={semconv.EVENT_WAITING} @{semconv.BLOCKED_CAUSE}=dead_letter"
    reported = f"{STOPPED}{waiting} @{semconv.DEAD_LETTER_QUEUE}={name}\n"
    for answer in (diagnosed(STOPPED.replace("payments.debited", name), learned), diagnosed(reported, learned)):
        assert answer.verdict is not None
        texts = [answer.headline, *answer.verdict.actions]
        assert "qqq" in " ".join(texts)
        assert max(map(len, texts)) < 700


FAILED = STOPPED.replace("kind=", 'error="DeliveryError: NO_ROUTE" kind=')


def test_a_message_that_could_not_be_published_is_the_cause(learned: Baseline) -> None:
    answer = diagnosed(FAILED, learned)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step) == ("next_step_missing", "ledger.record")
    assert "Wallet-1 could not publish the message to payments.debited at 11:06:41Z (NO_ROUTE)" in answer.headline
    assert answer.verdict.actions == (
        "Find out why wallet-1 could not publish to payments.debited (NO_ROUTE).",
        "Verify in ledger that ledger.record did not start for payment 8492: the message may have been published in "
        "spite of the error.",
        "Only if it did not start, publish the message again.",
    )


def test_a_message_that_was_published_at_the_second_time_is_none_that_could_not_be(learned: Baseline) -> None:
    again = "wallet-1 1.8..1.9 span publish under=debit kind=producer @messaging.destination.name=payments.debited"
    answer = diagnosed(FAILED + again, learned)
    assert "could not publish" not in answer.headline
    assert "was not received by any consumer" in answer.headline


@pytest.mark.parametrize(("published", "is_lost"), [(0.5, False), (1.9, False), (29, True)])
def test_a_consumer_that_is_behind_has_lost_no_message(published: float, is_lost: bool, learned: Baseline) -> None:
    """It receives others, which were published before this one, or at the same time."""
    other = replace(OTHER, published_at=STARTED + round(published * SECOND))
    answer = diagnosed(STOPPED, learned, latest_successes={NEXT: other})
    assert answer.verdict is not None
    assert ("so the cause is this message" in answer.headline) is is_lost
    assert ("so the consumer may be behind" in answer.headline) is not is_lost
    action = "Find out in payments.debited what" if is_lost else "Check that ledger runs and receives"
    assert answer.verdict.actions[0].startswith(action)


def test_when_the_message_of_a_success_was_published_is_known() -> None:
    (saga,) = rebuild(seen(emit(WHOLE, {"id": "8492", "name": "payment"})).facts("8492"))
    of_step = {step.name: published_at(saga, step.attempts[0]) for step in saga.steps}
    assert of_step == {"wallet.debit": None, "ledger.record": STARTED + 3 * SECOND // 2}


@pytest.mark.parametrize("queue", ["payments.debited", "idlq", "adlterms"])
def test_an_ordinary_queue_is_none_of_dead_letters(queue: str, learned: Baseline) -> None:
    assert "dead-letter" not in diagnosed(STOPPED.replace("payments.debited", queue), learned).headline


def test_a_success_before_the_message_is_no_evidence(learned: Baseline) -> None:
    before = StepSuccess(STARTED + SECOND, OTHER.key, OTHER.process, "aa", "bb")
    assert "the consumer may be the cause" in diagnosed(STOPPED, learned, latest_successes={NEXT: before}).headline


def test_a_success_before_the_message_was_due_blames_neither(learned: Baseline) -> None:
    """Its consumer may have received it before this message, and stopped after."""
    soon = StepSuccess(STARTED + 4 * SECOND, OTHER.key, OTHER.process, "aa", "bb")
    answer = diagnosed(STOPPED, learned, latest_successes={NEXT: soon})
    assert "was not received by any consumer" in answer.headline
    assert "cause" not in answer.headline
    assert answer.verdict is not None
    assert answer.verdict.actions[0].startswith("Check that ledger runs and receives from payments.debited.")


def test_a_consumer_that_reports_and_receives_nothing_is_named(learned: Baseline) -> None:
    answer = diagnosed(STOPPED, learned, services_last_seen={("", "ledger"): STARTED + 90 * SECOND})
    assert "received no other message by 11:06:47Z, although it is reporting" in answer.headline


def test_it_is_re_evaluated_whether_others_are_received(learned: Baseline) -> None:
    due = diagnosed(STOPPED, learned).due_at
    assert due is not None
    assert due <= STARTED + 200 * SECOND


@pytest.mark.parametrize(
    "taken", ["ledger-1 3..4 consume ledger.record under=sent", "audit-1 3..4 span audit under=sent"]
)
def test_a_received_message_is_not_mentioned(learned: Baseline, taken: str) -> None:
    assert "published" not in diagnosed(STOPPED + taken, learned).headline


def test_after_a_failure_it_is_the_retry_that_is_missing(learned: Baseline) -> None:
    answer = diagnosed(
        STOPPED.replace("as=debit", "as=debit retry_in=1 error=away"), learned, latest_successes={NEXT: OTHER}
    )
    assert answer.verdict is not None
    assert answer.verdict.reason == "next_step_missing"
    assert answer.step == "wallet.debit"
    assert "published" not in answer.headline


def test_in_an_orchestrated_saga_no_message_is_the_next_step() -> None:
    led = 'boss-1 0.. root plan="wallet.debit, ledger.record"\nboss-1 0..99 beats' + STOPPED
    answer = diagnosed(led)
    assert answer.verdict is not None
    assert answer.verdict.reason == "next_step_missing"
    assert "published" not in answer.headline


def test_a_call_under_way_waits_for_its_message() -> None:
    answer = diagnosed("""
        boss-1 0..   root
        boss-1 0..99 beats
        boss-1 1..   call ledger.record as=asked
        boss-1 1..2  span publish under=asked kind=producer @messaging.destination.name=ledger.commands
    """)
    assert answer.verdict is not None
    assert answer.verdict.reason == "hung"
    assert "boss-1 published to ledger.commands at 11:06:41Z was not received by any consumer" in answer.headline


def test_an_executor_does_not_wait_for_its_own_messages() -> None:
    answer = diagnosed("""
        wallet-1 0..1  span publish kind=producer as=sent
        ledger-1 0..99 beats
        ledger-1 1..   run ledger.record under=sent as=works
        ledger-1 1..2  span publish under=works kind=producer @messaging.destination.name=audit
    """)
    assert answer.verdict is not None
    assert answer.verdict.reason == "hung"
    assert "published" not in answer.headline


def test_a_poison_message_is_named() -> None:
    tries = "".join(
        f'ledger-1 {at}..{at}.5 run ledger.record attempt={at} under=sent retry_in=200 error="Bad: no"\n'
        for at in range(3, 7)
    )
    answer = diagnosed(STOPPED + tries)
    assert answer.verdict is not None
    assert answer.verdict.reason == "retrying"
    assert "published to payments.debited at 11:06:41Z is redelivered after each failure" in answer.headline
    again = "Attempt 6 of ledger.record processed again the message that wallet-1 published to payments.debited"
    assert again in [each.text for each in answer.verdict.evidence]


def test_attempts_for_several_messages_are_not_one_that_is_poison() -> None:
    story = STOPPED + "wallet-1 2..2.5 span publish kind=producer as=second\n"
    tries = 'ledger-1 {at}..{at}.5 run ledger.record attempt={at} under={of} retry_in=200 error="Bad: no"\n'
    story += "".join(tries.format(at=at, of=of) for at, of in ((3, "sent"), (4, "second"), (5, "sent")))
    assert "redelivered" not in diagnosed(story).headline


TWICE = """
wallet-1 1..1.2 span publish kind=producer as=sent @messaging.destination.name=payments.debited
ledger-1 3..4   run  ledger.record under=sent
ledger-1 5..6   run  ledger.record under={second}
"""


def test_one_message_that_was_delivered_twice_is_the_cause() -> None:
    answer = diagnosed(TWICE.format(second="sent"))
    assert (
        "The message that wallet-1 published to payments.debited at 11:06:41Z was delivered twice." in answer.headline
    )


def test_a_message_published_twice_is_the_cause() -> None:
    again = "wallet-1 2..2.2 span publish kind=producer as=again @messaging.destination.name=payments.debited"
    answer = diagnosed(again + TWICE.format(second="again"))
    assert "Two messages requested it, published by wallet-1 to payments.debited at 11:06:41Z and 11:06:42Z." in (
        answer.headline
    )
