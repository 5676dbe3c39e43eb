"""When the next attempt of a failing step is due, when its last one ends, and what is compensated then, as reported."""

from typing import NamedTuple

from sagascope_collector.analysis.case import Case, Try, phase_of
from sagascope_collector.analysis.course import UNDONE_STATES
from sagascope_collector.analysis.model import Attempt, Phase
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.analysis.wording import Text, phrase
from sagascope_collector.analysis.words import clock

MAX_ATTEMPTS_AHEAD = 1_000
"""Attempts that are counted ahead."""

MAX_BACKOFF_FACTOR = 10.0
"""By how much the wait between two attempts may grow from one to the next."""


class Forecast(NamedTuple):
    """What is to be expected of a failing step."""

    next_attempt: int
    last_attempt_ends: int | None
    """When the last allowed attempt will have failed; None where no last one is known."""
    compensated: int
    """Steps that are compensated then."""


def forecast(case: Case, failed: Try) -> Forecast | None:
    """What is to come of a failed attempt; None where no next attempt was announced, or its time has come."""
    latest = failed.attempt
    if latest.retry_in is None or latest.over is None:
        return None
    next_attempt = latest.over + round(latest.retry_in * SECOND)
    if next_attempt <= case.watch.now:
        return None
    case.watch.remind(next_attempt)
    forward = phase_of(failed.step) is Phase.FORWARD
    committed = [entry for _, entry in case.books if entry.state in UNDONE_STATES and entry.compensation]
    compensated = {entry.step for entry in committed} - {failed.step.name}
    ends = _last_attempt_ends(case, failed, next_attempt)
    return Forecast(next_attempt, ends, len(compensated) if forward else 0)


def expected(case: Case, failed: Try) -> Text:
    """The forecast as a sentence; empty without one. No time in it is in the past."""
    coming = forecast(case, failed)
    if coming is None:
        return Text()
    said = phrase("the next attempt is due at {}", clock(coming.next_attempt, case.watch.now))
    if coming.last_attempt_ends is None:
        return said
    said = phrase("{}, the last attempt ends by {}", said, clock(coming.last_attempt_ends, case.watch.now))
    if not coming.compensated:
        return said
    steps = f"{coming.compensated} step{'s are' if coming.compensated > 1 else ' is'}"
    return phrase("{}, and then {} compensated", said, steps)


def _last_attempt_ends(case: Case, failed: Try, next_attempt: int) -> int | None:
    """When its last allowed attempt will have failed, if each takes as long as the latest, and waits grow as before."""
    latest, limit = failed.attempt, failed.attempt.max_attempts
    whole = case.saga.started_at + round(case.saga.timeout * SECOND) if case.saga.timeout else None
    left = (limit or 0) - latest.number
    if limit is None or left > MAX_ATTEMPTS_AHEAD:
        return whole
    took = max((latest.over or 0) - latest.began, 0)
    wait, growth, at = (latest.retry_in or 0) * SECOND, _growth(failed.step.attempts), next_attempt
    for number in range(max(left, 1)):
        at += took + (round(wait) if number else 0)
        wait = min(wait * growth, 86_400 * SECOND)
    return at if whole is None else min(at, whole)


def _growth(attempts: tuple[Attempt, ...]) -> float:
    waits = [each.retry_in for each in attempts if each.retry_in]
    return min(max(waits[-1] / waits[-2], 1.0), MAX_BACKOFF_FACTOR) if len(waits) > 1 else 1.0
