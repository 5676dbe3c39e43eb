"""Learns baselines from ended sagas. The projection and the API share one `BaselineLearner`.

The latest `MAX_SAMPLES` ended sagas of each type count, whether they were summarized in bulk or not. Sagas that were
summarized in bulk are candidates until they are rebuilt, the latest first.
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

MAX_TYPES: int = 2_000
"""Maximum number of saga types with a baseline; sagas of further types are not learned from."""

MAX_EXTRA_SAMPLES: int = 100
"""Samples beyond `MAX_SAMPLES` that are held before the oldest are dropped together."""

MAX_NAMED_SLOWDOWNS: int = 5
"""Maximum number of saga types that a notice names."""

LEARNING_PAUSE_FACTOR: float = 30.0
"""Pause before a type is learned again, as a multiple of the time that learning took; at least `PAUSE_SECONDS`."""

PAUSE_SECONDS: float = 0.5


class BaselineChange(NamedTuple):
    """A change of the baseline of one saga type."""

    name: Name
    has_compensations: bool
    """Whether the change includes which step compensates which."""


class BaselineLearner:
    """Accepts samples from one thread; any thread may read the baselines."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the stored samples."""
        self._storage = storage
        self._clock = clock
        self._samples: defaultdict[Name, dict[SagaKey, analysis.SagaSample]] = defaultdict(dict)
        self._of_id: defaultdict[SagaId, set[SagaKey]] = defaultdict(set)
        self._candidates: defaultdict[Name, dict[SagaKey, int]] = defaultdict(dict)
        self._oldest: dict[Name, tuple[int, tuple[str, ...]]] = {}
        self._due: dict[Name, float] = {}
        self._next: dict[Name, float] = {}
        self._baselines: Mapping[Name, analysis.Baseline] = {}
        self._published: dict[Name, analysis.Baseline] = {}
        self._slowdown_detectors: defaultdict[Name, analysis.SlowdownDetector] = defaultdict(analysis.SlowdownDetector)
        for document in storage.baselines.all():
            self._remember(analysis.load_sample(document))
        self.update_baselines()

    @property
    def baselines(self) -> Mapping[Name, analysis.Baseline]:
        """The current baselines by (environment, saga name)."""
        return self._baselines

    def add_samples(self, samples: Sequence[analysis.SagaSample], ids: Iterable[SagaId] = ()) -> None:
        """Stores samples. Samples that are already known, or too old to count, are skipped at no cost.

        Args:
            samples: samples of evaluated sagas.
            ids: ids of which `samples` has all sagas: other samples of these ids are deleted.

        Raises:
            StorageUnavailable: no sample was stored.
        """
        new = [each for each in samples if self._is_wanted(each)]
        sampled = {each.key for each in samples}
        stale = [key for saga in ids for key in self._of_id.get(saga, ()) if key not in sampled]
        sagas = self._storage.sagas
        with sagas.writing:  # otherwise a saga could be erased between the check and the insertion
            new = [each for each in new if not sagas.is_erased(_id_of(each.key))]
            rows = [BaselineRow(each.key, each.ended_at, each.dump()) for each in new]
            self._storage.baselines.put(rows, MAX_SAMPLES, stale)
        for key in stale:
            self._forget(key)
        for each in new:
            self._remember(each)

    def add_candidates(self, rows: Iterable[SagaRow]) -> None:
        """Records sagas that ended and were summarized in bulk: the latest of them are to be rebuilt."""
        for row in rows:
            name = row.key[:2]
            if row.ended_at is not None and self._has_room(name):
                self._candidates[name][row.key] = row.ended_at
        for name, candidates in self._candidates.items():
            if len(candidates) > MAX_SAMPLES + MAX_EXTRA_SAMPLES:  # seldom, because sorting is expensive
                latest = sorted(candidates.items(), key=lambda item: (item[1], item[0]))[-MAX_SAMPLES:]
                self._candidates[name] = dict(latest)

    def candidates(self, limit: int) -> list[SagaKey]:
        """Returns sagas to rebuild and learn from: of each type in turn, the latest first."""
        for name, candidates in self._candidates.items():
            since = self._since(name)
            ordered = sorted(candidates.items(), key=lambda item: (item[1], item[0]), reverse=True)
            self._candidates[name] = {key: ended_at for key, ended_at in ordered if (ended_at, key) > since}
        self._candidates = defaultdict(dict, {name: each for name, each in self._candidates.items() if each})
        share = max(1, limit // max(1, len(self._candidates)))
        found: list[SagaKey] = []
        for name in list(self._candidates)[:limit]:
            candidates = self._candidates[name] = self._candidates.pop(name)  # moves the type to the end
            found += list(candidates)[:share]
        return found

    def remove_candidates(self, keys: Iterable[SagaKey]) -> None:
        """Records that these sagas were rebuilt, whether or not they yielded a sample."""
        for key in keys:
            if candidates := self._candidates.get(key[:2]):
                candidates.pop(key, None)

    @property
    def has_candidates(self) -> bool:
        """Whether a saga that was summarized in bulk still has to be learned from."""
        return bool(self._candidates)

    def update_baselines(self) -> list[BaselineChange]:
        """Updates the baselines of types with new samples, each type at a limited rate; returns the changes."""
        now = self._clock()
        changed = [self._learn(name) for name, due in sorted(self._due.items()) if due <= now]
        return [each for each in changed if each is not None]

    def notices(self) -> Sequence[str]:
        """Returns notices for readers of lists: one for all types of which learning is slow."""
        slow = sorted((name, each.slowdown) for (_, name), each in self._baselines.items() if each.slowdown > 1)
        if not slow:
            return []
        listed = ", ".join(f"{name} {times:.1f} times" for name, times in slow[:MAX_NAMED_SLOWDOWNS])
        return [f"general_slowdown: all steps take longer than usual ({listed}); deadlines are extended as much."]

    def _is_wanted(self, sample: analysis.SagaSample) -> bool:
        """Returns whether a sample is new, has a saga name, is of a type with a free place, and is among the latest."""
        name = sample.key[:2]
        if not self._has_room(name) or self._samples.get(name, {}).get(sample.key) == sample:
            return False
        return sample.key in self._samples.get(name, {}) or (sample.ended_at, sample.key) > self._since(name)

    def _has_room(self, name: Name) -> bool:
        if name[1] == UNKNOWN_NAME:
            return False
        is_known = name in self._samples or name in self._candidates
        return is_known or len(self._samples) + len(self._candidates) < MAX_TYPES

    def _since(self, name: Name) -> tuple[int, tuple[str, ...]]:
        """Returns the position in time after which a saga must have ended to be among the latest."""
        known = self._samples.get(name, {})
        if len(known) < MAX_SAMPLES:
            return (-1, ())
        if name not in self._oldest:
            self._oldest[name] = sorted((each.ended_at, each.key) for each in known.values())[-MAX_SAMPLES]
        return self._oldest[name]

    def _remember(self, sample: analysis.SagaSample) -> None:
        name = sample.key[:2]
        known = self._samples[name]
        known[sample.key] = sample
        self._of_id[_id_of(sample.key)].add(sample.key)
        self._oldest.pop(name, None)
        if len(known) > MAX_SAMPLES + MAX_EXTRA_SAMPLES:
            for each in sorted(known.values(), key=lambda each: (each.ended_at, each.key))[:-MAX_SAMPLES]:
                self._forget(each.key)
        self._due.setdefault(name, self._next.get(name, 0.0))

    def _forget(self, key: SagaKey) -> None:
        name, saga = key[:2], _id_of(key)
        self._samples[name].pop(key, None)
        self._oldest.pop(name, None)
        self._of_id[saga].discard(key)
        if not self._of_id[saga]:
            del self._of_id[saga]
        self._due.setdefault(name, self._next.get(name, 0.0))

    def _learn(self, name: Name) -> BaselineChange | None:
        started = self._clock()
        samples = analysis.in_order(self._samples[name].values())
        learned = analysis.learn_baseline(samples, self._slowdown_detectors[name].slowdown(samples, started))
        self._next[name] = self._clock() + max(PAUSE_SECONDS, LEARNING_PAUSE_FACTOR * (self._clock() - started))
        del self._due[name]
        self._baselines = {**self._baselines, name: learned}
        published = self._published.get(name)
        if published is not None and published.is_similar(learned):
            return None
        self._published[name] = learned
        earlier = published.compensations if published else frozenset()
        return BaselineChange(name, has_compensations=learned.compensations != earlier)


def _id_of(key: SagaKey) -> SagaId:
    return SagaId(key.environment, key.id)
