"""Diagnoses a healthy world by the real rules, at the moments at which something might be said of it."""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sagascope_collector.analysis import (
    Baseline,
    Context,
    SagaSample,
    SlowdownDetector,
    diagnose,
    in_order,
    learn_baseline,
    outages,
    rebuild,
    take_sample,
)
from sagascope_collector.incidents import cause
from support.healthy import FLUSHED, NAME, START, Whole, World
from support.telemetry import SECOND

TAUGHT_EVERY = 5.0
"""Seconds of the world's time between two times that the collector learns what is usual."""

LESSONS = 50
"""Finished sagas that teach each time; the collector takes more, which would teach the same."""

MAX_SAMPLES = 500
JUST_BEFORE = 0.000_001
LONG = 2.0
"""Seconds without news of a saga, at the end of which it is diagnosed; as it is at the end of its longest wait."""


@dataclass
class Alarms:
    """What was said of sagas that nothing was wrong with."""

    sagas: int = 0
    diagnosed: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    """Sagas ever flagged, by what went on."""
    reasons: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    """Causes under which they were, by what went on."""
    at_once: int = 0
    """The most that were flagged at one moment."""
    notices: int = 0

    def add(self, other: "Alarms") -> None:
        """Count those of another world too."""
        self.sagas += other.sagas
        self.diagnosed += other.diagnosed
        self.notices += other.notices
        for own, theirs in ((self.flagged, other.flagged), (self.reasons, other.reasons)):
            own.update(theirs)
        self.incidents = Counter(
            {k: max(self.incidents[k], other.incidents[k]) for k in self.incidents | other.incidents}
        )
        self.at_once = max(self.at_once, other.at_once)


def alarms(world: World) -> Alarms:
    """Everything that was wrongly said of a world."""
    found = Alarms(sagas=len(world.sagas))
    known = _learned(world)
    during: list[tuple[float, float]] = []
    causes: dict[str, set[str]] = {}
    for whole in world.sagas:
        for moment, until in _moments(world, whole):
            said = _diagnosed(world, whole, moment, known)
            found.diagnosed += 1
            if said is not None:
                phase = world.phase(moment).name
                found.flagged[phase] += 1
                found.reasons[said[0]] += 1
                causes.setdefault(phase, set()).add(said[1])
                during.append((moment, until))
                break
    found.incidents = Counter({phase: len(keys) for phase, keys in causes.items()})
    found.at_once = max((sum(begin <= at <= end for begin, end in during) for at, _ in during), default=0)
    found.notices = sum(bool(known.lost(at)) for at in range(0, int(world.length), 5))
    return found


class _Learned:
    """What the collector had learned at each moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._moments: list[float] = []
        self._pace = SlowdownDetector()
        self._known: list[Mapping[tuple[str, str], Baseline]] = []

    def take(self, at: float, samples: Iterable[SagaSample]) -> None:
        self._moments.append(at)
        ordered = in_order(samples)
        self._known.append({("", NAME): learn_baseline(ordered, self._pace.slowdown(ordered, at))})

    def at(self, moment: float) -> Mapping[tuple[str, str], Baseline]:
        place = bisect_right(self._moments, moment)
        return self._known[place - 1] if place else {}

    def lost(self, moment: float) -> Mapping[str, int]:
        """The outages that the collector sees at a moment."""
        now = START + round(moment * SECOND)
        return outages(self._world.everyone(moment), Context(now))


def _learned(world: World) -> _Learned:
    known, samples = _Learned(world), deque[SagaSample](maxlen=MAX_SAMPLES)
    finished = deque(sorted(world.sagas, key=lambda each: each.ended))
    at = TAUGHT_EVERY
    while finished:
        ended = []
        while finished and finished[0].ended + FLUSHED <= at:
            ended.append(finished.popleft())
        samples.extend(_samples(world, ended[-LESSONS:]))
        known.take(at, samples)
        at += TAUGHT_EVERY
    return known


def _samples(world: World, ended: Iterable[Whole]) -> Iterator[SagaSample]:
    for whole in ended:
        (saga,) = rebuild(world.facts(whole, whole.ended + 2 * FLUSHED), START + round((whole.ended + 2) * SECOND))
        if taught := take_sample(saga):
            yield taught


def _moments(world: World, whole: Whole) -> Iterator[tuple[float, float]]:
    """When something might be said, and until when: before news that was long in coming, and after farewells."""
    news = sorted(_news(whole))
    longest = max(after - before for before, after in pairwise(news))
    for before, after in pairwise(news):
        if after - before == longest or after - before > LONG:
            yield after - JUST_BEFORE, after
    for at in world.shutdowns(whole):
        yield at + JUST_BEFORE, at + FLUSHED


def _news(whole: Whole) -> Iterator[float]:
    """When something of a saga is heard."""
    delays = iter(whole.delays)
    yield whole.began
    yield whole.ended + next(delays)
    for each in whole.attempts:
        yield each.returned + next(delays)
        yield each.ended + next(delays)
        if each.returned - each.called > 0.25:
            yield each.called + 0.45
        if each.ended - each.began > 0.25:
            yield each.began + 0.45


def _diagnosed(world: World, whole: Whole, at: float, known: _Learned) -> tuple[str, str] | None:
    """The reason for which a saga is flagged at a moment, and its incident; None: it is not."""
    now, baseline = START + round(at * SECOND), known.at(at)
    facts = world.facts(whole, at)
    for saga in rebuild(facts, now, baseline):
        diagnosis = diagnose(saga, facts.instances, Context(now, baselines=baseline))
        why = cause(saga, diagnosis)
        if why is not None:
            return why.reason, why.key
    return None
