"""The customer line, over all combinations of the states of three steps, their amounts and the saga's status."""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest

from sagascope_collector.analysis import rebuild
from sagascope_collector.analysis.ledger_text import customer_line
from sagascope_collector.analysis.model import LedgerEntry, LedgerState, Phase, Plan, Saga, Status
from sagascope_collector.records import SagaKey
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

UNSEEN = "unseen"
"""A planned step of which nothing was received: it has no amount."""
STATES: tuple[LedgerState | str, ...] = (*LedgerState, UNSEEN)
AMOUNTS = (Decimal("10.00"), Decimal("20.00"), Decimal("40.00"))
WHOLE = Decimal("70.00")


def line(number: int, state: LedgerState | str, amount: Decimal | None) -> LedgerEntry:
    is_unseen = state == UNSEEN
    return LedgerEntry(
        f"step.{number}",
        None if state is LedgerState.NOT_COMPENSABLE else f"compensation.{number}",
        LedgerState.NOT_SEEN if is_unseen else LedgerState(state),
        None if is_unseen else amount,
        None if is_unseen or amount is None else "EUR",
        is_not_compensable=state is LedgerState.NOT_COMPENSABLE,
    )


def saga(
    status: Status, *lines: LedgerEntry, amount: Decimal | None = None, name: str = "payment", plan: str = "declared"
) -> Saga:
    return Saga(
        key=SagaKey("", name, "8492", ""),
        status=status,
        plan=Plan(plan),
        steps=(),
        root=None,
        started_at=0,
        updated_at=0,
        ended_at=None,
        timeout=None,
        amount=amount,
        currency="EUR" if amount is not None else None,
        keys={},
        ledger=lines,
        amount_at_risk=(),
        anomalies=(),
        spans=(),
        logs=(),
    )


def total(lines: tuple[LedgerEntry, ...], *states: LedgerState) -> Decimal:
    return sum((each.amount for each in lines if each.state in states and each.amount is not None), Decimal(0))


CLAIMS = {
    r"^EUR (\S+) was charged$": (LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE),
    r"^EUR (\S+) was charged, and no refund is recorded$": (LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE),
    r"^EUR (\S+) was charged, and the refund failed$": (LedgerState.COMPENSATION_FAILED,),
    r"^EUR (\S+) was charged, and the refund is in progress$": (LedgerState.COMPENSATING,),
    r"^EUR (\S+) was charged, and it is not known whether the refund was made$": (LedgerState.COMPENSATION_UNKNOWN,),
    r"^any charge of EUR (\S+) was refunded$": (LedgerState.COMPENSATED,),
    r"^it is not known(?: yet)? whether (?:a further )?EUR (\S+) was charged$": (LedgerState.UNKNOWN,),
    r"^(?:a further )?EUR (\S+) was not charged$": (LedgerState.NOT_DONE,),
    r"^no charge of (?:a further )?EUR (\S+) is recorded(?: so far)?$": (LedgerState.NOT_SEEN,),
}
"""What each clause about an amount claims: the sum of the steps in these states."""


def cases(status: Status) -> Iterator[tuple[tuple[LedgerEntry, ...], Decimal | None, str]]:
    for states in product(STATES, repeat=3):
        with_amounts = tuple(line(number, *each) for number, each in enumerate(zip(states, AMOUNTS, strict=True)))
        without = tuple(line(number, state, None) for number, state in enumerate(states))
        yield with_amounts, None, "each step's"
        yield (with_amounts[0], *without[1:]), WHOLE, "one step's and the saga's"
        yield without, WHOLE, "the saga's"
        yield without, None, "none"


@pytest.mark.parametrize("status", Status)
def test_no_combination_contradicts_the_ledger(status: Status) -> None:
    for lines, amount, which in cases(status):
        answer = customer_line(saga(status, *lines, amount=amount))
        about = (answer, [each.state.value for each in lines], which)
        clauses = answer.removesuffix(".").split("; ")
        assert re.fullmatch(r"The payment( of EUR 70\.00)? (is|was|failed)[^.]*(\.\d\d[^.]*)*\.", answer), about
        sums_are_right(lines, clauses, status, about)
        nothing_is_claimed_from_absence(lines, clauses, about)
        unknown_outcome_is_named(lines, answer, status, about)
        if all(each.amount is None for each in lines):
            assert not re.search(r"EUR \S+ was (charged|refunded)", answer), about


def sums_are_right(lines: tuple[LedgerEntry, ...], clauses: list[str], status: Status, about: object) -> None:
    """Each amount is claimed once, with the sum of just the steps of which that is true."""
    claimed: dict[LedgerState, Decimal] = {}
    for clause in clauses[1:]:
        found = [
            (states, match)
            for claim, states in CLAIMS.items()
            if (match := re.match(claim, clause.removeprefix("up to ")))
        ]
        for states, match in found:
            assert Decimal(match[1]) == total(lines, *states), about
            claimed |= dict.fromkeys(states, Decimal(match[1]))
    clean = {LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE, LedgerState.NOT_DONE, LedgerState.NOT_SEEN}
    if status is Status.COMPLETED and {each.state for each in lines} <= clean:
        assert len(clauses) == 1, about
        return
    is_nothing = "nothing was charged" in clauses
    for place, clause in enumerate(clauses):
        if clause.startswith("it is not known"):
            assert ("a further" in clause) == any(" was charged" in each for each in clauses[1:place]), about
    for each in lines:
        if each.amount is not None:
            assert each.state in claimed or (is_nothing and each.state is LedgerState.NOT_DONE), about


def nothing_is_claimed_from_absence(lines: tuple[LedgerEntry, ...], clauses: list[str], about: object) -> None:
    if any(clause.startswith("nothing") for clause in clauses):
        assert all(each.state is LedgerState.NOT_DONE for each in lines), about
    if any("was refunded" in clause and "not known" not in clause for clause in clauses):
        assert any(each.state is LedgerState.COMPENSATED for each in lines), about
    if any("everything that was done was reversed" in clause for clause in clauses):
        reversed_ = {LedgerState.COMPENSATED, LedgerState.NOT_DONE, LedgerState.NOT_SEEN, LedgerState.NOT_COMPENSABLE}
        assert reversed_ >= {each.state for each in lines}, about


def unknown_outcome_is_named(lines: tuple[LedgerEntry, ...], answer: str, status: Status, about: object) -> None:
    doubtful = (LedgerState.UNKNOWN, LedgerState.COMPENSATION_UNKNOWN)
    assembled = [each for each in lines if each.amount is not None] or list(lines)
    if any(each.state in doubtful for each in assembled):
        assert "not known" in answer, about
    elif not any(each.state in doubtful for each in lines):
        assert "not known" not in answer, about
    if status is Status.RUNNING:
        assert answer.startswith(("The payment is not finished", "The payment of EUR 70.00 is not finished")), about


READ_ALOUD = {
    (Status.RUNNING, LedgerState.COMMITTED): "The payment is not finished; EUR 10.00 was charged.",
    (Status.RUNNING, LedgerState.UNKNOWN): (
        "The payment is not finished; it is not known yet whether EUR 10.00 was charged."
    ),
    (Status.FAILED, LedgerState.COMMITTED): "The payment failed; EUR 10.00 was charged, and no refund is recorded.",
    (Status.FAILED, LedgerState.UNKNOWN): "The payment failed; it is not known whether EUR 10.00 was charged.",
    (Status.FAILED, LedgerState.NOT_DONE): "The payment failed; nothing was charged.",
    (Status.FAILED, LedgerState.NOT_SEEN): "The payment failed; no charge of EUR 10.00 is recorded.",
    (Status.RUNNING, LedgerState.NOT_SEEN): "The payment is not finished; no charge of EUR 10.00 is recorded so far.",
    (Status.FAILED, LedgerState.COMPENSATION_FAILED): (
        "The payment failed; EUR 10.00 was charged, and the refund failed."
    ),
    (Status.COMPENSATED, LedgerState.COMPENSATED): "The payment was canceled; any charge of EUR 10.00 was refunded.",
    (Status.COMPENSATED, LedgerState.COMPENSATION_UNKNOWN): (
        "The payment was canceled; EUR 10.00 was charged, and it is not known whether the refund was made."
    ),
    (Status.COMPENSATING, LedgerState.COMPENSATING): (
        "The payment is being canceled; EUR 10.00 was charged, and the refund is in progress."
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "state"), READ_ALOUD)
def test_it_reads_as_one_plain_sentence(status: Status, state: LedgerState) -> None:
    assert customer_line(saga(status, line(0, state, AMOUNTS[0]))) == READ_ALOUD[status, state]


def test_without_a_plan_other_steps_may_have_been_executed() -> None:
    failed = saga(Status.FAILED, line(0, LedgerState.NOT_DONE, AMOUNTS[0]), plan="none")
    assert customer_line(failed) == "The payment failed; EUR 10.00 was not charged."


@pytest.mark.parametrize(
    ("name", "answer"),
    [("refund", "EUR 10.00 was refunded, and no reversal is recorded"), ("unknown", "The transaction failed")],
)
def test_the_verbs_fit_the_saga_s_type(name: str, answer: str) -> None:
    assert answer in customer_line(saga(Status.FAILED, line(0, LedgerState.COMMITTED, AMOUNTS[0]), name=name))


def test_a_double_execution_is_in_the_customer_line_too() -> None:
    done = saga(Status.COMPLETED, line(0, LedgerState.COMMITTED, AMOUNTS[0]), amount=AMOUNTS[0])
    answer = customer_line(done, Phase.FORWARD)
    assert answer == "The payment of EUR 10.00 was completed; a charge may have been made twice."


def test_what_was_charged_is_distinguished_from_what_was_not() -> None:
    lines = line(0, LedgerState.COMMITTED, AMOUNTS[0]), line(0, LedgerState.NOT_SEEN, AMOUNTS[0])
    assert customer_line(saga(Status.RUNNING, *lines)) == (
        "The payment is not finished; EUR 10.00 was charged; no charge of a further EUR 10.00 is recorded so far."
    )


def test_an_unknown_refund_is_no_unknown_charge() -> None:
    unknown = saga(Status.FAILED, line(0, LedgerState.COMPENSATION_UNKNOWN, None), amount=WHOLE)
    assert (
        customer_line(unknown) == "The payment of EUR 70.00 failed; it is not known whether every charge was refunded."
    )


def test_a_compensation_whose_step_was_not_received_leaves_open_what_took_effect() -> None:
    story = """
        boss-1 0..9 root plan="stock.reserve/stock.release, wallet.debit/wallet.refund" outcome=failed
        boss-1 0..20 beats
        boss-1 1..2 call stock.reserve error="Refused: no"
        boss-1 5..6 call wallet.refund compensates=wallet.debit error="Refused: no"
    """
    facts = seen(emit(story, {"id": "8492", "name": "payment"}), 20).facts("8492")
    (known,) = rebuild(facts, STARTED + 20 * SECOND)
    assert "nothing" not in customer_line(known)


@pytest.mark.parametrize(("error", "may_lack"), [("", True), ('error="Refused: no"', False)])
def test_a_saga_that_failed_for_no_received_reason_may_lack_records(error: str, may_lack: bool) -> None:
    story = f"""
        boss-1 0..9 root plan="wallet.debit/wallet.refund, ledger.record" outcome=failed
        boss-1 0..20 beats
        boss-1 1..2 call wallet.debit {error}
    """
    facts = seen(emit(story, {"id": "8492", "name": "payment"}), 20).facts("8492")
    (known,) = rebuild(facts, STARTED + 20 * SECOND)
    assert known.may_lack_telemetry is may_lack


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (("card.authorize", "card.capture"), "up to EUR 30.00 was charged, and no refund is recorded"),
        (("item.debit", "item.debit"), "; EUR 30.00 was charged, and no refund is recorded"),
        (("card.authorize",), "; EUR 10.00 was authorized, and no refund is recorded"),
    ],
)
def test_steps_that_may_report_the_same_money_are_not_added_up_as_charges(names: tuple[str, ...], answer: str) -> None:
    lines = (line(number, LedgerState.COMMITTED, amount) for number, amount in enumerate(AMOUNTS[: len(names)]))
    named = (replace(each, step=name) for each, name in zip(lines, names, strict=True))
    assert answer in customer_line(saga(Status.FAILED, *named))
