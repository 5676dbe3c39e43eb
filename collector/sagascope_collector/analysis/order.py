"""Which of two things came later, where their clocks need not agree."""

from collections.abc import Sequence

from sagascope_collector.analysis.model import Attempt, AttemptState
from sagascope_collector.analysis.skew import UNKNOWN_SKEW_NS
from sagascope_collector.analysis.spans import process_key
from sagascope_collector.records import Process, Span


def effects(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """The attempts that took effect, in order: those that succeeded, each idempotency key once."""
    if len(attempts) == 1:
        return attempts if attempts[0].state is AttemptState.OK else ()
    seen: set[str] = set()
    had: list[Attempt] = []
    for each in attempts:
        if each.state is not AttemptState.OK or each.idempotency_key in seen:
            continue
        if each.idempotency_key:
            seen.add(each.idempotency_key)
        had.append(each)
    return had


def took_effect_after(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` took effect after ``other`` did, both having succeeded; in doubt, it did not."""
    if _executor(one) == _executor(other):
        return _end(one) > _end(other)
    if _was_answered_before(one, other):
        return False
    return _end(one) > _end(other) + (
        0 if _was_answered_before(other, one) else _doubt(one, one.process, other.process)
    )


def _executor(attempt: Attempt) -> tuple[str, str]:
    return process_key(attempt.process)


def _end(attempt: Attempt) -> int:
    return (attempt.ended_at or attempt.started_at) + attempt.offset


def _was_answered_before(one: Attempt, other: Attempt) -> bool:
    """Whether a caller of both knew that ``one`` was done before it called for ``other``."""
    return any(
        known.end and known.status != "error" and _same(known, called) and known.end <= called.start
        for known in one.views
        for called in other.views
    )


def _same(one: Span, other: Span) -> bool:
    return process_key(one.process) == process_key(other.process)


def began_after(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` was called for after ``other``; in doubt, it was not."""
    return one.began > other.began + _doubt(one, one.views[0].process, other.views[0].process)


def ended_before(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` was over when ``other`` was called for; in doubt, it was not.

    The end that came last may have been told by any of its views: that which is compared least exactly counts.
    """
    if one.over is None:
        return False
    caller = other.views[0].process
    doubt = 0 if _same(one.views[0], other.views[0]) else max(_doubt(one, caller, view.process) for view in one.views)
    return one.over + doubt <= other.began


def _doubt(attempt: Attempt, later: Process, earlier: Process) -> int:
    """Nanoseconds by which a moment of one process must follow one of another to be surely later."""
    one, other = process_key(later), process_key(earlier)
    if one == other:
        return 0
    return attempt.skew.doubt(one, other) if attempt.skew is not None else UNKNOWN_SKEW_NS
