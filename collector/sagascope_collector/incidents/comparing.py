"""Compares the sagas of an incident with finished ones, at most now and then."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sagascope_collector import analysis
from sagascope_collector.incidents.contrast import Contrast, contrasts
from sagascope_collector.incidents.failure_monitor import failure
from sagascope_collector.incidents.life import Incident
from sagascope_collector.incidents.traits import Trait, Traits, traits
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.storage import SagaFilter, Storage

SECOND: Final = 1_000_000_000

STUCK: Final = 100
FINISHED: Final = 200
"""Sagas of each kind that are looked at."""

SLICES: Final = 4
"""Parts of the window from which the finished ones are taken in equal numbers, so that not only its end counts."""

BEFORE: Final = 3_600 * SECOND
"""Nanoseconds before the first that stands still began, from which on those that finished are compared with it."""

AT_ONCE: Final = 25
TAKES: Final = 2.0
"""Seconds after which no more sagas are read."""

FRESH: Final = 60 * SECOND
"""Nanoseconds for which a comparison is told again, unless the incident has grown to twice its size."""

REMEMBERED: Final = 500

ERROR: Final = "error"
"""The key under which the error of a failed saga is compared."""


class _Said(NamedTuple):
    opened_at: int
    at: int
    sagas: int
    found: tuple[Contrast, ...]


class Comparisons:
    """What sets the sagas of each incident apart. May be asked from any thread; compares one at a time."""

    def __init__(self, storage: Storage, clock: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._clock = clock
        self._comparing = threading.Lock()
        self._said: dict[str, _Said] = {}

    def of(self, incident: Incident) -> Sequence[Contrast]:
        """What sets its sagas apart; of one that has none any more, what was found last.

        Raises:
            StorageUnavailable: they could not be read.
        """
        with self._comparing:
            said, now = self._said.get(incident.key), self._clock()
            if said is not None and _holds(said, incident, now):
                return said.found
            found = self._compared(incident)
            self._said.pop(incident.key, None)
            self._said[incident.key] = _Said(incident.opened_at, now, incident.count, found)
            if len(self._said) > REMEMBERED:
                del self._said[next(iter(self._said))]
            return found

    def _compared(self, incident: Incident) -> tuple[Contrast, ...]:
        rows = self._storage.listing.page(SagaFilter(incident=incident.key), limit=STUCK).rows
        if not rows:
            return ()
        first = min(row.started_at for row in rows) - BEFORE
        last = max(row.started_at for row in rows) + 1
        others = list(self._finished(incident, first, last))
        return contrasts(self._traits([row.key for row in rows], incident), self._traits(others, incident))

    def _finished(self, incident: Incident, first: int, last: int) -> Iterator[SagaKey]:
        """Sagas that ended as those of the incident should have."""
        status = "completed" if incident.phase == "forward" else "compensated"
        bounds = [first + (last - first) * place // SLICES for place in range(SLICES + 1)]
        for since, until in itertools.pairwise(bounds):
            narrowed = SagaFilter(
                environment=incident.environment, status=status, name=incident.name, since=since, until=until
            )
            rows = self._storage.listing.page(narrowed, limit=FINISHED // SLICES).rows
            yield from (row.key for row in rows if row.attention is None)

    def _traits(self, keys: Sequence[SagaKey], incident: Incident) -> list[Traits]:
        """The traits of these, or of as many as can be read in time."""
        until = time.monotonic() + TAKES / 2
        found = []
        wanted = list(dict.fromkeys(SagaId(key.environment, key.id) for key in _spread(keys)))
        for start in range(0, len(wanted), AT_ONCE):
            if time.monotonic() > until:
                break
            facts = self._storage.lookup.facts(wanted[start : start + AT_ONCE])
            found += [self._of(each, incident) for each in facts.values()]
        return found

    def _of(self, facts: Facts, incident: Incident) -> Traits:
        """Returns the traits of a saga; of one that may have failed, its error is one."""
        known = traits(facts.spans)
        if not incident.failure_rate:
            return known
        failures = [failure(saga) for saga in analysis.rebuild(facts, self._clock())]
        errors = {Trait("", each.step, ERROR, each.fingerprint) for each in failures if each.fingerprint}
        return known._replace(found=known.found | errors)


def _spread(keys: Sequence[SagaKey]) -> Iterator[SagaKey]:
    """All of them, so ordered that the first ones are from everywhere."""
    stride = max(1, -(-len(keys) // AT_ONCE))
    for offset in range(stride):
        yield from keys[offset::stride]


def _holds(said: _Said, incident: Incident, now: int) -> bool:
    is_same = said.opened_at == incident.opened_at and incident.count < max(2, 2 * said.sagas)
    return not incident.count or (is_same and 0 <= now - said.at < FRESH)
