"""When a failing step is tried next, when it is given up, and what is undone then: as far as its emitter said."""

from typing import NamedTuple

from sagascope_collector.sagas.case import Case, Try, phase_of
from sagascope_collector.sagas.course import UNDONE_STATES
from sagascope_collector.sagas.model import Attempt, Phase
from sagascope_collector.sagas.values import SECOND
from sagascope_collector.sagas.words import clock

MOST = 1_000
"""Tries that are counted ahead."""

STEEPEST = 10.0
"""By how much the wait between two tries may grow from one to the next."""


class Forecast(NamedTuple):
    """What is to be expected of a failing step."""

    next_try: int
    gives_up: int | None
    """When the last allowed try will have failed; None where no last one is known."""
    undone: int
    """Steps that are undone then."""


def forecast(case: Case, failed: Try) -> Forecast | None:
    """What is to come of a failed attempt; None where no next try was promised."""
    latest = failed.attempt
    if latest.retry_in is None or latest.over is None:
        return None
    next_try = latest.over + round(latest.retry_in * SECOND)
    forward = phase_of(failed.step) is Phase.FORWARD
    in_force = [entry for _, entry in case.books if entry.state in UNDONE_STATES and entry.compensation]
    undone = {entry.step for entry in in_force} - {failed.step.name}
    return Forecast(next_try, _gives_up(case, failed, next_try), len(undone) if forward else 0)


def told(case: Case, expected: Forecast) -> str:
    """The forecast as a clause."""
    said = f"next try {clock(expected.next_try, case.watch.now)}"
    if expected.gives_up is None:
        return said
    said += f", gives up {clock(expected.gives_up, case.watch.now)}"
    if not expected.undone:
        return said
    steps = f"{expected.undone} step{'s are' if expected.undone > 1 else ' is'}"
    return f"{said}, then {steps} compensated"


def _gives_up(case: Case, failed: Try, next_try: int) -> int | None:
    """When its last allowed try will have failed, if each takes as long as the latest, and waits grow as they did."""
    latest, limit = failed.attempt, failed.attempt.max_attempts
    whole = case.saga.started_at + round(case.saga.timeout * SECOND) if case.saga.timeout else None
    left = (limit or 0) - latest.number
    if limit is None or left > MOST:
        return whole
    took = max((latest.over or 0) - latest.began, 0)
    wait, growth, at = (latest.retry_in or 0) * SECOND, _growth(failed.step.attempts), next_try
    for number in range(max(left, 1)):
        at += took + (round(wait) if number else 0)
        wait = min(wait * growth, 86_400 * SECOND)
    return at if whole is None else min(at, whole)


def _growth(attempts: tuple[Attempt, ...]) -> float:
    waits = [each.retry_in for each in attempts if each.retry_in]
    return min(max(waits[-1] / waits[-2], 1.0), STEEPEST) if len(waits) > 1 else 1.0
