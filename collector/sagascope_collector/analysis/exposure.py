"""The amount at risk in a saga that is not completed, by currency."""

from collections.abc import Sequence
from decimal import Decimal

from sagascope_collector.analysis.accounts import Account
from sagascope_collector.analysis.ledger import UNTOLD, may_be_done
from sagascope_collector.analysis.model import AmountAtRisk, Attempt, LedgerEntry, LedgerState, Status

CERTAIN = (LedgerState.COMMITTED, LedgerState.COMPENSATING, LedgerState.COMPENSATION_FAILED)
"""States in which the step is committed for certain, and not compensated."""

POSSIBLE = (LedgerState.UNKNOWN, LedgerState.COMPENSATION_UNKNOWN)
"""States in which it is unknown whether the step, or its compensation, took effect."""


def amounts_at_risk(
    books: Sequence[Account],
    lines: Sequence[LedgerEntry],
    status: Status,
    amount: Decimal | None,
    currency: str | None,
) -> tuple[AmountAtRisk, ...]:
    """The sum of what is committed, and of what may be; where no attempt has an amount, the saga's own, once."""
    if status is Status.COMPLETED:
        return ()
    certain, possible = _at_risk(books, lines, status)
    sums = _sums(certain, possible, currency)
    if sums or amount is None or not (certain or possible):
        return sums
    none = amount * 0
    return (AmountAtRisk(currency or "", amount, none) if certain else AmountAtRisk(currency or "", none, amount),)


def _at_risk(
    books: Sequence[Account], lines: Sequence[LedgerEntry], status: Status
) -> tuple[list[Attempt], list[Attempt]]:
    certain: list[Attempt] = []
    possible: list[Attempt] = []
    for account, line in zip(books, lines, strict=True):
        if line.state in CERTAIN:
            certain += account.kept
        elif line.state is LedgerState.NOT_COMPENSABLE:
            # a step without a compensation, such as a check, moves the saga's money only where it says so
            certain += [each for each in account.kept if each.amount is not None]
        elif line.state in POSSIBLE:
            possible += account.kept or _untold(account, line, status)
    return certain, possible


def _untold(account: Account, line: LedgerEntry, status: Status) -> list[Attempt]:
    """The latest attempt that may have been committed; of what is in flight, like a check, only what moves money."""
    latest = [each for each in account.does if each.state in UNTOLD][-1:]
    return [each for each in latest if not line.is_harmless or each.amount is not None or may_be_done(each, status)]


def _sums(certain: Sequence[Attempt], possible: Sequence[Attempt], currency: str | None) -> tuple[AmountAtRisk, ...]:
    sums: dict[str, list[Decimal]] = {}
    for place, attempts in enumerate((certain, possible)):
        for each in attempts:
            if each.amount is not None:
                sums.setdefault(each.currency or currency or "", [Decimal(0), Decimal(0)])[place] += each.amount
    return tuple(AmountAtRisk(name, *_alike(*both)) for name, both in sorted(sums.items()))


def _alike(*amounts: Decimal) -> Sequence[Decimal]:
    """Amounts with as many decimal places as the one that has most: ``0.00`` beside ``50.00``."""
    zero = sum(amount * 0 for amount in amounts)
    return [amount + zero for amount in amounts]
