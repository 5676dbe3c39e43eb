"""What the finished sagas of one name taught: their usual plan, and how long each part of it takes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope import semconv
from sagascope_collector.sagas.lessons import Lesson, Passage
from sagascope_collector.sagas.model import Plan, PlannedStep
from sagascope_collector.sagas.values import SECOND

ENOUGH = 20
"""Finished sagas from which a usual time is known."""

TIMES = 3
"""How many times the 99th percentile something may take before it is late."""

SHORTEST = 10.0
"""Seconds that are allowed at least, however fast it usually is."""

USUAL = 0.95
"""Share of the finished sagas in which a step must be found to be missed where it does not come."""

KEPT = 500
"""Lessons of one name that are enough; older ones are forgotten."""

END = ""
"""Stands for the saga's end among the things that may follow a step."""

FORWARD = (semconv.TYPE_ACTION, semconv.TYPE_COMMIT)


@dataclass(frozen=True, slots=True)
class Experience:
    """All that is known of the sagas of one name."""

    plans: Mapping[str, Plan] = field(default_factory=dict)
    """By version of the process that begins them; ``""`` is of all versions together."""
    allowed: Mapping[str, float] = field(default_factory=dict)
    """Seconds after which a step is late, where enough is known."""
    handed_over: Mapping[str, float] = field(default_factory=dict)
    """Seconds after a step's end at which what follows is late, likewise."""

    def plan(self, version: str) -> Plan | None:
        """The plan of the sagas of a version; where none of it has finished, of all."""
        return self.plans.get(version) or self.plans.get("")


def learn(lessons: Iterable[Lesson]) -> Experience:
    """Learn from the latest `KEPT` lessons of one name, whatever order they come in."""
    latest = sorted({each.key: each for each in lessons}.values(), key=lambda each: (each.ended_at, each.key))[-KEPT:]
    by_version: dict[str, list[Lesson]] = {"": latest}
    for each in latest:
        if each.version:
            by_version.setdefault(each.version, []).append(each)
    plans = {version: plan for version, taught in by_version.items() if (plan := _plan(taught))}
    return Experience(plans, _allowed(latest), _handed_over(latest))


def _plan(lessons: Sequence[Lesson]) -> Plan | None:
    """The usual steps in their usual order; None where no saga of that kind was completed."""
    completed = [_forward(each) for each in lessons if each.completed]
    if not completed or not any(completed):
        return None
    shares = Counter(passage.name for passages in completed for passage in passages)
    names = sorted(shares, key=lambda name: (_place(name, completed), name))
    before = {name: [other for other in names if _is_before(other, name, completed)] for name in names}
    undone_by = _undos(lessons)
    steps = tuple(
        PlannedStep(
            name=name,
            compensation=undone_by.get(name),
            timeout=None,
            optional=shares[name] < USUAL * len(completed),
            after=_direct(name, before),
        )
        for name in names
    )
    return Plan("learned", steps, undo_known=False, follows=_follows(completed))


def _forward(lesson: Lesson) -> list[Passage]:
    return [each for each in lesson.passages if each.type in FORWARD]


def _place(name: str, completed: Sequence[Sequence[Passage]]) -> float:
    """The usual place of a step among the others."""
    places = [place for passages in completed for place, each in enumerate(passages) if each.name == name]
    return sum(places) / len(places)


def _is_before(one: str, other: str, completed: Sequence[Sequence[Passage]]) -> bool:
    """Whether one was over each time before the other began."""
    together = [
        (passages[one], passages[other])
        for passages in ({each.name: each for each in told} for told in completed)
        if one != other and one in passages and other in passages
    ]
    return bool(together) and all(first.over <= second.began for first, second in together)


def _direct(name: str, before: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The steps right before it: those that do not also stand before another of them."""
    earlier = before[name]
    return tuple(each for each in earlier if not any(each in before[other] for other in earlier))


def _undos(lessons: Iterable[Lesson]) -> dict[str, str]:
    """Which step undoes which, as it was seen."""
    seen = Counter((each.compensates, each.name) for lesson in lessons for each in lesson.passages if each.compensates)
    return {step: undo for (step, undo), _ in sorted(seen.items(), key=lambda item: (item[1], item[0]))}


def _follows(completed: Sequence[Sequence[Passage]]) -> dict[str, dict[str, float]]:
    """What began next after each step's end, with its share; `END` where nothing did."""
    counted: dict[str, Counter[str]] = {}
    for passages in completed:
        for each in passages:
            later = [other.name for other in passages if other.began >= each.over and other is not each]
            counted.setdefault(each.name, Counter())[later[0] if later else END] += 1
    return {
        name: {after: number / sum(found.values()) for after, number in sorted(found.items())}
        for name, found in counted.items()
    }


def _allowed(lessons: Iterable[Lesson]) -> dict[str, float]:
    durations: dict[str, list[int]] = {}
    for lesson in lessons:
        for each in lesson.passages:
            durations.setdefault(each.name, []).extend(each.durations)
    return _limits(durations)


def _handed_over(lessons: Iterable[Lesson]) -> dict[str, float]:
    """How long after each step the next one began, or the saga ended."""
    waits: dict[str, list[int]] = {}
    for lesson in lessons:
        for each in lesson.passages:
            later = [other.began for other in lesson.passages if other.began >= each.over and other is not each]
            following = min(later, default=lesson.ended_at)
            waits.setdefault(each.name, []).append(max(following - each.over, 0))
    return _limits(waits)


def _limits(found: Mapping[str, list[int]]) -> dict[str, float]:
    return {
        name: max(SHORTEST, TIMES * percentile(values, 0.99) / SECOND)
        for name, values in found.items()
        if len(values) >= ENOUGH
    }


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest of the values that at least this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 100) // 100)
    return ordered[max(rank, 1) - 1]
