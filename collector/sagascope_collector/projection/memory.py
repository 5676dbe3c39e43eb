"""What finished sagas taught: kept in the store, called to mind from memory. One for the projection and the API."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sagascope_collector import sagas
from sagascope_collector.records import SagaKey
from sagascope_collector.sagas.experience import KEPT
from sagascope_collector.sagas.identity import UNKNOWN
from sagascope_collector.store.contract import LessonRow, Store

logger = logging.getLogger(__name__)

Name = tuple[str, str]
"""(environment, saga name)."""

NAMES: int = 2_000
"""Saga types that are learned at most; what ends after that of others is not."""

AT_ONCE: int = 50
"""Lessons of one name that are taken in together: of a flood of finished sagas, the last that ended teach enough."""

SLACK: int = 100
"""Lessons beyond `KEPT` that are held until the oldest are thrown away together."""

SLOW_NAMED: int = 5
"""Saga types that a notice names."""

LEISURE: float = 30.0
"""How many times as long as learning took is waited before the same name is learned anew; at least `PAUSE`."""

PAUSE: float = 0.5
"""Seconds between two times that one name is learned."""


class Learned(NamedTuple):
    """Something that was not known before, of one saga type."""

    name: Name
    has_undos: bool
    """It is also about what undoes what."""


class Memory:
    """Takes lessons in one thread; what was learned from them may be read in any."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember what the store has kept."""
        self._store = store
        self._clock = clock
        self._lessons: defaultdict[Name, dict[SagaKey, sagas.Lesson]] = defaultdict(dict)
        self._due: dict[Name, float] = {}
        self._next: dict[Name, float] = {}
        self._experience: Mapping[Name, sagas.Experience] = {}
        self._told: dict[Name, sagas.Experience] = {}
        self._paces: defaultdict[Name, sagas.Pace] = defaultdict(sagas.Pace)
        for document in store.lessons():
            self._remember(sagas.load(document))
        self.reflect()

    @property
    def experience(self) -> Mapping[Name, sagas.Experience]:
        """What is known by now, by (environment, saga name)."""
        return self._experience

    def take(self, lessons: Iterable[sagas.Lesson]) -> None:
        """Keep and remember lessons; those that are known already cost nothing.

        Raises:
            StoreUnavailable: none was taken.
        """
        news = self._news(lessons)
        rows = [LessonRow(each.key, each.ended_at, each.dump()) for each in news]
        self._store.put_lessons(rows, KEPT)
        for each in news:
            self._remember(each)

    def reflect(self) -> list[Learned]:
        """Learn anew where there is something new, a name not too often; where something changed by that, say what."""
        now = self._clock()
        changed = [self._learn(name) for name, due in sorted(self._due.items()) if due <= now]
        return [each for each in changed if each is not None]

    def notices(self) -> Sequence[str]:
        """What readers of lists should know: one for everything that is slow."""
        slow = sorted((name, each.slower) for (_, name), each in self._experience.items() if each.slower > 1)
        if not slow:
            return []
        said = ", ".join(f"of {name} {times:.1f} times" for name, times in slow[:SLOW_NAMED])
        return [f"general_slowdown: all steps take longer than usual, {said}; they are given as much more time."]

    def _news(self, lessons: Iterable[sagas.Lesson]) -> Sequence[sagas.Lesson]:
        by_name: defaultdict[Name, list[sagas.Lesson]] = defaultdict(list)
        for each in lessons:
            if self._is_wanted(each):
                by_name[_name(each)].append(each)
        return [
            each
            for told in by_name.values()
            for each in sorted(told, key=lambda each: (each.ended_at, each.key))[-AT_ONCE:]
        ]

    def _is_wanted(self, lesson: sagas.Lesson) -> bool:
        """Whether it is news, of a type that has a name and a place."""
        name = _name(lesson)
        is_placed = name in self._lessons or len(self._lessons) < NAMES
        return lesson.key.name != UNKNOWN and is_placed and self._lessons.get(name, {}).get(lesson.key) != lesson

    def _remember(self, lesson: sagas.Lesson) -> None:
        name = _name(lesson)
        known = self._lessons[name]
        known[lesson.key] = lesson
        if len(known) > KEPT + SLACK:
            latest = sorted(known.values(), key=lambda each: (each.ended_at, each.key))[-KEPT:]
            self._lessons[name] = {each.key: each for each in latest}
        self._due.setdefault(name, self._next.get(name, 0.0))

    def _learn(self, name: Name) -> Learned | None:
        begun = self._clock()
        lessons = sagas.in_order(self._lessons[name].values())
        learned = sagas.learn(lessons, self._paces[name].slower(lessons, begun))
        self._next[name] = self._clock() + max(PAUSE, LEISURE * (self._clock() - begun))
        del self._due[name]
        self._experience = {**self._experience, name: learned}
        told = self._told.get(name)
        if told is not None and told.is_like(learned):
            return None
        self._told[name] = learned
        return Learned(name, has_undos=learned.undos != (told.undos if told else frozenset()))


def _name(lesson: sagas.Lesson) -> Name:
    return lesson.key.environment, lesson.key.name
