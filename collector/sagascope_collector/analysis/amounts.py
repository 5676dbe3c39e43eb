"""The amount at risk: what was committed and not compensated, or may have been."""

from collections.abc import Sequence
from decimal import Decimal

from sagascope_collector.analysis.ledger import POSSIBLE_STATES, StepEffect, further, left_open, may_be_done
from sagascope_collector.analysis.model import COMMITTED_STATES, AmountAtRisk, Attempt, LedgerEntry, LedgerState, Status
from sagascope_collector.analysis.values import total


def amounts_at_risk(
    effects: Sequence[StepEffect],
    entries: Sequence[LedgerEntry],
    status: Status,
    amount: Decimal | None,
    currency: str | None,
) -> tuple[AmountAtRisk, ...]:
    """Returns the sums of certainly and possibly committed amounts.

    If none of these attempts has an amount, the saga's own is the most that may be at risk: no record tells which part
    of it a step moved.
    """
    if status is Status.COMPLETED:
        return ()
    certain, possible = _at_risk(effects, entries, status)
    sums = _sums(certain, possible, currency)
    if sums or amount is None or not (certain or possible):
        return sums
    return (AmountAtRisk(currency or "", amount * 0, amount),)


def _at_risk(
    effects: Sequence[StepEffect], entries: Sequence[LedgerEntry], status: Status
) -> tuple[list[Attempt], list[Attempt]]:
    certain: list[Attempt] = []
    possible: list[Attempt] = []
    for effect, entry in zip(effects, entries, strict=True):
        # a step without a compensation, such as a check, moves the saga's money only if it reports an amount
        possible += [each for each in further(effect) if each.amount is not None or not entry.is_not_compensable]
        if entry.state in COMMITTED_STATES:
            certain += effect.committed
        elif entry.state is LedgerState.NOT_COMPENSABLE:
            certain += [each for each in effect.committed if each.amount is not None]
        elif entry.state in POSSIBLE_STATES:
            possible += effect.committed or _unresolved(effect, entry, status)
    return certain, possible


def _unresolved(effect: StepEffect, entry: LedgerEntry, status: Status) -> list[Attempt]:
    """The latest attempt that may be committed; attempts in flight count only if they move money."""
    return [
        each
        for each in left_open(effect)[-1:]
        if not entry.is_not_compensable or each.amount is not None or may_be_done(each, status)
    ]


def _sums(certain: Sequence[Attempt], possible: Sequence[Attempt], currency: str | None) -> tuple[AmountAtRisk, ...]:
    sums: dict[str, tuple[list[Decimal], list[Decimal]]] = {}
    for index, attempts in enumerate((certain, possible)):
        for each in attempts:
            if each.amount is not None:
                sums.setdefault(each.currency or currency or "", ([], []))[index].append(each.amount)
    return tuple(AmountAtRisk(name, *_with_equal_places(*both)) for name, both in sorted(sums.items()))


def _with_equal_places(*several: Sequence[Decimal]) -> Sequence[Decimal]:
    """Adds up amounts, padded to the largest number of decimal places of all: ``0.00`` with ``50.00``."""
    zeros = [amount * 0 for amounts in several for amount in amounts]
    return [total([*amounts, *zeros]) for amounts in several]
