"""What the finished sagas of one name taught: their usual plan, and how long each part of it takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sagascope_collector.analysis import skew, usual
from sagascope_collector.analysis.lessons import Lesson
from sagascope_collector.analysis.model import Plan
from sagascope_collector.analysis.skew import Bound, Pair
from sagascope_collector.analysis.values import SECOND

ENOUGH = 20
"""Finished sagas from which a usual time is known."""

TIMES = 3
"""How many times the 99th percentile something may take before it is late."""

SHORTEST = 10.0
"""Seconds that are allowed at least, however fast it usually is; more while everything is slow."""

NEAR = 0.2
"""Share by which two usual times may differ and still be taken for the same."""

KEPT = 500
"""Lessons of one name that are enough; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Experience:
    """All that is known of the sagas of one name."""

    plans: Mapping[str, Plan] = field(default_factory=dict)
    """By version of the process that begins them; ``""`` is of all versions together."""
    allowed: Mapping[str, float] = field(default_factory=dict)
    """Seconds after which a step is late, where enough is known."""
    handed_over: Mapping[str, float] = field(default_factory=dict)
    """Seconds after a step's end at which what follows is late, likewise."""
    slower: float = 1.0
    """How many times as long as usual all steps take now: see `Pace`."""
    services: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The services that ran each step, compensations included, by the step's name."""
    skew: Mapping[Pair, Bound] = field(default_factory=dict)
    """How far the clocks of pairs of processes can differ."""
    longest_pause: float = 0.0
    """Seconds: the longest time between two ends of steps in one saga, or between the last of them and its own end."""

    def plan(self, version: str) -> Plan | None:
        """The plan of the sagas of a version; where none of it has finished, of all."""
        return self.plans.get(version) or self.plans.get("")

    @property
    def undos(self) -> frozenset[tuple[str, str]]:
        """(step, what undoes it), in whatever plan."""
        planned = (step for plan in self.plans.values() for step in plan.steps)
        return frozenset((step.name, step.compensation) for step in planned if step.compensation)

    def is_like(self, other: "Experience") -> bool:
        """Whether nothing would be judged otherwise by the other, but for times that differ little."""
        return (
            {version: plan.steps for version, plan in self.plans.items()}
            == {version: plan.steps for version, plan in other.plans.items()}
            and _are_near(self.allowed, other.allowed)
            and _are_near(self.handed_over, other.handed_over)
            and self.services == other.services
            and self.longest_pause <= other.longest_pause * (1 + NEAR) + 1
            and other.longest_pause <= self.longest_pause * (1 + NEAR) + 1
        )


def _are_near(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        abs(seconds - other[name]) <= NEAR * seconds for name, seconds in one.items()
    )


def learn(lessons: Iterable[Lesson], slower: float = 1.0) -> Experience:
    """Learn from the latest `KEPT` lessons of one name, whatever order they come in.

    While everything is ``slower``, at least so many times `SHORTEST` is allowed.
    """
    latest = in_order(lessons)[-KEPT:]
    by_version: dict[str, list[Lesson]] = {"": latest}
    for each in latest:
        if each.version:
            by_version.setdefault(each.version, []).append(each)
    if len(by_version) == 2 and len({len(taught) for taught in by_version.values()}) == 1:
        del by_version[next(version for version in by_version if version)]
    plans = {version: plan for version, taught in by_version.items() if (plan := usual.plan(taught))}
    shortest = SHORTEST * slower
    allowed, handed_over = _allowed(latest, shortest), _handed_over(latest, shortest)
    return Experience(
        plans,
        allowed,
        handed_over,
        slower,
        _services(latest),
        skew.learned(each.skew for each in latest),
        _longest_pause(latest),
    )


def in_order(lessons: Iterable[Lesson]) -> list[Lesson]:
    """Lessons in the order in which their sagas ended, one of each."""
    return sorted({each.key: each for each in lessons}.values(), key=lambda each: (each.ended_at, each.key))


def _allowed(lessons: Iterable[Lesson], shortest: float) -> dict[str, float]:
    durations: dict[str, list[int]] = {}
    for lesson in lessons:
        for each in lesson.passages:
            durations.setdefault(each.name, []).extend(each.durations)
    return _limits(durations, shortest)


def _handed_over(lessons: Iterable[Lesson], shortest: float) -> dict[str, float]:
    """How long after each step the next one began, or the saga ended."""
    waits: dict[str, list[int]] = {}
    for lesson in lessons:
        for each, after in usual.following(lesson.passages):
            next_at = after.began if after else lesson.ended_at
            waits.setdefault(each.name, []).append(max(next_at - each.over, 0))
    return _limits(waits, shortest)


def _services(lessons: Iterable[Lesson]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for lesson in lessons:
        for each in lesson.passages:
            found.setdefault(each.name, set()).update([each.service] if each.service else ())
    return {name: frozenset(services) for name, services in found.items()}


def _longest_pause(lessons: Iterable[Lesson]) -> float:
    longest = 0
    for lesson in lessons:
        moments = sorted([*(each.over for each in lesson.passages), lesson.ended_at])
        began = min((each.began for each in lesson.passages), default=lesson.ended_at)
        longest = max([longest, *(later - earlier for earlier, later in pairwise([began, *moments]))])
    return longest / SECOND


def _limits(found: Mapping[str, list[int]], shortest: float) -> dict[str, float]:
    return {
        name: max(shortest, TIMES * percentile(values, 0.99) / SECOND)
        for name, values in found.items()
        if len(values) >= ENOUGH
    }


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest of the values that at least this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 100) // 100)
    return ordered[max(rank, 1) - 1]
