"""One sentence for a person outside engineering: charged or not, refunded or not, from the ledger alone.

Amounts are those that steps report. The saga's own amount is attributed to no step: where no step reports one, the
sentence says only what may have happened to it.
"""

import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import LedgerState, Phase, Saga, Status
from sagascope_collector.analysis.wording import Text, joined, sentences
from sagascope_collector.analysis.words import business, listing, money, transaction


class Verbs(NamedTuple):
    """What a saga does with money, and what reverses that."""

    charged: str
    charge: str
    refunded: str
    refund: str


CHARGE: Final = Verbs("charged", "charge", "refunded", "refund")
REFUND: Final = Verbs("refunded", "refund", "reversed", "reversal")
PAYOUT: Final = Verbs("paid out", "payout", "reversed", "reversal")
TO_THE_CUSTOMER: Final = {
    "refund": REFUND,
    "reimbursement": REFUND,
    "chargeback": REFUND,
    "payout": PAYOUT,
    "withdrawal": PAYOUT,
    "cashback": PAYOUT,
}
"""By a word in the name of a saga that pays the customer."""

STATUS_WORDS: Final = {
    Status.RUNNING: "is not finished",
    Status.COMPENSATING: "is being canceled",
    Status.COMPLETED: "was completed",
    Status.COMPENSATED: "was canceled",
    Status.FAILED: "failed",
}

CLEAN: Final = frozenset({LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE, LedgerState.NOT_DONE})
"""States of the steps of a saga that completed without an incident."""

IN_EFFECT: Final = (
    LedgerState.COMMITTED,
    LedgerState.COMPENSATION_FAILED,
    LedgerState.COMPENSATING,
    LedgerState.COMPENSATION_UNKNOWN,
    LedgerState.UNKNOWN,
)
"""States of a step that is, or may be, in effect."""


def customer_line(saga: Saga, executed_twice: Phase | None = None) -> Text:
    """The sentence.

    Args:
        saga: the saga, with its ledger.
        executed_twice: the direction in which a step was executed twice; None: none was.
    """
    if saga.continued_as is not None:
        return sentences(f"The {_name(saga)} is not finished; it continues as a new run")
    clauses = list(_clauses(saga))
    if executed_twice is not None:
        clauses.append(_twice(saga, executed_twice))
    return sentences(joined("; ", [_introduction(saga), *clauses]))


def completed_line(name: str, amount: Decimal | None, currency: str | None) -> Text:
    """The sentence of a saga that completed without an incident."""
    return sentences(_subject(transaction(name), amount, currency) + f" {STATUS_WORDS[Status.COMPLETED]}")


def _introduction(saga: Saga) -> str:
    is_whole = saga.status is Status.COMPLETED or not any(line.amount is not None for line in saga.ledger)
    subject = _subject(_name(saga), saga.amount if is_whole else None, saga.currency)
    return f"{subject} {STATUS_WORDS[saga.status]}"


def _subject(name: str, amount: Decimal | None, currency: str | None) -> str:
    return f"The {name}" + (f" of {money(amount, currency)}" if amount is not None else "")


def _name(saga: Saga) -> str:
    return business(saga)


def _verbs(saga: Saga) -> Verbs:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", _name(saga))
    return next((TO_THE_CUSTOMER[each.lower()] for each in words if each.lower() in TO_THE_CUSTOMER), CHARGE)


def _clauses(saga: Saga) -> Iterator[str]:
    states = {line.state for line in saga.ledger}
    if saga.status is Status.COMPLETED and states <= CLEAN:
        return
    if any(line.amount is not None for line in saga.ledger):
        yield from _of_amounts(saga)
        return
    yield from _of_steps(saga)


def _of_amounts(saga: Saga) -> Iterator[str]:
    """What happened to the amounts that steps report."""
    verbs, has_stopped = _verbs(saga), saga.status not in (Status.RUNNING, Status.COMPLETED)
    sums = {state: _sum(saga, state) for state in LedgerState}
    kept = _sum(saga, LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE)
    if kept:
        yield f"{kept} {verbs.charged}" + (f", and no {verbs.refund} is recorded" if has_stopped else "")
    if failed := sums[LedgerState.COMPENSATION_FAILED]:
        yield f"{failed} {verbs.charged}, and the {verbs.refund} failed"
    if compensating := sums[LedgerState.COMPENSATING]:
        yield f"{compensating} {verbs.charged}, and the {verbs.refund} is in progress"
    if doubtful := sums[LedgerState.COMPENSATION_UNKNOWN]:
        yield f"{doubtful} {verbs.charged}, and it is not known whether the {verbs.refund} was made"
    if compensated := _amount(saga, LedgerState.COMPENSATED):
        yield f"any {verbs.charge} of {compensated} was {verbs.refunded}"
    if unknown := sums[LedgerState.UNKNOWN]:
        yield f"it is not known{_yet(saga)} whether {unknown} {verbs.charged}"
    if not_done := sums[LedgerState.NOT_DONE]:
        yield from _not_charged(saga, not_done, verbs)


def _not_charged(saga: Saga, amount: str, verbs: Verbs) -> Iterator[str]:
    if all(line.state is LedgerState.NOT_DONE and line.is_seen for line in saga.ledger):
        yield f"nothing was {verbs.charged}"
        return
    yield f"{amount} not {verbs.charged}"
    rest = [line for line in saga.ledger if line.state in IN_EFFECT and line.amount is None]
    if rest and not any(line.state is not LedgerState.NOT_DONE and line.amount is not None for line in saga.ledger):
        yield "another part of it may be in effect"


def _of_steps(saga: Saga) -> Iterator[str]:
    """What happened to the steps, where none reports an amount. One without a compensation, as a check, moves none."""
    states = {line.state for line in saga.ledger if not line.is_harmless}
    verbs, may_be_in_effect = _verbs(saga), any(state in states for state in IN_EFFECT)
    has_amount = saga.amount is not None and saga.status is not Status.COMPLETED
    if has_amount and states.intersection(IN_EFFECT) == {LedgerState.COMPENSATION_UNKNOWN}:
        yield f"it is not known{_yet(saga)} whether every {verbs.charge} was {verbs.refunded}"
        return
    yield from _of_each_state(saga, states)
    if has_amount:
        so_far = " so far" if saga.status is Status.RUNNING else ""
        if may_be_in_effect:
            yield f"the amount may have been {verbs.charged}"
        elif LedgerState.COMPENSATED in states:
            yield f"any {verbs.charge} was {verbs.refunded}"
        elif _is_nothing_done(saga):
            yield f"nothing was {verbs.charged}{so_far}"
        else:
            yield f"no {verbs.charge} is recorded{so_far}"
    elif _is_nothing_done(saga) and saga.status is not Status.RUNNING:
        yield "nothing of it took effect"


def _of_each_state(saga: Saga, states: Collection[LedgerState]) -> Iterator[str]:
    told = [state for state in (*IN_EFFECT, LedgerState.COMPENSATED) if state in states]
    is_open = saga.status in (Status.RUNNING, Status.COMPLETED)
    for number, state in enumerate(told):
        part = "what was done" if len(told) == 1 else "another part" if number else "part of it"
        match state:
            case LedgerState.COMMITTED:
                yield "part of it is done" if is_open else f"{part} is still in effect"
            case LedgerState.COMPENSATION_FAILED:
                yield f"{part} could not be reversed"
            case LedgerState.COMPENSATING:
                yield f"{part} is being reversed"
            case LedgerState.COMPENSATION_UNKNOWN:
                yield f"it is not known whether {part} was reversed"
            case LedgerState.COMPENSATED:
                yield f"{'everything that was done' if len(told) == 1 else part} was reversed"
            case LedgerState.UNKNOWN:
                yield f"it is not known{_yet(saga)} whether {'it' if len(told) == 1 else part} took effect"


def _is_nothing_done(saga: Saga) -> bool:
    """Whether every step is known to have had no effect."""
    return bool(saga.ledger) and all(line.state is LedgerState.NOT_DONE and line.is_seen for line in saga.ledger)


def _yet(saga: Saga) -> str:
    return " yet" if saga.status in (Status.RUNNING, Status.COMPENSATING) else ""


def _twice(saga: Saga, phase: Phase) -> str:
    verbs = _verbs(saga)
    if saga.amount is None and not any(line.amount is not None for line in saga.ledger):
        return "part of it may have been done twice"
    return f"a {verbs.charge if phase is Phase.FORWARD else verbs.refund} may have been made twice"


def _sum(saga: Saga, *states: LedgerState) -> str:
    """The amounts of the steps in these states, with their verb: ``EUR 50.00 was``; ``""`` where there are none."""
    sums = _sums(saga, states)
    return f"{listing(sums, len(sums))} {'was' if len(sums) == 1 else 'were'}" if sums else ""


def _amount(saga: Saga, state: LedgerState) -> str:
    sums = _sums(saga, (state,))
    return listing(sums, len(sums))


def _sums(saga: Saga, states: Collection[LedgerState]) -> list[str]:
    sums: dict[str, Decimal] = {}
    for line in saga.ledger:
        if line.state in states and line.amount is not None:
            currency = line.currency or saga.currency or ""
            sums[currency] = sums.get(currency, line.amount * 0) + line.amount
    return [money(amount, currency) for currency, amount in sorted(sums.items())]
