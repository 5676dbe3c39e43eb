"""What went wrong and stays wrong until somebody sets it right, whether or not the saga moves."""

from collections.abc import Iterator, Sequence

from sagascope import semconv
from sagascope_collector.analysis import ledger, settlement
from sagascope_collector.analysis.accounts import Account
from sagascope_collector.analysis.case import BACKWARD, Case, Finding, Try, phase_of
from sagascope_collector.analysis.course import UNDONE_STATES
from sagascope_collector.analysis.deadlines import Deadline, of_attempt, of_next, of_retry
from sagascope_collector.analysis.model import (
    Attempt,
    AttemptState,
    Confidence,
    LedgerState,
    Phase,
    Reason,
    Step,
    StepState,
)
from sagascope_collector.analysis.order import effects, took_effect_after
from sagascope_collector.analysis.watch import UNDER_WAY


def applied_twice(case: Case) -> Finding | None:
    """A step or an undo took effect twice, or a step after its undo."""
    for account in reversed(case.accounts):
        pair = _done_twice(account, case.saga.drives)
        if pair is not None:
            return _twice(case, account.name, pair)
    for step in case.saga.steps:
        if step.type in BACKWARD:
            pair = _undone_twice(step, case.accounts)
            if pair is not None:
                return _twice(case, step.name, pair)
    return None


def _done_twice(account: Account, drives: Sequence[int]) -> tuple[Attempt, Attempt] | None:
    """(what was applied first, what should not have been applied any more)."""
    done, undone = account.done, account.undone
    earlier: Attempt | None = None
    for each in done:
        between = [undo for undo in undone if took_effect_after(each, undo)]
        answered = earlier is not None and any(took_effect_after(undo, earlier) for undo in between)
        if between and not answered and not any((between[-1].over or 0) <= drive <= each.began for drive in drives):
            return between[-1], each
        if earlier is not None and not any(took_effect_after(undo, earlier) for undo in between):
            return earlier, each
        earlier = each
    return None


def _undone_twice(step: Step, accounts: Sequence[Account]) -> tuple[Attempt, Attempt] | None:
    undone = effects(step.attempts)
    does = [each for account in accounts if account.name == step.compensates for each in account.done]
    for place, each in enumerate(undone[1:]):
        earlier = undone[place]
        if not any(took_effect_after(do, earlier) and took_effect_after(each, do) for do in does):
            return earlier, each
    return None


def _twice(case: Case, name: str, pair: tuple[Attempt, Attempt]) -> Finding:
    tries = {id(each.attempt): each for each in case.tries}
    first, second = (tries[id(attempt)] for attempt in pair)
    return Finding(
        Reason.APPLIED_TWICE,
        phase_of(second.step),
        name,
        second.attempt.process.service or None,
        case.stopped,
        Confidence.CERTAIN,
        subject=second,
        other=first,
    )


def compensation_failed(case: Case) -> Finding | None:
    """An undo failed for good, and what it should have undone is in force."""
    for each in reversed(case.tries):
        step, attempt = each
        if step.type not in BACKWARD or attempt is not step.attempts[-1] or step.state is not StepState.FAILED:
            continue
        if _is_in_force(case, step) and _has_failed_for_good(case, attempt):
            since, service = case.stopped, case.service_of(step.name)
            reason, phase = Reason.COMPENSATION_FAILED, Phase.COMPENSATION
            return Finding(reason, phase, step.name, service, since, Confidence.CERTAIN, subject=each)
    return None


def _is_in_force(case: Case, undo: Step) -> bool:
    return any(
        account.kept
        for account in case.accounts
        if undo.compensates in (None, account.name) and account.name != undo.name
    )


def _has_failed_for_good(case: Case, attempt: Attempt) -> bool:
    if not ledger.has_ended(case.saga.status) or ledger.is_last_allowed(attempt):
        return ledger.is_for_good(attempt, case.saga.status)
    return case.watch.is_late(case.ended, UNDER_WAY)


def uncompensated(case: Case) -> Finding | None:
    """The saga was given up, and something that has an undo was not undone."""
    left = next(_left_in_force(case), None)
    if left is None or not _is_given_up(case):
        return None
    account, state = left
    step = next(step for step in case.saga.steps if step.name == account.name and step.key == account.key)
    latest = (account.done or account.does or account.prepares)[-1]
    doubtful = state is LedgerState.COMPENSATION_UNKNOWN or (state is LedgerState.UNKNOWN and not account.done)
    doubtful |= case.saga.superseded_by is not None
    heard = case.heard_since(step.service, case.since)
    confidence = Confidence.LIKELY if heard and not doubtful else Confidence.POSSIBLE
    reason, phase = Reason.UNCOMPENSATED, Phase.COMPENSATION
    service = case.service_of(step.name)
    return Finding(reason, phase, step.name, service, case.since, confidence, subject=Try(step, latest))


def _left_in_force(case: Case) -> Iterator[tuple[Account, LedgerState]]:
    """What has a compensation and is not compensated, the latest done first.

    A newer run may go on with what an older one has committed: of that, only what it committed again is left.
    """
    superseded = case.saga.superseded_by is not None
    for account, line in reversed(case.books):
        if superseded and account.name not in case.saga.repeated_by_newer:
            continue
        if account.compensation and line.state in UNDONE_STATES and not ledger.is_pending(account, case.saga.status):
            yield account, line.state


def _is_given_up(case: Case) -> bool:
    """Whether the saga ended, or a step failed for good and nothing followed in time."""
    if ledger.has_ended(case.saga.status):
        return case.watch.is_late(case.ended, UNDER_WAY)
    failed = case.failing
    if failed is None or case.in_flight or case.is_backward:
        return False
    if not ledger.is_for_good(failed.attempt, case.saga.status):
        return False
    return _is_late(case, of_retry(case, failed))


TWO_PHASE = (semconv.TYPE_PREPARE, semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK)


def in_doubt(case: Case) -> Finding | None:
    """A participant is prepared, and was told neither to commit nor to roll back in time."""
    for each in sorted(settlement.undecided(case), key=lambda each: each.attempt.over or 0, reverse=True):
        step, attempt = each
        if _decision_is_late(case, step):
            heard = case.heard_since(step.service, attempt.over or 0)
            confidence = Confidence.LIKELY if heard else Confidence.POSSIBLE
            since = case.stopped
            return Finding(Reason.IN_DOUBT, Phase.FORWARD, step.name, step.service, since, confidence, subject=each)
    return None


def _decision_is_late(case: Case, prepared: Step) -> bool:
    """Whether all votes are in, or the missing ones are late, and the decision is too."""
    votes = [each for each in case.tries if each.step.type in TWO_PHASE]
    for each in votes:
        missing = each.step.type == semconv.TYPE_PREPARE and each.attempt.state is AttemptState.IN_FLIGHT
        if missing and not _is_late(case, of_attempt(case, each)):
            return False
    since = max((each.attempt.over or 0 for each in votes), default=0)
    return _is_late(case, of_next(case, prepared.name, since))


def _is_late(case: Case, deadline: Deadline) -> bool:
    return case.watch.is_late(deadline.start, deadline.seconds)
