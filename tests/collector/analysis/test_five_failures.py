"""The five failures that `sagascope demo` plants: each diagnosis, and none for healthy sagas."""

import pytest

from sagascope_collector.analysis import Context, Diagnosis, Saga, diagnose, rebuild
from sagascope_collector.analysis.model import Confidence, Status
from sagascope_collector.attention_codes import AttentionCode
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

PLAN = (
    'plan="fraud.check, wallet.debit/wallet.refund, ledger.record/ledger.reverse, shipping.book/shipping.cancel, '
    'notification.send" amount="50.00 EUR"'
)
BEGUN = f"""
    orchestrator-1  0..       root {PLAN}
    orchestrator-1  0.1..0.3  call fraud.check
    fraud-1         0.2..0.3  run fraud.check
    orchestrator-1  0.4..0.6  call wallet.debit
    wallet-1        0.5..0.6  run wallet.debit
"""


def diagnosed(story: str, now: float, **knowledge: float) -> tuple[Saga, Diagnosis]:
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    at = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, at)
    return saga, diagnose(saga, facts.instances, Context(at, **knowledge))


def test_payment_8492_is_stuck_in_the_ledger_whose_process_was_killed() -> None:
    story = f"""{BEGUN}
        orchestrator-1  1..       call ledger.record
        ledger-7f9c     1.1..1.2  serve ledger.record
        ledger-7f9c     1.2..     run ledger.record
        ledger-7f9c     0..4      beats every=1
        ledger-9b21     9..720    beats every=1
        orchestrator-1  0..720    beats every=1
    """
    _, answer = diagnosed(story, now=720)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step, answer.service) == (
        AttentionCode.INSTANCE_LOST,
        "ledger.record",
        "ledger",
    )
    assert (answer.verdict.instance, answer.verdict.confidence) == ("ledger-7f9c", Confidence.LIKELY)
    assert answer.verdict.since == STARTED + round(1.2 * SECOND)
    assert answer.headline == (
        "Stuck in ledger.record: ledger-7f9c started it at 11:06:41Z and has not reported since 11:06:44Z. "
        "wallet.debit is committed; no compensation was received."
    )
    assert answer.customer_line == (
        "The payment of EUR 50.00 is not finished; part of it is done; "
        "it is not known yet whether another part took effect; the amount may have been charged."
    )


def test_shipping_that_works_and_never_ends_is_hung() -> None:
    story = f"""{BEGUN}
        orchestrator-1  1..1.5  call ledger.record
        orchestrator-1  2..     call shipping.book
        shipping-1      2.1..   run shipping.book
        shipping-1      0..60   beats
        orchestrator-1  0..60   beats
    """
    _, answer = diagnosed(story, now=60)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step, answer.service) == (AttentionCode.HUNG, "shipping.book", "shipping")
    assert answer.verdict.confidence is Confidence.CERTAIN


def test_a_wallet_that_fails_again_and_again_is_retried() -> None:
    story = f"""
        orchestrator-1  0..     root {PLAN}
        orchestrator-1  0..1    call fraud.check
        orchestrator-1  1..1.2  call wallet.debit attempt=1 retry_in=2 error="HTTPStatusError: 503"
        orchestrator-1  4..4.2  call wallet.debit attempt=2 retry_in=2 error="HTTPStatusError: 503"
        orchestrator-1  7..7.2  call wallet.debit attempt=3 retry_in=2 error="HTTPStatusError: 503"
        wallet-1        7..7.1  serve wallet.debit attempt=3
        orchestrator-1  0..8    beats
    """
    _, answer = diagnosed(story, now=8)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step, answer.service) == (AttentionCode.RETRYING, "wallet.debit", "wallet")
    assert answer.attempts == 3
    assert answer.error is not None
    assert answer.error.message == "503"


def test_the_next_step_that_an_orchestrator_forgets_is_named() -> None:
    story = f"""{BEGUN}
        orchestrator-1  1..1.5  call ledger.record
        orchestrator-1  0..60   beats
    """
    _, answer = diagnosed(story, now=60)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.step) == (AttentionCode.NEXT_STEP_MISSING, "shipping.book")
    assert answer.verdict.since == STARTED + round(1.5 * SECOND)
    assert answer.verdict.confidence is Confidence.LIKELY


def test_a_saga_that_was_refused_and_compensated_needs_no_action() -> None:
    story = f"""
        orchestrator-1  0..5      root outcome=compensated {PLAN}
        orchestrator-1  0.1..0.3  call fraud.check
        orchestrator-1  0.4..0.6  call wallet.debit
        orchestrator-1  1..1.5    call ledger.record error="Refused: account closed"
        orchestrator-1  2..2.5    call wallet.refund compensates=wallet.debit
        wallet-1        2.1..2.4  run wallet.refund compensates=wallet.debit
    """
    saga, answer = diagnosed(story, now=60)
    assert saga.status is Status.COMPENSATED
    assert answer.verdict is None
    assert answer.step is None
    assert answer.due_at is None
    assert saga.amount_at_risk == ()
    assert answer.customer_line == (
        "The payment of EUR 50.00 was canceled; everything that was done was reversed; any charge was refunded."
    )


@pytest.mark.parametrize("now", [0.2, 0.5, 1, 10, 25])
def test_a_saga_in_progress_needs_no_attention(now: float) -> None:
    story = f"""{BEGUN}
        orchestrator-1  1..2    call ledger.record
        orchestrator-1  24..    call shipping.book
        orchestrator-1  0..25   beats
    """
    facts = seen(emit(story, {"id": "8492", "name": "payment"}), until=now).facts("8492")
    at = STARTED + round(now * SECOND)
    for saga in rebuild(facts, at):
        assert (
            diagnose(saga, facts.instances, Context(at, step_timeouts={("payment", "shipping.book"): 60})).verdict
            is None
        )
