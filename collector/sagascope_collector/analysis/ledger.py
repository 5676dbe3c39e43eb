"""What is committed of each step, and what was compensated."""

from collections.abc import Iterable, Sequence

from sagascope_collector.analysis.accounts import Account
from sagascope_collector.analysis.model import Attempt, AttemptState, LedgerEntry, LedgerState, Plan, Status

UNTOLD = (AttemptState.UNKNOWN, AttemptState.IN_FLIGHT)
"""States of attempts that may have been committed, although nobody said so."""


def entries(books: Iterable[Account], plan: Plan, status: Status) -> list[LedgerEntry]:
    """The ledger's lines of everything that was tried, in the order in which it was done."""
    harmless = {step.name for step in plan.steps if step.compensation is None} if plan.undo_known else set()
    return [_entry(account, status, harmless) for account in books]


def untouched(plan: Plan, lines: Iterable[LedgerEntry], *, is_complete: bool) -> list[LedgerEntry]:
    """The ledger's lines of the planned steps of which no attempt was received."""
    seen = {line.step for line in lines}
    return [
        LedgerEntry(step.name, step.compensation, LedgerState.NOT_DONE, None, None, is_seen=is_complete)
        for step in plan.steps
        if step.name not in seen
    ]


def _entry(account: Account, status: Status, harmless: set[str]) -> LedgerEntry:
    valued = _valued(account.kept, account.done, account.does, account.prepares)
    return LedgerEntry(
        account.name,
        account.compensation,
        _state(account, status, harmless),
        valued.amount if valued else None,
        valued.currency if valued else None,
        account.name in harmless,
    )


def _valued(*told: Iterable[Attempt]) -> Attempt | None:
    """The first attempt that has an amount, of those in force before others."""
    for attempts in told:
        for each in attempts:
            if each.amount is not None:
                return each
    return None


def _state(account: Account, status: Status, harmless: set[str]) -> LedgerState:
    if account.kept:
        return _state_of_done(account, status, harmless)
    if account.undone and any(each.state is not AttemptState.ERROR for each in (*account.does, *account.prepares)):
        return LedgerState.COMPENSATED
    if any(each.state in UNTOLD for each in account.does):
        return LedgerState.UNKNOWN
    if any(each.state is AttemptState.OK for each in account.prepares):
        return LedgerState.UNKNOWN
    return LedgerState.NOT_DONE


def _state_of_done(account: Account, status: Status, harmless: set[str]) -> LedgerState:
    if account.undoes and not account.undone:
        return _state_of_undo(account.undoes, status)
    if account.compensation is None and account.name in harmless:
        return LedgerState.NOT_COMPENSABLE
    return LedgerState.COMMITTED


def _state_of_undo(undoes: Sequence[Attempt], status: Status) -> LedgerState:
    latest = undoes[-1]
    if any(may_be_done(each, status) for each in undoes):
        return LedgerState.COMPENSATION_UNKNOWN
    if latest.state is AttemptState.ERROR and is_for_good(latest, status):
        return LedgerState.COMPENSATION_FAILED
    return LedgerState.COMPENSATING


def is_for_good(attempt: Attempt, status: Status) -> bool:
    """Whether a failed attempt was the last: the saga has ended, or it was the last allowed."""
    return has_ended(status) or is_last_allowed(attempt)


def is_last_allowed(attempt: Attempt) -> bool:
    """Whether no attempt is allowed after this one."""
    return attempt.max_attempts is not None and attempt.number >= attempt.max_attempts


def has_ended(status: Status) -> bool:
    """Whether the saga is over."""
    return status is Status.COMPLETED or status is Status.COMPENSATED or status is Status.FAILED


def may_be_done(attempt: Attempt, status: Status) -> bool:
    """Whether its outcome is unknown: so it was told, or nobody waits for it any more."""
    if attempt.state is AttemptState.UNKNOWN:
        return True
    return attempt.state is AttemptState.IN_FLIGHT and (has_ended(status) or is_abandoned(attempt))


def is_pending(account: Account, status: Status) -> bool:
    """Whether all that is unknown of a step is how its attempt in flight will end: so far, nothing is to be undone."""
    told = any(each.state is AttemptState.OK for each in account.prepares)
    return not account.kept and not told and not any(may_be_done(each, status) for each in account.does)


def is_abandoned(attempt: Attempt) -> bool:
    """Whether the caller gave an attempt up that its executor still has in flight."""
    caller = attempt.views[0]
    return len(attempt.views) > 1 and caller.end > 0 and caller.status == "error"
