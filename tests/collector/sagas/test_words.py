"""What is said to people, where a wrong word would mislead."""

import pytest

from sagascope_collector.sagas import Context, judge, rebuild
from sagascope_collector.sagas.model import Judgement
from sagascope_collector.sagas.templates import as_text, parse
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, tell

DONE = """
    boss-1   0..  root plan="{step}, books.close" amount="50.00 EUR"
    wallet-1 1..2 run  {step}
"""


def judged(story: str, name: str = "payment") -> Judgement:
    facts = seen(tell(story, {"id": "8492", "name": name})).facts("8492")
    now = STARTED + 600 * SECOND
    (saga,) = rebuild(facts, now)
    return judge(saga, facts.instances, Context(now))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("payment", "EUR 50.00 was charged; nothing was refunded."),
        ("refund", "EUR 50.00 was refunded; nothing was taken back."),
        ("order-refund", "EUR 50.00 was refunded; nothing was taken back."),
        ("MerchantPayout", "EUR 50.00 was paid out; nothing was taken back."),
        ("refundable-order", "EUR 50.00 was charged; nothing was refunded."),
    ],
)
def test_money_that_goes_to_the_customer_is_not_called_a_charge(name: str, said: str) -> None:
    assert judged(DONE.format(step="wallet.move"), name).customer_line == said


def test_what_was_never_closed_is_to_be_closed() -> None:
    verdict = judged('boss-1 0.. root plan="a"\nwallet-1 1..2 run a').verdict
    assert verdict is not None
    assert verdict.reason == "never_closed"
    assert verdict.actions == ("See in boss-1 why it did not go on, then have it close payment 8492 as completed.",)


def test_without_anybody_who_drives_it_the_service_that_should_have_been_asked_is_named() -> None:
    learned = judged("wallet-1 1..2 run a\nwallet-1 3..4 run b error=x retry_in=5")
    assert learned.verdict is not None
    assert learned.verdict.actions[0].startswith(
        "See in wallet whether it was ever asked for b, and in its caller why not"
    )


def test_a_missing_idempotency_key_is_no_key() -> None:
    text = as_text(parse("Resubmit with {idempotency_key}."), {})
    assert text == "Resubmit with (no idempotency key was received: verify first what was done)."


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("outcome=failed", "a failed (no money)."),
        ('outcome=failed error="stopped by the bank"', "stopped by the bank."),
        ("outcome=compensated", "a failed (no money)."),
        ("outcome=completed", ""),
    ],
)
def test_what_came_to_no_good_end_says_why(root: str, said: str) -> None:
    told = judged(f'boss-1 0..3 root plan="a, b" {root}\nwallet-1 1..2 run a error="no money"').headline
    _, _, why = told.partition(": ")
    assert why == said
