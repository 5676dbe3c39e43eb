"""The order of attempts: which was called or took effect after another, as far as the skew of clocks allows."""

from sagascope_collector.analysis.clocks import UNBOUNDED_NS, UNKNOWN_SKEW_NS
from sagascope_collector.analysis.model import Attempt
from sagascope_collector.analysis.spans import process_key
from sagascope_collector.records import Process, Span


def took_effect_after(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` took effect after ``other``; both succeeded. False if uncertain."""
    if _executor(one) == _executor(other):
        return _end(one) > _end(other)
    if _was_answered_before(one, other):
        return False
    return _end(one) > _end(other) + (
        0 if _was_answered_before(other, one) else _uncertainty_ns(one, one.process, other.process)
    )


def is_proven_after(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` took effect after ``other`` by one clock, by what their caller knew, or within bounded skew."""
    if _was_answered_before(other, one, is_proof=True):
        return True
    executor, earlier = _executor(one), _executor(other)
    if executor == earlier:
        return bool(one.process.identity) and _end(one) > _end(other)
    skew = one.skew.uncertainty_ns(executor, earlier, is_proof=True) if one.skew is not None else UNBOUNDED_NS
    return not _was_answered_before(one, other) and _end(one) > _end(other) + skew


def _executor(attempt: Attempt) -> tuple[str, str]:
    return process_key(attempt.process)


def _end(attempt: Attempt) -> int:
    return (attempt.ended_at or attempt.started_at) + attempt.offset


def _was_answered_before(one: Attempt, other: Attempt, *, is_proof: bool = False) -> bool:
    """Whether a caller of both knew that ``one`` had succeeded before it called ``other``.

    ``is_proof``: indistinguishable processes may have two clocks.
    """
    return any(
        known.end
        and known.status != "error"
        and _is_same_process(known, called)
        and known.end <= called.start
        and (known.process.identity or not is_proof)
        for known in one.views
        for called in other.views
    )


def _is_same_process(one: Span, other: Span) -> bool:
    return process_key(one.process) == process_key(other.process)


def called_after(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` was called after ``other``; False if uncertain."""
    return one.called_at > other.called_at + _uncertainty_ns(one, one.views[0].process, other.views[0].process)


def ended_before(one: Attempt, other: Attempt) -> bool:
    """Whether ``one`` had ended when ``other`` was called; False if clock skew leaves this uncertain.

    Any view may have reported the last end, so the least exact comparison counts.
    """
    if one.finished_at is None:
        return False
    caller = other.views[0].process
    uncertainty = (
        0
        if _is_same_process(one.views[0], other.views[0])
        else max(_uncertainty_ns(one, caller, view.process) for view in one.views)
    )
    return one.finished_at + uncertainty <= other.called_at


def _uncertainty_ns(attempt: Attempt, later: Process, earlier: Process) -> int:
    """Nanoseconds by which an event of one process must follow an event of another to be later for certain."""
    one, other = process_key(later), process_key(earlier)
    if one == other:
        return 0
    return attempt.skew.uncertainty_ns(one, other) if attempt.skew is not None else UNKNOWN_SKEW_NS
