"""Compares the sagas of an incident with completed ones of their type, and remembers the results for a while."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sagascope_collector import analysis
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.incidents.common_attributes import (
    CommonAttribute,
    SagaAttribute,
    SagaAttributes,
    common_attributes,
    saga_attributes,
)
from sagascope_collector.incidents.failure_monitor import failure
from sagascope_collector.incidents.lifecycle import Incident
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.storage import SagaFilter, Storage

AFFECTED_SAGAS: Final = 100
COMPLETED_SAGAS: Final = 200
"""Sagas of each kind that are compared at most."""

PARTS: Final = 4
"""Parts of the window from which equal numbers of completed sagas are taken, so that not only its end counts."""

LEAD_NS: Final = 3_600 * NANOSECONDS_PER_SECOND
"""Time before the start of the first affected saga from which on completed ones are compared."""

BATCH_SAGAS: Final = 25
MAX_READ_SECONDS: Final = 2.0
"""Time after which no more sagas are read."""

FRESH_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""Time for which a result is returned again, unless the incident has grown to twice its size."""

MAX_RESULTS: Final = 500

ERROR: Final = "error"
"""The key under which the error of a failed saga is compared."""


class _Result(NamedTuple):
    opened_at: int
    at: int
    sagas: int
    found: tuple[CommonAttribute, ...]


class Comparison:
    """Compares the sagas of one incident at a time. May be called from any thread."""

    def __init__(self, storage: Storage, clock: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._clock = clock
        self._comparing = threading.Lock()
        self._results: dict[str, _Result] = {}

    def common_attributes(self, incident: Incident) -> Sequence[CommonAttribute]:
        """Returns what its sagas have in common; for an incident without sagas, the last result.

        Raises:
            StorageUnavailable: the sagas cannot be read.
        """
        with self._comparing:
            known, now = self._results.get(incident.key), self._clock()
            if known is not None and _is_fresh(known, incident, now):
                return known.found
            found = self._compare(incident)
            self._results.pop(incident.key, None)
            self._results[incident.key] = _Result(incident.opened_at, now, incident.count, found)
            if len(self._results) > MAX_RESULTS:
                del self._results[next(iter(self._results))]
            return found

    def _compare(self, incident: Incident) -> tuple[CommonAttribute, ...]:
        rows = self._storage.listing.page(SagaFilter(incident=incident.key), limit=AFFECTED_SAGAS).rows
        if not rows:
            return ()
        first = min(row.started_at for row in rows) - LEAD_NS
        last = max(row.started_at for row in rows) + 1
        completed = list(self._completed(incident, first, last))
        affected = [row.key for row in rows]
        return common_attributes(self._attributes(affected, incident), self._attributes(completed, incident))

    def _completed(self, incident: Incident, first: int, last: int) -> Iterator[SagaKey]:
        """Returns sagas that ended as those of the incident should have."""
        status = "completed" if incident.phase == "forward" else "compensated"
        bounds = [first + (last - first) * part // PARTS for part in range(PARTS + 1)]
        for since, until in itertools.pairwise(bounds):
            chosen = SagaFilter(
                environment=incident.environment, status=status, name=incident.name, since=since, until=until
            )
            rows = self._storage.listing.page(chosen, limit=COMPLETED_SAGAS // PARTS).rows
            yield from (row.key for row in rows if row.attention is None)

    def _attributes(self, keys: Sequence[SagaKey], incident: Incident) -> list[SagaAttributes]:
        """Returns the attributes of these sagas, or of as many as can be read in time."""
        deadline = time.monotonic() + MAX_READ_SECONDS / 2
        found = []
        wanted = list(dict.fromkeys(SagaId(key.environment, key.id) for key in _interleaved(keys)))
        for start in range(0, len(wanted), BATCH_SAGAS):
            if time.monotonic() > deadline:
                break
            facts = self._storage.lookup.facts(wanted[start : start + BATCH_SAGAS])
            found += [self._of(each, incident) for each in facts.values()]
        return found

    def _of(self, facts: Facts, incident: Incident) -> SagaAttributes:
        """Returns the attributes of a saga; where sagas failed, the error is one of them."""
        known = saga_attributes(facts.spans)
        if not incident.failure_rate:
            return known
        failures = [failure(saga, incident.failure_rate.step) for saga in analysis.rebuild(facts, self._clock())]
        errors = {SagaAttribute("", each.step, ERROR, each.fingerprint) for each in failures if each.fingerprint}
        return known._replace(attributes=known.attributes | errors)


def _interleaved(keys: Sequence[SagaKey]) -> Iterator[SagaKey]:
    """Returns all keys in an order in which the first ones are from everywhere."""
    stride = max(1, -(-len(keys) // BATCH_SAGAS))
    for offset in range(stride):
        yield from keys[offset::stride]


def _is_fresh(known: _Result, incident: Incident, now: int) -> bool:
    is_same = known.opened_at == incident.opened_at and incident.count < max(2, 2 * known.sagas)
    return not incident.count or (is_same and 0 <= now - known.at < FRESH_NS)
