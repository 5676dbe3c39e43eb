"""What is committed, what was compensated, and what is unknown of both: sentences at the end of a headline."""

import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from typing import Final

from sagascope_collector.analysis.model import LedgerEntry, LedgerState, Saga, Status
from sagascope_collector.analysis.wording import Text, phrase, sentences
from sagascope_collector.analysis.words import listing, money

MONEY_VERBS: Final = {
    "authorize": "authorized",
    "capture": "captured",
    "charge": "charged",
    "credit": "credited",
    "debit": "debited",
    "pay": "paid",
    "payout": "paid out",
    "transfer": "transferred",
    "withdraw": "withdrawn",
}
"""By the last word of a step's name: what such a step did with its amount."""


Told = Collection[tuple[str | None, LedgerState]]
"""(step, state) of ledger lines of which a headline has said enough."""


def committed(saga: Saga, told: Told = (), failed: str | None = None) -> Text:
    """Sentences about the ledger of a saga that is not completed, but for the lines that were told.

    Of the compensation ``failed``, it was told that it did.
    """
    if saga.status is Status.COMPLETED:
        return Text()
    ledger = [line for line in saga.ledger if (line.step, line.state) not in told]
    return sentences(*_sentences(ledger, saga.currency, failed))


def with_amount(line: LedgerEntry, currency: str | None) -> str:
    """A step with its amount: ``wallet.debit (EUR 50.00)``."""
    return _with_amounts(line.step, [line], currency)


def _sentences(ledger: Sequence[LedgerEntry], currency: str | None, failed: str | None) -> Iterator[str]:
    lines = _of(ledger, LedgerState.COMMITTED)
    lines = [line for line in lines if line.compensation] or lines
    if lines:
        yield _committed(lines, currency)
    if lines := _of(ledger, LedgerState.COMPENSATION_FAILED):
        still = phrase("{} still committed", _are(lines, currency))
        is_told = all(line.compensation == failed for line in lines)
        yield still if is_told else phrase("{}: {} failed", still, _compensations(lines))
    if lines := _of(ledger, LedgerState.COMPENSATING):
        yield phrase("{} committed; {} {} not finished", _are(lines, currency), _compensations(lines), _have(lines))
    if lines := _of(ledger, LedgerState.COMPENSATION_UNKNOWN):
        yield phrase("{} executed; it is unknown whether {} took effect", _were(lines, currency), _compensations(lines))
    if lines := _of(ledger, LedgerState.UNKNOWN):
        yield phrase("It is unknown whether {} took effect", _named(lines, currency))


def _committed(lines: Sequence[LedgerEntry], currency: str | None) -> Text:
    first = lines[0]
    compensation = "compensation" if first.compensation else ""
    if len(lines) == 1 and first.amount is not None and (verb := MONEY_VERBS.get(_last_word(first.step))):
        said = phrase("{} was {} ({})", money(first.amount, first.currency or currency), verb, first.step)
        if first.compensation and _last_word(first.compensation) == "refund":
            compensation = "refund"
    else:
        said = phrase("{} committed", _are(lines, currency))
    return phrase("{}; no {} was received", said, compensation) if compensation else said


def _of(ledger: Sequence[LedgerEntry], state: LedgerState) -> list[LedgerEntry]:
    return [line for line in ledger if line.state is state]


def _are(lines: Sequence[LedgerEntry], currency: str | None) -> Text:
    return phrase("{} {}", _named(lines, currency), "is" if _count(lines) == 1 else "are")


def _were(lines: Sequence[LedgerEntry], currency: str | None) -> Text:
    return phrase("{} {}", _named(lines, currency), "was" if _count(lines) == 1 else "were")


def _have(lines: Sequence[LedgerEntry]) -> str:
    return "has" if len({line.compensation for line in lines}) == 1 else "have"


def _count(lines: Sequence[LedgerEntry]) -> int:
    return len({line.step for line in lines})


def _named(lines: Sequence[LedgerEntry], currency: str | None) -> Text:
    """The steps with their amounts, repetitions of one step together: ``item.reserve (3 times, EUR 30.00)``."""
    by_step: dict[str, list[LedgerEntry]] = {}
    for line in lines:
        by_step.setdefault(line.step, []).append(line)
    return listing([_with_amounts(step, of_step, currency) for step, of_step in by_step.items()])


def _with_amounts(step: str, lines: Sequence[LedgerEntry], currency: str | None) -> str:
    sums: dict[str, Decimal] = {}
    for line in lines:
        if line.amount is not None:
            unit = line.currency or currency or ""
            sums[unit] = sums.get(unit, line.amount * 0) + line.amount
    told = [f"{len(lines)} times"] if len(lines) > 1 else []
    told += [money(amount, unit) for unit, amount in sorted(sums.items())]
    return f"{step} ({', '.join(told)})" if told else step


def _compensations(lines: Sequence[LedgerEntry]) -> Text:
    names = list(dict.fromkeys(line.compensation for line in lines if line.compensation))
    return listing(names) if names else Text("the compensation")


def _last_word(name: str) -> str:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return words[-1].lower() if words else ""
