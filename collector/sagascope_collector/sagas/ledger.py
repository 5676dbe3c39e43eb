"""What is in force of each step, and what is at stake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sagascope import semconv
from sagascope_collector.sagas.model import (
    Attempt,
    AttemptState,
    Exposure,
    LedgerEntry,
    LedgerState,
    Plan,
    Status,
    Step,
)
from sagascope_collector.sagas.order import effects, took_effect_after


@dataclass(slots=True)
class Account:
    """All that was done and undone of one step, by key."""

    name: str
    key: str
    does: list[Attempt] = field(default_factory=list)
    undoes: list[Attempt] = field(default_factory=list)
    prepares: list[Attempt] = field(default_factory=list)
    compensation: str | None = None

    def done(self) -> list[Attempt]:
        """Attempts that took effect, in order."""
        return effects(self.does)

    def undone(self) -> list[Attempt]:
        """Undos that took effect, in order."""
        return effects(self.undoes)

    def at(self) -> int:
        """When it was last done, else begun: the order in which things are to be undone."""
        return max((each.over or each.began for each in self.done() or self.does or self.prepares), default=0)


def accounts(steps: Sequence[Step], plan: Plan) -> list[Account]:
    """One account for each step and key that was tried, in the order in which they were done."""
    opened: dict[tuple[str, str], Account] = {}
    for step in steps:
        if step.attempts and step.type != semconv.TYPE_COMPENSATION:
            account = opened.setdefault((step.name, step.key), Account(step.name, step.key))
            _side(account, step.type).extend(step.attempts)
    for step in steps:
        if step.type == semconv.TYPE_COMPENSATION and step.attempts:
            for account in _undone_by(step, opened):
                account.undoes.extend(step.attempts)
                account.compensation = step.name
    for account in opened.values():
        planned = plan.step(account.name)
        account.compensation = (planned.compensation if planned else None) or account.compensation
    return sorted(opened.values(), key=lambda each: (each.at(), each.name, each.key))


def _side(account: Account, kind: str) -> list[Attempt]:
    if kind == semconv.TYPE_ROLLBACK:
        return account.undoes
    return account.prepares if kind == semconv.TYPE_PREPARE else account.does


def _undone_by(undo: Step, opened: dict[tuple[str, str], Account]) -> Iterator[Account]:
    """The account of the same key; where there is none, every account of the step that it undoes."""
    if undo.compensates is None:
        return
    same = opened.get((undo.compensates, undo.key))
    if same is not None:
        yield same
        return
    yield from (account for account in opened.values() if account.name == undo.compensates)


def entry(account: Account, plan: Plan, status: Status) -> LedgerEntry:
    """The line of the ledger for one account."""
    amounts = [each for each in (*account.done(), *account.does, *account.prepares) if each.amount is not None]
    return LedgerEntry(
        step=account.name,
        compensation=account.compensation,
        state=_state(account, plan, status),
        amount=amounts[0].amount if amounts else None,
        currency=amounts[0].currency if amounts else None,
    )


def _state(account: Account, plan: Plan, status: Status) -> LedgerState:
    if in_force(account):
        return _state_of_done(account, plan, status)
    if account.undone():
        return LedgerState.UNDONE
    if any(may_be_done(each, status) for each in account.does):
        return LedgerState.UNKNOWN
    if any(each.state is AttemptState.OK for each in account.prepares):
        return LedgerState.UNKNOWN
    return LedgerState.NOT_DONE


def _state_of_done(account: Account, plan: Plan, status: Status) -> LedgerState:
    undoing = [each for each in account.undoes if each.state is not AttemptState.OK]
    if undoing and not account.undone():
        return _state_of_undo(undoing[-1], status)
    planned = plan.step(account.name)
    if account.compensation is None and planned is not None and plan.undo_known:
        return LedgerState.NOTHING_TO_UNDO
    return LedgerState.IN_FORCE


def _state_of_undo(latest: Attempt, status: Status) -> LedgerState:
    if latest.state is AttemptState.UNKNOWN:
        return LedgerState.UNKNOWN
    if latest.state is AttemptState.ERROR and is_for_good(latest, status):
        return LedgerState.UNDO_FAILED
    return LedgerState.UNDOING


def is_for_good(attempt: Attempt, status: Status) -> bool:
    """Whether a failed attempt was the last: the saga has ended, or it was the last allowed."""
    return has_ended(status) or (attempt.max_attempts is not None and attempt.number >= attempt.max_attempts)


def has_ended(status: Status) -> bool:
    """Whether the saga is over."""
    return status in (Status.COMPLETED, Status.COMPENSATED, Status.FAILED)


def in_force(account: Account) -> list[Attempt]:
    """What was done and not undone afterwards."""
    undone = account.undone()
    return [each for each in account.done() if not undone or all(took_effect_after(each, undo) for undo in undone)]


def may_be_done(attempt: Attempt, status: Status) -> bool:
    """Whether its outcome is unknown: so it was told, or nobody waits for it any more."""
    if attempt.state is AttemptState.UNKNOWN:
        return True
    return attempt.state is AttemptState.IN_FLIGHT and (has_ended(status) or is_abandoned(attempt))


def is_abandoned(attempt: Attempt) -> bool:
    """Whether the caller gave an attempt up that its executor still has in flight."""
    caller = attempt.views[0]
    return len(attempt.views) > 1 and caller.end > 0 and caller.status == "error"


def exposure(
    found: Sequence[Account],
    entries: Sequence[LedgerEntry],
    status: Status,
    amount: Decimal | None,
    currency: str | None,
) -> tuple[Exposure, ...]:
    """What is at stake, by currency: the attempts' own amounts, else the saga's, once."""
    if status is Status.COMPLETED:
        return ()
    certain: list[Attempt] = []
    possible: list[Attempt] = []
    for account, line in zip(found, entries, strict=True):
        if line.state in (LedgerState.IN_FORCE, LedgerState.UNDOING, LedgerState.UNDO_FAILED):
            certain += in_force(account)
        elif line.state is LedgerState.NOTHING_TO_UNDO:
            certain += [each for each in in_force(account) if each.amount is not None]
        elif line.state is LedgerState.UNKNOWN:
            possible += in_force(account) or [each for each in account.does if may_be_done(each, status)][-1:]
    sums = _sums(certain, possible, currency)
    if sums or amount is None or not (certain or possible):
        return sums
    none = Decimal(0)
    return (Exposure(currency or "", amount, none) if certain else Exposure(currency or "", none, amount),)


def _sums(certain: Sequence[Attempt], possible: Sequence[Attempt], currency: str | None) -> tuple[Exposure, ...]:
    sums: dict[str, list[Decimal]] = {}
    for place, attempts in enumerate((certain, possible)):
        for each in attempts:
            if each.amount is not None:
                sums.setdefault(each.currency or currency or "", [Decimal(0), Decimal(0)])[place] += each.amount
    return tuple(Exposure(name, *both) for name, both in sorted(sums.items()))
