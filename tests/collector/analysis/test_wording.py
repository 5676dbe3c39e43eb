"""Texts for people, where a wrong word would mislead."""

import pytest

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.analysis.runbooks import as_text, parse
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

DONE = """
    boss-1   0..  root plan="{step}, books.close" amount="50.00 EUR"
    wallet-1 1..2 run  {step} amount="50.00 EUR"
"""


def diagnosed(story: str, name: str = "payment") -> Diagnosis:
    facts = seen(emit(story, {"id": "8492", "name": name})).facts("8492")
    now = STARTED + 600 * SECOND
    (saga,) = rebuild(facts, now)
    return diagnose(saga, facts.instances, Context(now))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("payment", "The {name} is not finished; EUR 50.00 was charged."),
        ("refund", "The {name} is not finished; EUR 50.00 was refunded."),
        ("order-refund", "The {name} is not finished; EUR 50.00 was refunded."),
        ("MerchantPayout", "The {name} is not finished; EUR 50.00 was paid out."),
        ("refundable-order", "The {name} is not finished; EUR 50.00 was charged."),
    ],
)
def test_money_paid_to_the_customer_is_not_called_a_charge(name: str, answer: str) -> None:
    assert diagnosed(DONE.format(step="wallet.move"), name).customer_line == answer.format(name=name)


def test_what_was_never_closed_is_to_be_closed() -> None:
    verdict = diagnosed('boss-1 0.. root plan="a"\nwallet-1 1..2 run a').verdict
    assert verdict is not None
    assert verdict.reason == "never_closed"
    assert verdict.actions == (
        "Check in boss-1 why it did not close payment 8492.",
        "Then have it close the saga as completed; no step needs to run again.",
    )


def test_without_an_orchestrator_the_process_that_should_retry_is_named() -> None:
    learned = diagnosed("wallet-1 1..2 run a\nwallet-1 3..4 run b error=x retry_in=5")
    assert learned.verdict is not None
    assert learned.verdict.actions[0] == (
        "Verify in wallet-1 that neither a retry of b nor a compensation for payment 8492 started, "
        "and find out why not."
    )


def test_a_missing_idempotency_key_is_no_key() -> None:
    text = as_text(parse("Resubmit with {idempotency_key}."), {})
    assert text == "Resubmit with (no idempotency key was received: verify first what was done)."


@pytest.mark.parametrize(
    ("root", "answer"),
    [
        ("outcome=failed", "a failed (no money)."),
        ('outcome=failed error="stopped by the bank"', "stopped by the bank."),
        ("outcome=compensated", "a failed (no money)."),
        ("outcome=completed", ""),
    ],
)
def test_a_failed_saga_states_the_reason(root: str, answer: str) -> None:
    assembled = diagnosed(f'boss-1 0..3 root plan="a, b" {root}\nwallet-1 1..2 run a error="no money"').headline
    _, _, why = assembled.partition(": ")
    assert why == answer
