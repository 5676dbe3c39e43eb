"""Steps that keep failing: whether they are still retried, by which process, and when the next attempt is overdue."""

from collections.abc import Iterator

from sagascope_collector.analysis import deadlines, ledger
from sagascope_collector.analysis.case import Case, Finding, Try, phase_of
from sagascope_collector.analysis.deadlines import Deadline
from sagascope_collector.analysis.model import AttemptState, Confidence, Phase, Reason
from sagascope_collector.records import Process

FAILURES_IN_A_ROW = 3
"""Failed attempts from which a step is reported as being retried."""

BACKOFF_FACTOR = 2
"""By how much an unannounced wait may be longer than the longest one before it."""

MAX_EXTRA_WAIT_NS = 3_600_000_000_000
"""By how much it may be longer at most."""


def retrying(case: Case) -> Finding | None:
    """A step failed again and again, and its next attempt is in flight or not overdue."""
    for each in _rows(case):
        if is_overdue(case, each):
            continue
        step = each.step
        first, service = failed_in_a_row(each)[0].attempt, case.service_of(step.name)
        since = first.over or first.began
        return Finding(Reason.RETRYING, phase_of(step), step.name, service, since, Confidence.CERTAIN, subject=each)
    return None


def overdue(case: Case) -> Try | None:
    """The latest failed attempt of a step that was retried, and whose next attempt is overdue."""
    return next((each for each in _rows(case) if is_overdue(case, each)), None)


def is_overdue(case: Case, failed: Try) -> bool:
    """Whether the attempt after this failed one should have started by now."""
    if failed.step.attempts[-1].state is AttemptState.IN_FLIGHT:
        return False
    deadline = deadline_of_retry(case, failed)
    return case.watch.is_late(deadline.start, deadline.seconds)


def deadline_of_retry(case: Case, failed: Try) -> Deadline:
    """Until when the next attempt is in time; where its wait was not announced, judged by the waits before it."""
    deadline = deadlines.of_retry(case, failed)
    row = failed_in_a_row(failed)
    if failed.attempt.retry_in is not None or len(row) < FAILURES_IN_A_ROW:
        return deadline
    ends = [each.attempt.over or each.attempt.began for each in row]
    waits = [max(after.attempt.began - end, 0) for end, after in zip(ends, row[1:], strict=False)]
    expected = ends[-1] + min(BACKOFF_FACTOR * max(waits), max(waits) + MAX_EXTRA_WAIT_NS)
    return deadline._replace(start=max(deadline.start, expected))


def lost_retrier(case: Case) -> tuple[Try, Process] | None:
    """(the latest failed attempt, the process that should retry it), where that process is lost.

    Another instance of its service may retry in its place, as long as the next attempt is not overdue.
    """
    failed = case.failing
    if failed is None or case.root is not None or not is_retried(case, failed):
        return None
    process = failed.attempt.views[0].process if failed.attempt.views else failed.attempt.process
    if not case.liveness.is_lost(process):
        return None
    may_be_replaced = case.liveness.successor(process) is not None
    return None if may_be_replaced and not is_overdue(case, failed) else (failed, process)


def is_retried(case: Case, failed: Try) -> bool:
    """Whether another attempt is to be expected: it was announced, or there were several."""
    if ledger.is_for_good(failed.attempt, case.saga.status):
        return False
    return failed.attempt.retry_in is not None or len(failed_in_a_row(failed)) >= FAILURES_IN_A_ROW


def is_retrier_lost(case: Case, finding: Finding) -> bool:
    """Whether the finding is that the process is lost which should have retried a failed attempt."""
    subject = finding.subject
    if (
        finding.reason is not Reason.INSTANCE_LOST
        or subject is None
        or subject.attempt is not subject.step.attempts[-1]
    ):
        return False
    has_failed = subject.attempt.state in (AttemptState.ERROR, AttemptState.UNKNOWN)
    return has_failed and finding.step == subject.step.name and is_retried(case, subject)


def failed_in_a_row(latest: Try) -> list[Try]:
    """The failed attempts of a step with none that succeeded after them, the first of them first."""
    row: list[Try] = []
    for attempt in reversed(latest.step.attempts):
        if attempt.state is AttemptState.OK:
            break
        if attempt.state is not AttemptState.IN_FLIGHT:
            row.append(Try(latest.step, attempt))
    return row[::-1]


def _rows(case: Case) -> Iterator[Try]:
    """The latest failed attempt of each step that failed often enough and is still to be retried."""
    for each in reversed(case.tries):
        step, attempt = each
        ended = [one for one in step.attempts if one.state is not AttemptState.IN_FLIGHT]
        if not ended or attempt is not ended[-1] or ledger.is_for_good(attempt, case.saga.status):
            continue
        if len(failed_in_a_row(each)) >= FAILURES_IN_A_ROW and not _is_compensated(case, each):
            yield each


def _is_compensated(case: Case, failed: Try) -> bool:
    """Whether a compensation followed: of this step, or of the saga."""
    if phase_of(failed.step) is Phase.COMPENSATION:
        return False
    over = failed.attempt.over or 0
    return any(phase_of(each.step) is Phase.COMPENSATION and each.attempt.began >= over for each in case.tries)
