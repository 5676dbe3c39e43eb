"""Sentences about the ledger: committed work for engineers, charges and refunds for customers.

Amounts are those that steps report. The saga's own amount is attributed to no step: if no step reports one, the
customer line states what may have happened to it, and the amount at risk has it as an upper bound.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import (
    IN_EFFECT_STATES,
    LedgerEntry,
    LedgerState,
    Phase,
    Saga,
    Status,
    type_label,
)
from sagascope_collector.analysis.values import total
from sagascope_collector.analysis.wording import Text, joined, money, name_list, phrase, run_name, sentences
from sagascope_collector.records import SagaKey

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
"""The verb for a step's amount, by the last word of the step's name."""


Stated = Collection[tuple[str | None, str, LedgerState]]
"""The (step, key, state) of ledger entries that the rest of the headline states."""


def committed(saga: Saga, stated: Stated = (), failed: str | None = None) -> Text:
    """Returns sentences about the ledger of a saga that is not completed, without the entries already stated.

    The failure of the compensation ``failed`` is already stated.
    """
    if saga.status is Status.COMPLETED:
        return Text()
    ledger = [entry for entry in saga.ledger if (entry.step, entry.key, entry.state) not in stated]
    return sentences(*_sentences(ledger, saga.currency, failed))


def with_amount(entry: LedgerEntry, currency: str | None) -> str:
    """Returns a step with its item and its amount: ``wallet.debit (EUR 50.00)``."""
    return _with_amounts(entry.step, [entry], currency)


def _sentences(ledger: Sequence[LedgerEntry], currency: str | None, failed: str | None) -> Iterator[str]:
    entries = _of(ledger, LedgerState.COMMITTED)
    entries = [entry for entry in entries if entry.compensation] or entries
    if entries:
        yield _committed(entries, currency)
    if entries := _of(ledger, LedgerState.COMPENSATION_FAILED):
        still = phrase("{} still committed", _are(entries, currency))
        is_told = all(entry.compensation == failed for entry in entries)
        yield still if is_told else phrase("{}: {} failed", still, _compensations(entries))
    if entries := _of(ledger, LedgerState.COMPENSATING):
        have = "has" if len({entry.compensation for entry in entries}) == 1 else "have"
        yield phrase("{} committed; {} {} not finished", _are(entries, currency), _compensations(entries), have)
    if entries := _of(ledger, LedgerState.COMPENSATION_UNKNOWN):
        yield phrase(
            "{} executed; it is unknown whether {} took effect", _were(entries, currency), _compensations(entries)
        )
    if entries := _of(ledger, LedgerState.UNKNOWN):
        yield phrase("It is unknown whether {} took effect", _named(entries, currency))


def _committed(entries: Sequence[LedgerEntry], currency: str | None) -> Text:
    first = entries[0]
    compensation = "compensation" if first.compensation else ""
    if len(entries) == 1 and first.amount is not None and (verb := MONEY_VERBS.get(_last_word(first.step))):
        step = f"{first.step}, {first.key}" if first.key else first.step
        text = phrase("{} was {} ({})", money(first.amount, first.currency or currency), verb, step)
        if first.compensation and _last_word(first.compensation) == "refund":
            compensation = "refund"
    else:
        text = phrase("{} committed", _are(entries, currency))
    return phrase("{}; no {} was received", text, compensation) if compensation else text


def _of(ledger: Sequence[LedgerEntry], state: LedgerState) -> list[LedgerEntry]:
    return [entry for entry in ledger if entry.state is state]


def _are(entries: Sequence[LedgerEntry], currency: str | None) -> Text:
    return phrase("{} {}", _named(entries, currency), "is" if _count(entries) == 1 else "are")


def _were(entries: Sequence[LedgerEntry], currency: str | None) -> Text:
    return phrase("{} {}", _named(entries, currency), "was" if _count(entries) == 1 else "were")


def _count(entries: Sequence[LedgerEntry]) -> int:
    return len({entry.step for entry in entries})


def _named(entries: Sequence[LedgerEntry], currency: str | None) -> Text:
    """The steps with their amounts, repetitions of a step combined: ``item.reserve (3 times, EUR 30.00)``."""
    by_step: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        by_step.setdefault(entry.step, []).append(entry)
    return name_list([_with_amounts(step, of_step, currency) for step, of_step in by_step.items()])


def _with_amounts(step: str, entries: Sequence[LedgerEntry], currency: str | None) -> str:
    parts = [f"{len(entries)} times"] if len(entries) > 1 else [entry.key for entry in entries if entry.key]
    parts += _totals(entries, currency)
    return f"{step} ({', '.join(parts)})" if parts else step


def _compensations(entries: Sequence[LedgerEntry]) -> Text:
    names = list(dict.fromkeys(entry.compensation for entry in entries if entry.compensation))
    return name_list(names) if names else Text("the compensation")


def _last_word(name: str) -> str:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return words[-1].lower() if words else ""


class Verbs(NamedTuple):
    """The verbs for what a saga does with money and for the reverse."""

    charged: str
    charge: str
    refunded: str
    refund: str


CHARGE: Final = Verbs("charged", "charge", "refunded", "refund")
REFUND: Final = Verbs("refunded", "refund", "reversed", "reversal")
PAYOUT: Final = Verbs("paid out", "payout", "reversed", "reversal")
PAYS_CUSTOMER: Final = {
    "refund": REFUND,
    "reimbursement": REFUND,
    "chargeback": REFUND,
    "payout": PAYOUT,
    "withdrawal": PAYOUT,
    "cashback": PAYOUT,
}
"""The verbs of sagas that pay the customer, by a word in the saga's name."""

STATUS_WORDS: Final = {
    Status.RUNNING: "is not finished",
    Status.COMPENSATING: "is being canceled",
    Status.COMPLETED: "was completed",
    Status.COMPENSATED: "was canceled",
    Status.FAILED: "failed",
}

CLEAN_STATES: Final = frozenset(
    {LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE, LedgerState.NOT_DONE, LedgerState.NOT_SEEN}
)
"""States of the steps of a saga that completed without an incident."""

CHARGED_STATES: Final = (
    LedgerState.COMMITTED,
    LedgerState.NOT_COMPENSABLE,
    LedgerState.COMPENSATION_FAILED,
    LedgerState.COMPENSATING,
    LedgerState.COMPENSATION_UNKNOWN,
)
"""States of a step whose amount was charged."""

NOTHING_RECEIVED_STATES: Final = (LedgerState.NOT_DONE, LedgerState.NOT_SEEN)
"""States of a step without a received attempt that took effect."""


def customer_line(saga: Saga, executed_twice: Phase | None = None) -> Text:
    """Returns the customer line.

    Args:
        saga: The saga, with its ledger.
        executed_twice: The phase in which a step was executed twice; None if none was.
    """
    if saga.continued_as is not None:
        return sentences(f"The {saga.type_label} continues as a new run")
    if saga.relying_run is not None:
        return sentences(_of_a_repeated_run(saga, saga.relying_run))
    clauses = list(_clauses(saga))
    if executed_twice is not None:
        clauses.append(_twice(saga, executed_twice))
    return sentences(joined("; ", [_introduction(saga), *clauses]))


def _of_a_repeated_run(saga: Saga, relying: SagaKey) -> str:
    """The sentence about a failed run on which another run of the id relies, and about what that run does not cover."""
    left = tuple(entry for entry in saga.ledger if entry.step not in saga.relied_on)
    is_left = any(entry.state in IN_EFFECT_STATES for entry in left)
    other = f"The {saga.type_label} failed in this run, and {run_name(relying, 'another run')} applies"
    return joined("; ", [other, *(_clauses(replace(saga, ledger=left)) if is_left else ())])


def completed_line(name: str, amount: Decimal | None, currency: str | None) -> Text:
    """Returns the customer line of a saga that completed without an incident."""
    return sentences(_subject(type_label(name), amount, currency) + f" {STATUS_WORDS[Status.COMPLETED]}")


def _introduction(saga: Saga) -> str:
    is_whole = saga.status is Status.COMPLETED or not any(entry.amount is not None for entry in saga.ledger)
    subject = _subject(saga.type_label, saga.amount if is_whole else None, saga.currency)
    return f"{subject} {STATUS_WORDS[saga.status]}"


def _subject(name: str, amount: Decimal | None, currency: str | None) -> str:
    return f"The {name}" + (f" of {money(amount, currency)}" if amount is not None else "")


def _verbs(saga: Saga) -> Verbs:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", saga.type_label)
    return next((PAYS_CUSTOMER[each.lower()] for each in words if each.lower() in PAYS_CUSTOMER), CHARGE)


def _clauses(saga: Saga) -> Iterator[str]:
    states = {entry.state for entry in saga.ledger}
    is_repeated = any(entry.may_be_repeated and entry.amount is not None for entry in saga.ledger)
    if saga.status is Status.COMPLETED and states <= CLEAN_STATES and not is_repeated:
        return
    if any(entry.amount is not None for entry in saga.ledger):
        yield from _of_amounts(saga)
        return
    yield from _of_steps(saga)


def _of_amounts(saga: Saga) -> Iterator[str]:
    """The sentences about the amounts that steps report."""
    verbs, has_stopped = _verbs(saga), saga.status not in (Status.RUNNING, Status.COMPLETED)
    if kept := _charged(saga, LedgerState.COMMITTED, LedgerState.NOT_COMPENSABLE):
        yield kept + (f", and no {verbs.refund} is recorded" if has_stopped else "")
    if failed := _charged(saga, LedgerState.COMPENSATION_FAILED):
        yield f"{failed}, and the {verbs.refund} failed"
    if compensating := _charged(saga, LedgerState.COMPENSATING):
        yield f"{compensating}, and the {verbs.refund} is in progress"
    if unrefunded := _charged(saga, LedgerState.COMPENSATION_UNKNOWN):
        yield f"{unrefunded}, and it is not known whether the {verbs.refund} was made"
    if compensated := _amount(saga, LedgerState.COMPENSATED):
        refunded = name_list(_sums(_as_compensated(saga), [LedgerState.COMPENSATED]))
        of_charge = f"any {verbs.charge} of {compensated} was {verbs.refunded}"
        yield of_charge if refunded == compensated else f"only {refunded} of {of_charge}, as far as recorded"
    doubtful = [entry for entry in saga.ledger if entry.state is LedgerState.UNKNOWN or entry.may_be_repeated]
    if unknown := _with_verb(_totals(doubtful, saga.currency)):
        is_further = any(entry.may_be_repeated for entry in doubtful) or bool(_sums(saga, CHARGED_STATES))
        yield f"it is not known{_yet(saga)} whether {'a further ' if is_further else ''}{unknown} {verbs.charged}"
    yield from _not_charged(saga, verbs)


def _not_charged(saga: Saga, verbs: Verbs) -> Iterator[str]:
    if _is_nothing_done(saga):
        yield f"nothing was {verbs.charged}"
        return
    is_any_charged = any(
        entry.amount is not None and entry.state not in NOTHING_RECEIVED_STATES for entry in saga.ledger
    )
    further = "a further " if is_any_charged else ""
    not_recorded = NOTHING_RECEIVED_STATES if saga.may_lack_telemetry else (LedgerState.NOT_SEEN,)
    if not saga.may_lack_telemetry and (not_done := _sum(saga, LedgerState.NOT_DONE)):
        yield f"{further}{not_done} not {verbs.charged}"
    if not_seen := _amount(saga, *not_recorded):
        yield f"no {verbs.charge} of {further}{not_seen} is recorded{_so_far(saga)}"
    in_effect = [entry for entry in saga.ledger if entry.state in IN_EFFECT_STATES]
    if in_effect and all(entry.amount is None for entry in in_effect):
        yield "another part of it may be in effect"


def _of_steps(saga: Saga) -> Iterator[str]:
    """The sentences about the steps if none reports an amount.

    Steps without a compensation, such as checks, are not mentioned; whether they moved the saga's amount is not known.
    """
    states = {entry.state for entry in saga.ledger if not entry.is_not_compensable}
    verbs, may_be_in_effect = _verbs(saga), any(state in states for state in IN_EFFECT_STATES)
    has_amount = saga.amount is not None and saga.status is not Status.COMPLETED
    if has_amount and states.intersection(IN_EFFECT_STATES) == {LedgerState.COMPENSATION_UNKNOWN}:
        yield f"it is not known{_yet(saga)} whether every {verbs.charge} was {verbs.refunded}"
        return
    yield from _of_each_state(saga, states)
    if has_amount and may_be_in_effect:
        yield f"the amount may have been {verbs.charged}"
    elif has_amount:
        is_reversed = LedgerState.COMPENSATED in states and not saga.may_have_other_participants
        yield _of_whole_amount(saga, verbs, is_reversed=is_reversed)
    elif _is_nothing_done(saga) and saga.status is not Status.RUNNING:
        yield "nothing of it took effect"


def _of_whole_amount(saga: Saga, verbs: Verbs, *, is_reversed: bool) -> str:
    """The sentence about the saga's amount if no compensable step is in effect."""
    others = {entry.state for entry in saga.ledger if entry.is_not_compensable}
    if LedgerState.UNKNOWN in others or (LedgerState.NOT_COMPENSABLE in others and not is_reversed):
        return f"no record tells whether the amount was {verbs.charged}"
    if is_reversed and any(entry.may_be_repeated for entry in saga.ledger):
        return f"it is not known whether every {verbs.charge} was {verbs.refunded}"
    if is_reversed:
        return f"any {verbs.charge} was {verbs.refunded}"
    nothing = f"nothing was {verbs.charged}" if _is_nothing_done(saga) else f"no {verbs.charge} is recorded"
    return nothing + _so_far(saga)


def _of_each_state(saga: Saga, states: Collection[LedgerState]) -> Iterator[str]:
    present = [state for state in (*IN_EFFECT_STATES, LedgerState.COMPENSATED) if state in states]
    is_open = saga.status in (Status.RUNNING, Status.COMPLETED)
    for number, state in enumerate(present):
        part = "what was done" if len(present) == 1 else "another part" if number else "part of it"
        match state:
            case LedgerState.COMMITTED:
                yield "part of it is done" if is_open else f"{part} is still in effect"
            case LedgerState.COMPENSATION_FAILED:
                yield f"{part} could not be reversed"
            case LedgerState.COMPENSATING:
                yield f"{part} is being reversed"
            case LedgerState.COMPENSATION_UNKNOWN:
                yield f"it is not known whether {part} was reversed"
            case LedgerState.COMPENSATED if saga.may_have_other_participants:
                yield f"{'what is recorded of it' if len(present) == 1 else part} was rolled back"
            case LedgerState.COMPENSATED:
                is_all = not any(entry.may_be_repeated for entry in saga.ledger)
                whole = "everything that was done" if is_all else "what is recorded of it"
                yield f"{whole if len(present) == 1 else part} was reversed"
            case LedgerState.UNKNOWN:
                yield f"it is not known{_yet(saga)} whether {'it' if len(present) == 1 else part} took effect"


def _is_nothing_done(saga: Saga) -> bool:
    """Whether every step is known to have had no effect; requires a plan without steps that run once per item."""
    is_each_known = saga.plan.source != "none" and not any(step.key for step in saga.steps)
    return (
        is_each_known
        and not saga.may_lack_telemetry
        and bool(saga.ledger)
        and all(entry.state is LedgerState.NOT_DONE for entry in saga.ledger)
    )


def _so_far(saga: Saga) -> str:
    return " so far" if saga.status is Status.RUNNING else ""


def _yet(saga: Saga) -> str:
    return " yet" if saga.status in (Status.RUNNING, Status.COMPENSATING) else ""


def _twice(saga: Saga, phase: Phase) -> str:
    verbs = _verbs(saga)
    if saga.amount is None and not any(entry.amount is not None for entry in saga.ledger):
        return "part of it may have been done twice"
    is_any_compensated = any(entry.state is LedgerState.COMPENSATED for entry in saga.ledger)
    once = f", and {verbs.refunded} only once" if phase is Phase.FORWARD and is_any_compensated else ""
    return f"a {verbs.charge if phase is Phase.FORWARD else verbs.refund} may have been made twice{once}"


def _as_compensated(saga: Saga) -> Saga:
    """The saga with the amounts that compensations report, where they report less than was charged."""
    partial = (
        replace(entry, amount=min(entry.amount, entry.compensated_amount))
        if entry.amount is not None and entry.compensated_amount is not None
        else entry
        for entry in saga.ledger
    )
    return replace(saga, ledger=tuple(partial))


def _charged(saga: Saga, *states: LedgerState) -> str:
    """The clause that the amounts of the steps in these states were charged; ``""`` where there are none.

    The sum over several steps is an upper bound: an authorization and its capture, for example, report the same money.
    """
    if not (total := _sum(saga, *states)):
        return ""
    steps = {entry.step for entry in saga.ledger if entry.state in states and entry.amount is not None}
    verb = MONEY_VERBS["authorize"] if {_last_word(each) for each in steps} == {"authorize"} else _verbs(saga).charged
    return f"{'up to ' if len(steps) > 1 else ''}{total} {verb}"


def _sum(saga: Saga, *states: LedgerState) -> str:
    """The amounts of the steps in these states, with a verb: ``EUR 50.00 was``; ``""`` where there are none."""
    return _with_verb(_sums(saga, states))


def _with_verb(sums: Sequence[str]) -> str:
    return f"{name_list(sums, len(sums))} {'was' if len(sums) == 1 else 'were'}" if sums else ""


def _amount(saga: Saga, *states: LedgerState) -> str:
    sums = _sums(saga, states)
    return name_list(sums, len(sums))


def _sums(saga: Saga, states: Collection[LedgerState]) -> list[str]:
    return _totals((entry for entry in saga.ledger if entry.state in states), saga.currency)


def _totals(entries: Iterable[LedgerEntry], currency: str | None) -> list[str]:
    """The sum of the amounts in each currency; `currency` is that of amounts without one."""
    amounts: dict[str, list[Decimal]] = {}
    for entry in entries:
        if entry.amount is not None:
            amounts.setdefault(entry.currency or currency or "", []).append(entry.amount)
    return [money(total(each), unit) for unit, each in sorted(amounts.items())]
