"""What is in force, said in words: for the headline, and for the customer."""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from sagascope_collector.sagas.model import LedgerState, Saga, Status
from sagascope_collector.sagas.words import listing, money

IN_FORCE = (LedgerState.IN_FORCE, LedgerState.UNDOING, LedgerState.UNDO_FAILED)


def in_force(saga: Saga, stands_in: str | None = None) -> str | None:
    """A clause on what is done and not undone, and what may be; None where that is nothing.

    Of the step in which it stands, nothing more need be said.
    """
    kept = [line.step for line in saga.ledger if line.state in IN_FORCE and line.compensation]
    kept = kept or [line.step for line in saga.ledger if line.state in IN_FORCE]
    unsure = [line.step for line in saga.ledger if line.state is LedgerState.UNKNOWN and line.step != stands_in]
    clauses = []
    if kept:
        certain = [money(each.certain, each.currency) for each in saga.exposure if each.certain]
        verb = "is" if len(certain or kept) == 1 else "are"
        clauses.append(
            f"{listing(certain)} from {listing(kept)} {verb} in force"
            if certain
            else f"{listing(kept)} {verb} in force"
        )
    if unsure:
        clauses.append(f"whether {listing(unsure)} {'was' if len(unsure) == 1 else 'were'} done is not known")
    return "; ".join(clauses) or None


class Words(NamedTuple):
    """What a saga does with money, and what undoes that."""

    done: str
    undone: str


CHARGES: Final = Words("charged", "refunded")
TO_THE_CUSTOMER: Final = {
    "refund": Words("refunded", "taken back"),
    "reimbursement": Words("refunded", "taken back"),
    "chargeback": Words("refunded", "taken back"),
    "payout": Words("paid out", "taken back"),
    "withdrawal": Words("paid out", "taken back"),
    "cashback": Words("paid out", "taken back"),
}
"""By a word in the name of a saga that pays, instead of one that is paid."""


def _words(saga: Saga) -> Words:
    named = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", saga.key.name)
    return next((TO_THE_CUSTOMER[each.lower()] for each in named if each.lower() in TO_THE_CUSTOMER), CHARGES)


def customer_line(saga: Saga) -> str:
    """One sentence for a person outside engineering: charged or not, refunded or not, as far as is known."""
    if any(each.certain for each in saga.exposure):
        return _charged(saga)
    possible, words = _sums(saga, "possible"), _words(saga)
    if possible:
        return f"It is not known yet whether {possible} was {words.done}; nothing is known to be {words.undone}."
    if saga.status is Status.COMPLETED:
        whole = f" of {money(saga.amount, saga.currency)}" if saga.amount is not None else ""
        return f"The {saga.key.name}{whole} went through."
    stands = any(line.state in IN_FORCE for line in saga.ledger)
    if any(line.state is LedgerState.UNDONE for line in saga.ledger):
        return _undone(saga, stands=stands)
    if stands:
        return _stands(saga)
    if saga.status is Status.RUNNING:
        charged = f"Nothing was {words.done} so far; " if saga.amount is not None else ""
        return f"{charged}the {saga.key.name} is not finished." if charged else f"The {saga.key.name} is not finished."
    charged = f"; nothing was {words.done}" if saga.amount is not None else ""
    return f"The {saga.key.name} did not go through{charged}."


def _charged(saga: Saga) -> str:
    possible, words = _sums(saga, "possible"), _words(saga)
    more = f"; a further {possible} may have been" if possible else ""
    if any(line.state is LedgerState.UNDOING for line in saga.ledger):
        return f"{_sums(saga, 'certain')} was {words.done} and is being {words.undone}{more}."
    return f"{_sums(saga, 'certain')} was {words.done}{more}; nothing was {words.undone}."


def _undone(saga: Saga, *, stands: bool) -> str:
    words = _words(saga)
    back = f"what was {words.done} was {words.undone}" if saga.amount is not None else "what was done was undone"
    if stands:
        back = "some of what was done was undone, and some still stands"
    return f"The {saga.key.name} {_given_up(saga)}; {back}."


def _stands(saga: Saga) -> str:
    if saga.status in (Status.RUNNING, Status.COMPENSATING):
        return f"The {saga.key.name} was begun and is not finished; what was done so far still stands."
    return f"The {saga.key.name} {_given_up(saga)}; what was done still stands."


def _given_up(saga: Saga) -> str:
    return "is being given up" if saga.status in (Status.RUNNING, Status.COMPENSATING) else "did not go through"


def _sums(saga: Saga, side: str) -> str:
    amounts: list[tuple[Decimal, str]] = [(getattr(each, side), each.currency) for each in saga.exposure]
    return listing([money(amount, currency) for amount, currency in amounts if amount])
