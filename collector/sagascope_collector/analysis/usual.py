"""The usual course of the sagas of one name: which steps come, which waits for which, what follows what."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis.lessons import Lesson, Passage
from sagascope_collector.analysis.model import Plan, PlannedStep

USUAL = 0.95
"""Share of the finished sagas in which a step must be found to be missed where it does not come."""

COMPARED = 1_000_000
"""Pairs of steps that are compared to find out which waits for which; older sagas are left out beyond it."""

END = ""
"""Stands for the saga's end among the things that may follow a step."""

FORWARD = (semconv.TYPE_ACTION, semconv.TYPE_COMMIT)

Pair = tuple[str, str]


def plan(lessons: Sequence[Lesson]) -> Plan | None:
    """The usual steps in their usual order; None where no saga among these, latest last, was completed."""
    completed = [_forward(each) for each in lessons if each.completed]
    shares = Counter(each.name for passages in completed for each in passages)
    if not shares:
        return None
    places = _places(completed)
    names = sorted(shares, key=lambda name: (places[name] / shares[name], name))
    waits_for = _waits_for(completed)
    before = {name: [other for other in names if (other, name) in waits_for] for name in names}
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


def following(passages: Sequence[Passage]) -> Iterator[tuple[Passage, Passage | None]]:
    """Each of these, in the order in which they began, with what began next after its end, if anything did."""
    begun = [each.began for each in passages]
    for each in passages:
        place = bisect_left(begun, each.over)
        while place < len(passages) and passages[place] is each:
            place += 1
        yield each, passages[place] if place < len(passages) else None


def _forward(lesson: Lesson) -> list[Passage]:
    return [each for each in lesson.passages if each.type in FORWARD]


def _places(completed: Iterable[Sequence[Passage]]) -> Counter[str]:
    """The places of each step among the others, added up."""
    places: Counter[str] = Counter()
    for passages in completed:
        for place, each in enumerate(passages):
            places[each.name] += place
    return places


def _waits_for(completed: Sequence[Sequence[Passage]]) -> set[Pair]:
    """(one, other) where one was over each time before the other began."""
    seen: set[Pair] = set()
    overlapped: set[Pair] = set()
    for passages in _of_different_course(completed):
        for one in passages:
            for other in passages:
                (seen if one.over <= other.began else overlapped).add((one.name, other.name))
    return {pair for pair in seen - overlapped if pair[0] != pair[1]}


def _of_different_course(completed: Sequence[Sequence[Passage]]) -> Iterator[Sequence[Passage]]:
    """The latest ones that differ in the order of what began and ended, as many as can be compared."""
    known: set[tuple[str, ...]] = set()
    compared = 0
    for passages in reversed(completed):
        course = _course(passages)
        if course not in known and compared < COMPARED:
            known.add(course)
            compared += len(passages) ** 2
            yield passages


def _course(passages: Sequence[Passage]) -> tuple[str, ...]:
    """What began and ended, in order; at one moment ends go first, as they do not keep what follows waiting."""
    moments = [(each.over, 0, each.name) for each in passages] + [(each.began, 1, each.name) for each in passages]
    return tuple(f"{kind}{name}" for _, kind, name in sorted(moments))


def _direct(name: str, before: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The steps right before it: those that do not also stand before another of them."""
    earlier = before[name]
    behind = {one for other in earlier for one in before[other]}
    return tuple(each for each in earlier if each not in behind)


def _undos(lessons: Iterable[Lesson]) -> dict[str, str]:
    """Which step undoes which, as it was seen."""
    seen = Counter((each.compensates, each.name) for lesson in lessons for each in lesson.passages if each.compensates)
    return {step: undo for (step, undo), _ in sorted(seen.items(), key=lambda item: (item[1], item[0]))}


def _follows(completed: Iterable[Sequence[Passage]]) -> dict[str, dict[str, float]]:
    """What began next after each step's end, with its share; `END` where nothing did."""
    counted: dict[str, Counter[str]] = {}
    for passages in completed:
        for each, after in following(passages):
            counted.setdefault(each.name, Counter())[after.name if after else END] += 1
    return {
        name: {after: number / sum(found.values()) for after, number in sorted(found.items())}
        for name, found in counted.items()
    }
