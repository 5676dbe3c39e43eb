"""Computes the frequency and duration of steps from counts and histograms by time."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaId

SLOT_SECONDS: Final = 300
"""Period by which recent steps are counted, in seconds."""

OLD_SLOT_SECONDS: Final = 3600

PERCENTILES: Final = (0.5, 0.95, 0.99)

TRANSITION: Final = "transition"
"""The type of a transition: the time from the end of one step to the start of another."""


def whole_period(seconds: int) -> int:
    """Returns the shortest period, in seconds, by which steps can be counted and that is at least this long."""
    unit = SLOT_SECONDS if seconds < OLD_SLOT_SECONDS else OLD_SLOT_SECONDS
    return max(-(-seconds // unit), 1) * unit


def steps_of(transition: str) -> tuple[str, str]:
    """Returns the two steps of a transition."""
    before, _, after = transition.partition("\x1f")
    return before, after


class StepPeriod(NamedTuple):
    """Outcomes of the attempts of one step that started within a part of a window."""

    at: int
    """The start of the part in nanoseconds since 1970."""
    succeeded: int
    failed: int
    retried: int
    percentiles: tuple[float, float, float] | None
    """As in `StepStatistics`."""
    durations: Sequence[tuple[float, int]]
    """The histogram of successful attempts: the least duration of a bucket in seconds, and the number in it."""


class StepStatistics(NamedTuple):
    """Outcomes of the attempts of one step."""

    step: str
    type: str
    succeeded: int
    failed: int
    retried: int
    """The number of attempts after the first."""
    compensated: int
    """The number of successful compensations."""
    in_flight: int
    """The number of open sagas whose current step it is."""
    percentiles: tuple[float, float, float] | None
    """p50, p95 and p99 of the duration of successful attempts in seconds; None: there are none."""
    periods: Sequence[StepPeriod]
    """The parts of the window in which an attempt started, the earliest first."""


class PathCount(NamedTuple):
    """The number of ended sagas of a type that took one path, and the latest started of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


class CallCount(NamedTuple):
    """The number of calls of one service by another, and of those that failed; `p95` is in seconds."""

    caller: str
    called: str
    calls: int
    failed: int
    p95: float | None
    sampled: int
    """One of so many traces is counted; the numbers are multiplied by it."""


class StepCounts(NamedTuple):
    """Counts of one step in one period; `at` is in seconds since 1970."""

    at: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    position: float


def mean_position(periods: Sequence[StepCounts]) -> float:
    """Returns the mean position of a step in its saga."""
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
                at=each.at * NANOSECONDS_PER_SECOND,
                succeeded=int(each.succeeded),
                failed=int(each.failed),
                retried=int(each.retried),
                percentiles=percentiles(of[each.at]),
                durations=histogram(of[each.at]),
            )
            for each in periods
        ],
    )


def percentiles(buckets: Mapping[int, int]) -> tuple[float, float, float] | None:
    """Returns p50, p95 and p99 in seconds; None for an empty histogram."""
    found: list[float] = []
    total, passed = sum(buckets.values()), 0
    for bucket, attempts in sorted(buckets.items()):
        passed += attempts
        while len(found) < len(PERCENTILES) and passed >= math.ceil(PERCENTILES[len(found)] * total):
            found.append(2 ** ((bucket + 0.5) / 8) / 1e9)
    return (found[0], found[1], found[2]) if total else None


def histogram(buckets: Mapping[int, int]) -> list[tuple[float, int]]:
    """Returns a histogram in buckets that grow by a quarter of a power of two, with their least duration in seconds."""
    wider = Counter[int]()
    for bucket, attempts in buckets.items():
        wider[bucket // 2] += attempts
    return [(float(f"{2 ** (bucket / 4) / 1e9:.4g}"), attempts) for bucket, attempts in sorted(wider.items())]
