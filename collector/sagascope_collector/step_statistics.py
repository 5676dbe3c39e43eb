"""How often and how long steps ran, from counts and histograms by time. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaId

SLOT_SECONDS: Final = 300
"""Steps that started within this time are counted together while they are young."""

OLD_SLOT_SECONDS: Final = 3600

PERCENTILES: Final = (0.5, 0.95, 0.99)

TRANSITION: Final = "transition"
"""The type of what is no step, but the time from the end of one to the start of another."""


def whole_period(seconds: int) -> int:
    """Returns the shortest period, in seconds, into which steps can be counted that is no shorter than this."""
    unit = SLOT_SECONDS if seconds < OLD_SLOT_SECONDS else OLD_SLOT_SECONDS
    return max(-(-seconds // unit), 1) * unit


def steps_of(transition: str) -> tuple[str, str]:
    """Returns the two steps of a transition."""
    before, _, after = transition.partition("\x1f")
    return before, after


class StepPeriod(NamedTuple):
    """What became of the attempts of one step that started within a part of a window."""

    at: int
    """When the part begins, in nanoseconds since 1970."""
    succeeded: int
    failed: int
    percentiles: tuple[float, float, float] | None
    """As in `StepStatistics`."""


class StepStatistics(NamedTuple):
    """What became of the attempts of one step."""

    step: str
    type: str
    succeeded: int
    failed: int
    retried: int
    """Attempts after the first."""
    compensated: int
    """Successes of what compensates it."""
    in_flight: int
    """Open sagas whose current step it is."""
    percentiles: tuple[float, float, float] | None
    """p50, p95 and p99 of the duration of attempts that succeeded, in seconds; None: none did."""
    periods: Sequence[StepPeriod]
    """The parts of the window in which any attempt started, the earliest first."""


class PathCount(NamedTuple):
    """How many sagas of a type that ended took one path, and the newest of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


class StepCounts(NamedTuple):
    """Of one step in one period; `at` is in seconds since 1970."""

    at: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    position: float


def usual_position(periods: Sequence[StepCounts]) -> float:
    """Returns where in its saga a step usually is."""
    first = sum(each.succeeded + each.failed - each.retried for each in periods)
    return sum(each.position for each in periods) / first if first > 0 else math.inf


def step_statistics(
    step: str,
    type_: str,
    periods: Sequence[StepCounts],
    durations: Mapping[tuple[str, str, int], Mapping[int, int]],
    in_flight: int,
) -> StepStatistics:
    """Returns the statistics of one step; `durations` are histograms by step, type and period."""
    of = {each.at: durations.get((step, type_, each.at), {}) for each in periods}
    every = Counter[int]()
    for buckets in of.values():
        every.update(buckets)
    return StepStatistics(
        step=step,
        type=type_,
        succeeded=int(sum(each.succeeded for each in periods)),
        failed=int(sum(each.failed for each in periods)),
        retried=int(sum(each.retried for each in periods)),
        compensated=int(sum(each.compensated for each in periods)),
        in_flight=int(in_flight),
        percentiles=percentiles(every),
        periods=[
            StepPeriod(
                each.at * NANOSECONDS_PER_SECOND, int(each.succeeded), int(each.failed), percentiles(of[each.at])
            )
            for each in periods
        ],
    )


def percentiles(buckets: Mapping[int, int]) -> tuple[float, float, float] | None:
    """Returns p50, p95 and p99 in seconds; None: of nothing."""
    found: list[float] = []
    total, passed = sum(buckets.values()), 0
    for bucket, attempts in sorted(buckets.items()):
        passed += attempts
        while len(found) < len(PERCENTILES) and passed >= math.ceil(PERCENTILES[len(found)] * total):
            found.append(2 ** ((bucket + 0.5) / 8) / 1e9)
    return (found[0], found[1], found[2]) if total else None
