"""Amounts on one page: ledger, amount at risk, headline, customer line and evidence, over combinations of two steps."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.api.present import full
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

WHOLE = Decimal("70.00")
STEP_AMOUNTS = {"wallet.debit": Decimal("20.00"), "hotel.book": Decimal("7.50")}

CHARGES = {
    "not received": "",
    "refused": 'SERVICE-1 1..2 run STEP {amount} error="Refused: no"',
    "in flight": "SERVICE-1 1.. run STEP {amount}",
    "unknown": 'boss-1 1..2 call STEP {amount} error="TimeoutError: no answer"',
    "committed": "SERVICE-1 1..2 run STEP {amount}",
}
REFUNDS = {
    "compensated": "SERVICE-1 5..6 run STEP.undo compensates=STEP",
    "compensating": "SERVICE-1 5.. run STEP.undo compensates=STEP",
    "compensation failed": 'SERVICE-1 5..6 run STEP.undo compensates=STEP max=1 error="Refused: no"',
    "compensation unknown": 'boss-1 5..6 call STEP.undo compensates=STEP error="TimeoutError: no answer"',
}
STATES = CHARGES | {name: f"{CHARGES['committed']}\n{refund}" for name, refund in REFUNDS.items()}
"""What was received of a step, by the state that it is in."""

ENDS = ("", "completed", "compensated", "failed")

CERTAIN = {"committed", "compensating", "compensation_failed"}
POSSIBLE = {"unknown", "compensation_unknown"}


def page(debit: str, booking: str, end: str, *, reporting: frozenset[str], is_compensable: bool) -> Mapping[str, Any]:
    """The answer about a saga of 70.00 EUR whose steps are in these states; `reporting` steps report their amount.

    The plan has a compensation of ``hotel.book``, and one of ``wallet.debit`` if that is compensable.
    """
    plan = f"wallet.debit{'/wallet.debit.undo' if is_compensable else ''}, hotel.book/hotel.book.undo"
    lines = [f'boss-1 0..{9 if end else ""} root plan="{plan}" amount="{WHOLE} EUR" {f"outcome={end}" if end else ""}']
    for step, state in zip(STEP_AMOUNTS, (debit, booking), strict=True):
        amount = f'amount="{STEP_AMOUNTS[step]} EUR"' if step in reporting else ""
        text = STATES[state].format(amount=amount)
        lines.append(text.replace("STEP", step).replace("SERVICE", step.partition(".")[0]))
    saga = {"id": "8492", "name": "payment"}
    known, now = seen(emit("\n".join(lines), saga), 60), STARTED + 60 * SECOND
    facts = known.facts("8492")
    (rebuilt,) = rebuild(facts, now)
    return full(rebuilt, diagnose(rebuilt, facts.instances, Context(now)), []).model_dump(mode="json")


def pages() -> Iterator[tuple[tuple[object, ...], Mapping[str, Any]]]:
    reporting = [frozenset[str](), frozenset({"wallet.debit"}), frozenset(STEP_AMOUNTS)]
    for debit, booking, end, those, is_compensable in product(STATES, STATES, ENDS, reporting, (True, False)):
        about = (debit, booking, end, sorted(those), is_compensable)
        yield about, page(debit, booking, end, reporting=those, is_compensable=is_compensable)


def sums(ledger: list[Mapping[str, Any]], states: set[str]) -> Decimal:
    return sum((Decimal(each["amount"]) for each in ledger if each["state"] in states and each["amount"]), Decimal(0))


def test_no_line_of_a_page_contradicts_the_ledger() -> None:
    for about, answer in pages():
        ledger, at_risk = answer["ledger"], answer["amount_at_risk"]
        certain = sum((Decimal(each["certain"]) for each in at_risk), Decimal(0))
        possible = sum((Decimal(each["possible"]) for each in at_risk), Decimal(0))
        if answer["status"] == "completed":
            assert not at_risk, about
        else:
            assert certain == sums(ledger, CERTAIN | {"not_compensable"}), about
            assert possible in (sums(ledger, POSSIBLE), WHOLE), about
        is_bound = possible == WHOLE
        customer = answer["customer_line"]
        if is_bound:
            assert certain == 0, about
            assert "nothing was charged" not in customer, (about, customer)
            assert "no charge is recorded" not in customer or "another part" in customer, (about, customer)
            assert re.search(r"may have been charged|not known|may be in effect|no record tells", customer), (
                about,
                customer,
            )
        texts = [answer["headline"], *(each["text"] for each in (answer["verdict"] or {}).get("evidence", []))]
        for text in texts:
            named = {Decimal(each) for each in re.findall(r"EUR (\d+\.\d\d)", text)}
            reported = {Decimal(each["amount"]) for each in ledger if each["amount"]}
            assert named <= reported | {sum(reported)}, (about, text)
        if not any(each["amount"] for each in ledger):
            assert not re.search(r"EUR \S+ (was|were) (not )?charged", customer), (about, customer)


@pytest.mark.parametrize(
    ("reports", "at_risk", "customer"),
    [
        (
            frozenset[str](),
            [{"currency": "EUR", "certain": "0.00", "possible": "70.00"}],
            "The payment of EUR 70.00 failed; what was done is still in effect; the amount may have been charged.",
        ),
        (
            frozenset({"wallet.debit"}),
            [{"currency": "EUR", "certain": "20.00", "possible": "0.00"}],
            "The payment failed; EUR 20.00 was charged, and no refund is recorded.",
        ),
    ],
)
def test_only_an_amount_that_a_step_reports_is_certain(
    reports: frozenset[str], at_risk: list[dict[str, str]], customer: str
) -> None:
    answer = page("committed", "refused", "failed", reporting=reports, is_compensable=True)
    assert answer["amount_at_risk"] == at_risk
    assert answer["customer_line"] == customer


def test_a_charge_that_has_no_compensation_is_not_denied() -> None:
    answer = page("committed", "refused", "failed", reporting=frozenset[str](), is_compensable=False)
    assert answer["customer_line"] == (
        "The payment of EUR 70.00 failed; no record tells whether the amount was charged."
    )
