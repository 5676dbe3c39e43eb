"""What finished sagas taught: kept in the storage, and in memory. One for the projection and the API.

Of each type the latest `MAX_SAMPLES` that ended count, however they were summarised: those that were summarised in bulk
are candidates until they have been rebuilt, the latest first.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sagascope_collector import analysis
from sagascope_collector.analysis.baseline import MAX_SAMPLES
from sagascope_collector.analysis.model import UNKNOWN_NAME
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import BaselineRow, SagaRow, Storage

logger = logging.getLogger(__name__)

Name = tuple[str, str]
"""(environment, saga name)."""

MAX_NAMES: int = 2_000
"""Saga types of which something is learned; what ends after that of others is not."""

SLACK: int = 100
"""Lessons beyond `MAX_SAMPLES` that are held until the oldest are dropped together."""

SLOW_NAMED: int = 5
"""Saga types that a notice names."""

LEISURE: float = 30.0
"""How many times as long as learning took is waited before the same type is learned anew; at least `PAUSE_SECONDS`."""

PAUSE_SECONDS: float = 0.5


class Learned(NamedTuple):
    """Something that was not known before, of one saga type."""

    name: Name
    has_compensations: bool
    """It is also about what compensates what."""


class Memory:
    """Takes lessons in one thread; what was learned from them may be read in any."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads what the storage has kept."""
        self._storage = storage
        self._clock = clock
        self._lessons: defaultdict[Name, dict[SagaKey, analysis.SagaSample]] = defaultdict(dict)
        self._of_id: defaultdict[SagaId, set[SagaKey]] = defaultdict(set)
        self._candidates: defaultdict[Name, dict[SagaKey, int]] = defaultdict(dict)
        self._oldest: dict[Name, tuple[int, tuple[str, ...]]] = {}
        self._due: dict[Name, float] = {}
        self._next: dict[Name, float] = {}
        self._baselines: Mapping[Name, analysis.Baseline] = {}
        self._told: dict[Name, analysis.Baseline] = {}
        self._paces: defaultdict[Name, analysis.SlowdownDetector] = defaultdict(analysis.SlowdownDetector)
        for document in storage.baselines.all():
            self._remember(analysis.load_sample(document))
        self.reflect()

    @property
    def baselines(self) -> Mapping[Name, analysis.Baseline]:
        """What is known by now, by (environment, saga name)."""
        return self._baselines

    def take(self, lessons: Sequence[analysis.SagaSample], ids: Iterable[SagaId] = ()) -> None:
        """Keeps and remembers lessons; those that are known already, or too old to count, cost nothing.

        Args:
            lessons: of sagas that were evaluated.
            ids: whose all sagas these are: what others of these ids taught before is forgotten.

        Raises:
            StorageUnavailable: none was taken.
        """
        news = [each for each in lessons if self._is_wanted(each)]
        told = {each.key for each in lessons}
        stale = [key for saga in ids for key in self._of_id.get(saga, ()) if key not in told]
        sagas = self._storage.sagas
        with sagas.writing:  # else a saga could be erased between the check and the insertion
            news = [each for each in news if not sagas.is_erased(_id_of(each.key))]
            rows = [BaselineRow(each.key, each.ended_at, each.dump()) for each in news]
            self._storage.baselines.put(rows, MAX_SAMPLES, stale)
        for key in stale:
            self._forget(key)
        for each in news:
            self._remember(each)

    def note(self, rows: Iterable[SagaRow]) -> None:
        """Notes sagas that ended and were summarised in bulk: the latest of them are to be rebuilt."""
        for row in rows:
            name = row.key[:2]
            if row.ended_at is not None and self._has_place(name):
                self._candidates[name][row.key] = row.ended_at
        for name, candidates in self._candidates.items():
            if len(candidates) > MAX_SAMPLES + SLACK:
                latest = sorted(candidates.items(), key=lambda item: (item[1], item[0]))[-MAX_SAMPLES:]
                self._candidates[name] = dict(latest)

    def candidates(self, limit: int) -> list[SagaKey]:
        """Returns sagas to be rebuilt, so that they are learned from: of each type in turn, the latest first."""
        for name, candidates in self._candidates.items():
            since = self._since(name)
            ordered = sorted(candidates.items(), key=lambda item: (item[1], item[0]), reverse=True)
            self._candidates[name] = {key: ended_at for key, ended_at in ordered if (ended_at, key) > since}
        self._candidates = defaultdict(dict, {name: each for name, each in self._candidates.items() if each})
        share = max(1, limit // max(1, len(self._candidates)))
        found: list[SagaKey] = []
        for name in list(self._candidates)[:limit]:
            candidates = self._candidates[name] = self._candidates.pop(name)  # last from now on
            found += list(candidates)[:share]
        return found

    def rebuilt(self, keys: Iterable[SagaKey]) -> None:
        """Notes that these were rebuilt, whether they taught anything or not."""
        for key in keys:
            if candidates := self._candidates.get(key[:2]):
                candidates.pop(key, None)

    @property
    def has_candidates(self) -> bool:
        """Whether a saga that was summarised in bulk has not been learned from yet."""
        return bool(self._candidates)

    def reflect(self) -> list[Learned]:
        """Learns where there is something new, a type not too often; returns what changed by that."""
        now = self._clock()
        changed = [self._learn(name) for name, due in sorted(self._due.items()) if due <= now]
        return [each for each in changed if each is not None]

    def notices(self) -> Sequence[str]:
        """Returns what readers of lists should know: one for everything that is slow."""
        slow = sorted((name, each.slowdown) for (_, name), each in self._baselines.items() if each.slowdown > 1)
        if not slow:
            return []
        said = ", ".join(f"{name} {times:.1f} times" for name, times in slow[:SLOW_NAMED])
        return [f"general_slowdown: all steps take longer than usual ({said}); deadlines are extended as much."]

    def _is_wanted(self, lesson: analysis.SagaSample) -> bool:
        """Returns whether it is news, of a type that has a name and a place, and among the latest."""
        name = lesson.key[:2]
        if not self._has_place(name) or self._lessons.get(name, {}).get(lesson.key) == lesson:
            return False
        return lesson.key in self._lessons.get(name, {}) or (lesson.ended_at, lesson.key) > self._since(name)

    def _has_place(self, name: Name) -> bool:
        if name[1] == UNKNOWN_NAME:
            return False
        is_known = name in self._lessons or name in self._candidates
        return is_known or len(self._lessons) + len(self._candidates) < MAX_NAMES

    def _since(self, name: Name) -> tuple[int, tuple[str, ...]]:
        """Returns what a saga must have ended after to be among the latest."""
        known = self._lessons.get(name, {})
        if len(known) < MAX_SAMPLES:
            return (-1, ())
        if name not in self._oldest:
            self._oldest[name] = sorted((each.ended_at, each.key) for each in known.values())[-MAX_SAMPLES]
        return self._oldest[name]

    def _remember(self, lesson: analysis.SagaSample) -> None:
        name = lesson.key[:2]
        known = self._lessons[name]
        known[lesson.key] = lesson
        self._of_id[_id_of(lesson.key)].add(lesson.key)
        self._oldest.pop(name, None)
        if len(known) > MAX_SAMPLES + SLACK:
            for each in sorted(known.values(), key=lambda each: (each.ended_at, each.key))[:-MAX_SAMPLES]:
                self._forget(each.key)
        self._due.setdefault(name, self._next.get(name, 0.0))

    def _forget(self, key: SagaKey) -> None:
        name, saga = key[:2], _id_of(key)
        self._lessons[name].pop(key, None)
        self._oldest.pop(name, None)
        self._of_id[saga].discard(key)
        if not self._of_id[saga]:
            del self._of_id[saga]
        self._due.setdefault(name, self._next.get(name, 0.0))

    def _learn(self, name: Name) -> Learned | None:
        started = self._clock()
        lessons = analysis.in_order(self._lessons[name].values())
        learned = analysis.learn_baseline(lessons, self._paces[name].slowdown(lessons, started))
        self._next[name] = self._clock() + max(PAUSE_SECONDS, LEISURE * (self._clock() - started))
        del self._due[name]
        self._baselines = {**self._baselines, name: learned}
        told = self._told.get(name)
        if told is not None and told.is_like(learned):
            return None
        self._told[name] = learned
        return Learned(name, has_compensations=learned.compensations != (told.compensations if told else frozenset()))


def _id_of(key: SagaKey) -> SagaId:
    return SagaId(key.environment, key.id)
