"""Which of two things came later, where their clocks need not agree."""

from collections.abc import Sequence

from sagascope_collector.records import Span
from sagascope_collector.sagas.model import Attempt, AttemptState
from sagascope_collector.sagas.spans import process_key

DOUBT = 500_000_000
"""Nanoseconds that the ends of two attempts must lie apart to be told in order by clocks of different processes."""


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
        return (one.ended_at or 0) > (other.ended_at or 0)
    if _was_answered_before(one, other):
        return False
    return _end(one) > _end(other) + (0 if _was_answered_before(other, one) else DOUBT)


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
    same = _same(one.views[0], other.views[0])
    return one.began > other.began + (0 if same else DOUBT)


def ended_before(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` was over when ``other`` was called for; in doubt, it was not."""
    if one.over is None:
        return False
    same = _same(one.views[0], other.views[0])
    return one.over + (0 if same else DOUBT) <= other.began
