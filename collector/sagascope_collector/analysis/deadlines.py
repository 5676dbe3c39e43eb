"""Until when something is in time."""

from typing import NamedTuple

from sagascope_collector.analysis.case import Case, Try
from sagascope_collector.analysis.model import Attempt
from sagascope_collector.analysis.timestamps import LATEST_NS
from sagascope_collector.analysis.values import SECOND

NEVER_NS = LATEST_NS
"""The deadline of what waits for an event that need not come."""


LOGGED_PAUSE_SECONDS = 600.0
"""Seconds at least without a log record after which a step that only those tell of is late."""


class Deadline(NamedTuple):
    """A moment and how long from it: in heard time."""

    start: int
    seconds: float
    known: bool = True
    """Whether somebody said it; False: nobody did, and the default is used."""


def of_attempt(case: Case, flying: Try) -> Deadline:
    """Until when an attempt in flight is in time."""
    step, attempt = flying
    start = attempt.started_at + attempt.offset
    wait = _wait(case, attempt)
    if wait is not None and wait > start:
        return Deadline(wait, 0)
    deadline = _allowed(case, step.name, attempt, start)
    if deadline.known:
        return deadline
    if attempt.logged_until:  # a log record is a sign of work, and its absence none that the work is not over
        pause = max(LOGGED_PAUSE_SECONDS, deadline.seconds, case.saga.longest_pause or 0)
        return deadline._replace(start=attempt.logged_until, seconds=pause)
    return deadline._replace(start=max(start, _latest_inside(case, flying)))


def of_next(case: Case, step: str | None, start: int) -> Deadline:
    """Until when a step that should come, or the saga's close, is in time, counted from ``start``."""
    wait = _wait(case, case.last.attempt if case.last else None)
    if wait is not None and wait > start:
        return Deadline(wait, 0)
    handed_over = case.experience.handed_over.get(case.last.step.name) if case.last else None
    return _allowed(case, step, None, start, handed_over)


def of_retry(case: Case, failed: Try) -> Deadline:
    """Until when the retry of a failed attempt is in time."""
    over = failed.attempt.over or 0
    wait = _wait(case, failed.attempt)
    if wait is not None and wait > over:
        return Deadline(wait, 0)
    start = over + round((failed.attempt.retry_in or 0) * SECOND)
    return _allowed(case, failed.step.name, failed.attempt, start)


def _allowed(case: Case, step: str | None, attempt: Attempt | None, start: int, usual: float | None = None) -> Deadline:
    """The first of these that is known: the attempt's timeout, the plan's, a setting, what is usual, the default."""
    planned = case.saga.plan.step(step) if step else None
    said = attempt.timeout if attempt else None
    seconds = said or (planned and planned.timeout) or case.context.step_timeouts.get((case.type[1], step or ""))
    if seconds:
        return Deadline(start, seconds)
    usual = usual or (case.experience.allowed.get(step or "") if attempt else None)
    return Deadline(start, usual or case.context.default_timeout, known=False)


def _wait(case: Case, attempt: Attempt | None) -> int | None:
    """The latest wait that is meant for this attempt and what follows it, or for the whole saga."""
    if case.saga.awaited_event is not None:
        timeout = case.saga.timeout
        return case.saga.started_at + round(timeout * SECOND) if timeout else NEVER_NS
    if not case.saga.waits:
        return None
    start = min((view.start for view in attempt.views), default=attempt.started_at) if attempt else 0
    said = [wait.until for wait in case.saga.waits if wait.whole or wait.declared_at >= start]
    return max(said, default=None)


def _latest_inside(case: Case, flying: Try) -> int:
    """The latest sign of progress among the attempts inside one: it is not late while they go on."""
    views = {id(view) for view in flying.attempt.views}
    inside = [
        each.attempt.over or each.attempt.began
        for each in case.tries
        if each.attempt is not flying.attempt
        and any(id(above) in views for above in case.lineage.above(each.attempt.views[0]))
    ]
    return max(inside, default=0)
