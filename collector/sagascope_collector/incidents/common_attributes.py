"""Attributes that the sagas of an incident have in common and completed sagas of their type do not."""

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from math import comb
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector import analysis
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.incidents.failure_monitor import last_failure
from sagascope_collector.incidents.lifecycle import Incident
from sagascope_collector.records import Attributes, Facts, SagaId, SagaKey, Span, Value
from sagascope_collector.saga_filters import SagaFilters, SagaStatus
from sagascope_collector.storage import Storage

MIN_AFFECTED: Final = 5
"""Minimum number of affected sagas with an attribute."""

MIN_COMPLETED: Final = 20
"""Minimum number of completed sagas, with or without an attribute."""

MAX_CHANCE: Final = 0.01
"""Maximum probability that any attribute is reported by chance."""

MIN_LIFT: Final = 1.5
"""Minimum factor by which an attribute is more frequent among affected sagas."""

MAX_VALUES: Final = 50
"""Maximum number of values of one key; a key with more values identifies single sagas."""

MAX_REPORTED: Final = 10
MAX_EQUIVALENT: Final = 5

MAX_VALUE_CHARACTERS: Final = 200
"""Maximum number of characters of a value; longer values are not compared."""

MAX_ATTRIBUTES: Final = 2_000
"""Maximum number of attributes of one saga; further attributes are left out."""

PREFERRED_PREFIXES: Final = (
    "service.version", "deployment.", "service.instance.id", "host.name", "cloud.", "k8s.",
)  # fmt: skip
"""Prefixes in order of preference: decides which of the attributes that the same sagas have is reported first."""

BUSINESS_PREFIXES: Final = (semconv.KEY_PREFIX, semconv.CURRENCY)
"""Prefixes of business attributes; other ``saga.*`` attributes describe the progress of the saga."""

IGNORED_PREFIXES: Final = (
    "error.", "exception.", "otel.status", "http.status_code", "http.response.", "rpc.grpc.status", "rpc.response.",
    "db.response.", "messaging.message.", "process.", "thread.", "code.", "telemetry.", "deployment.environment",
    "saga.", "sagascope.", "service.name", "client.", "network.peer.port", "net.peer.port", "net.sock.peer.port",
)  # fmt: skip
"""Prefixes of keys that describe the outcome or the caller, or always differ between processes."""


class SagaAttribute(NamedTuple):
    """An attribute of a service's process, of a step, or of the whole saga."""

    service: str
    step: str
    key: str
    value: str

    @property
    def origin(self) -> tuple[str, str]:
        """The service or step with the attribute."""
        return self.service, self.step


class SagaAttributes(NamedTuple):
    """All attributes of one saga."""

    origins: frozenset[tuple[str, str]]
    """The services and steps of the saga; ``("", "")`` stands for the whole saga."""
    attributes: frozenset[SagaAttribute]


@dataclass(frozen=True, slots=True)
class CommonAttribute:
    """An attribute that affected sagas have more often than completed ones."""

    attribute: SagaAttribute
    affected: int
    """Number of affected sagas with the attribute, of the `affected_of` sagas seen at its origin."""
    affected_of: int
    completed: int
    completed_of: int
    also: tuple[SagaAttribute, ...]
    """Attributes of exactly the same sagas; the data does not show which of them matters."""

    @property
    def lift(self) -> float | None:
        """The factor by which it is more frequent among affected sagas; None if no completed saga has it."""
        if not self.completed:
            return None
        return (self.affected / self.affected_of) / (self.completed / self.completed_of)


SagasByAttribute = Mapping[SagaAttribute, frozenset[int]]
"""The sagas that have each attribute, by their number in the sample."""


def saga_attributes(spans: Iterable[Span]) -> SagaAttributes:
    """Returns the attributes of the saga that has these spans."""
    origins, found = {("", "")}, set[SagaAttribute]()
    for span in spans:
        service, step = span.process.service, span.mark.step
        origins |= {(service, ""), ("", step)}
        if len(found) < MAX_ATTRIBUTES:
            found |= {SagaAttribute(service, "", *each) for each in _comparable(span.resource.attributes)}
            for key, value in _comparable(span.attributes):
                found.add(SagaAttribute("", "" if key.startswith(BUSINESS_PREFIXES) else step, key, value))
    return SagaAttributes(frozenset(origins), frozenset(found))


def _comparable(attributes: Attributes) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        if key.startswith(BUSINESS_PREFIXES) or not key.startswith(IGNORED_PREFIXES):
            text = _text(value)
            if text:
                yield key, text


def _text(value: Value) -> str:
    """Returns a comparable value as text; ``""`` if it is not comparable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) and len(str(value)) <= MAX_VALUE_CHARACTERS else ""


def common_attributes(
    affected: Sequence[SagaAttributes], completed: Sequence[SagaAttributes]
) -> tuple[CommonAttribute, ...]:
    """Returns the attributes common among affected sagas, the most significant first.

    Empty if the samples are too small.
    """
    if len(affected) < MIN_AFFECTED or len(completed) < MIN_COMPLETED:
        return ()
    in_affected, in_completed = _by_attribute(affected), _by_attribute(completed)
    seen = Counter(origin for each in completed for origin in each.origins)
    groups = _equivalent(
        in_affected, in_completed, {origin for origin, count in seen.items() if count >= MIN_COMPLETED}
    )
    found = [each for group in groups if (each := _common(group, in_affected, in_completed, affected, completed))]
    chances = sorted((_chance(each), each.attribute) for each in found)
    by_attribute = {each.attribute: each for each in found}
    significant = [attribute for chance, attribute in chances if chance * len(groups) <= MAX_CHANCE]
    return tuple(by_attribute[attribute] for attribute in significant[:MAX_REPORTED])


def _by_attribute(sagas: Sequence[SagaAttributes]) -> SagasByAttribute:
    found: defaultdict[SagaAttribute, set[int]] = defaultdict(set)
    for number, each in enumerate(sagas):
        for attribute in each.attributes:
            found[attribute].add(number)
    return {attribute: frozenset(numbers) for attribute, numbers in found.items()}


def _equivalent(
    in_affected: SagasByAttribute, in_completed: SagasByAttribute, origins: AbstractSet[tuple[str, str]]
) -> list[list[SagaAttribute]]:
    """Returns the attributes at these origins, grouped by the sagas that have them, the preferred of each first."""
    values: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in in_affected.keys() | in_completed.keys():
        values[each[:3]].add(each.value)
    groups: defaultdict[object, list[SagaAttribute]] = defaultdict(list)
    for each in in_affected.keys() | in_completed.keys():
        affected_sagas, completed_sagas = in_affected.get(each, frozenset()), in_completed.get(each, frozenset())
        is_shared = len(affected_sagas) + len(completed_sagas) >= MIN_AFFECTED and len(values[each[:3]]) <= MAX_VALUES
        if is_shared and each.origin in origins:
            groups[affected_sagas, completed_sagas].append(each)
    return [sorted(group, key=_preference) for group in groups.values()]


def _preference(attribute: SagaAttribute) -> tuple[int, SagaAttribute]:
    prefixes = enumerate(PREFERRED_PREFIXES)
    rank = next((rank for rank, prefix in prefixes if attribute.key.startswith(prefix)), len(PREFERRED_PREFIXES))
    return rank, attribute


def _common(
    group: Sequence[SagaAttribute],
    in_affected: SagasByAttribute,
    in_completed: SagasByAttribute,
    affected: Sequence[SagaAttributes],
    completed: Sequence[SagaAttributes],
) -> CommonAttribute | None:
    """Returns the attributes of one group as a common attribute; None if they are not frequent enough."""
    first = group[0]
    found = CommonAttribute(
        attribute=first,
        affected=len(in_affected.get(first, ())),
        affected_of=sum(first.origin in each.origins for each in affected),
        completed=len(in_completed.get(first, ())),
        completed_of=sum(first.origin in each.origins for each in completed),
        also=tuple(group[1 : 1 + MAX_EQUIVALENT]),
    )
    is_frequent = found.affected >= MIN_AFFECTED and (found.lift is None or found.lift >= MIN_LIFT)
    return found if is_frequent else None


def _chance(found: CommonAttribute) -> float:
    """Returns the probability that at least this number of affected sagas has the attribute by chance."""
    having, all_ = found.affected + found.completed, found.affected_of + found.completed_of
    ways = sum(
        comb(having, number) * comb(all_ - having, found.affected_of - number)
        for number in range(found.affected, min(having, found.affected_of) + 1)
    )
    return ways / comb(all_, found.affected_of)


AFFECTED_SAGAS: Final = 100
COMPLETED_SAGAS: Final = 200
"""Maximum number of compared sagas of each kind."""

WINDOW_PARTS: Final = 4
"""Number of parts of the window that contribute equal numbers of completed sagas, so that not only its end counts."""

LEAD_NS: Final = 3_600 * NANOSECONDS_PER_SECOND
"""Nanoseconds before the first affected saga's start from which on completed sagas are compared."""

BATCH_SAGAS: Final = 25
MAX_READ_SECONDS: Final = 2.0
"""Seconds after which no more sagas are read."""

FRESH_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""Nanoseconds for which a result is reused, unless the incident has grown to twice its size."""

MAX_RESULTS: Final = 500

ERROR: Final = "error"
"""The key under which the error of a failed saga is compared."""


class _Result(NamedTuple):
    opened_at: int
    at: int
    sagas: int
    found: tuple[CommonAttribute, ...]


class Comparison:
    """Compares the sagas of one incident at a time. Thread-safe."""

    def __init__(self, storage: Storage, clock: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._clock = clock
        self._comparing = threading.Lock()
        self._results: dict[str, _Result] = {}

    def common_attributes(self, incident: Incident) -> Sequence[CommonAttribute]:
        """Returns the common attributes of an incident's sagas; for an incident without sagas, the last result.

        Raises:
            StorageUnavailable: The sagas cannot be read.
        """
        with self._comparing:
            known, now = self._results.get(incident.key), self._clock()
            if known is not None and _is_fresh(known, incident, now):
                return known.found
            found = self._compare(incident)
            # a new entry is the last one, so that the first is the oldest
            self._results.pop(incident.key, None)
            self._results[incident.key] = _Result(incident.opened_at, now, incident.count, found)
            if len(self._results) > MAX_RESULTS:
                del self._results[next(iter(self._results))]
            return found

    def _compare(self, incident: Incident) -> tuple[CommonAttribute, ...]:
        rows = self._storage.listing.page(SagaFilters(incident=incident.key), limit=AFFECTED_SAGAS).rows
        if not rows:
            return ()
        first = min(row.started_at for row in rows) - LEAD_NS
        last = max(row.started_at for row in rows) + 1
        completed = list(self._completed(incident, first, last))
        affected = [row.key for row in rows]
        return common_attributes(self._attributes(affected, incident), self._attributes(completed, incident))

    def _completed(self, incident: Incident, first: int, last: int) -> Iterator[SagaKey]:
        """Returns completed sagas of the incident's saga type."""
        status: SagaStatus = "completed" if incident.phase == "forward" else "compensated"
        bounds = [first + (last - first) * part // WINDOW_PARTS for part in range(WINDOW_PARTS + 1)]
        for since, until in itertools.pairwise(bounds):
            chosen = SagaFilters(
                environment=incident.environment, status=status, name=incident.name, since=since, until=until
            )
            rows = self._storage.listing.page(chosen, limit=COMPLETED_SAGAS // WINDOW_PARTS).rows
            yield from (row.key for row in rows if row.attention is None)

    def _attributes(self, keys: Sequence[SagaKey], incident: Incident) -> list[SagaAttributes]:
        """Returns the attributes of these sagas, or of those read within `MAX_READ_SECONDS`."""
        # called twice for one result: for affected and for completed sagas
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
        """Returns the attributes of a saga; in an incident of failed sagas, including the error."""
        known = saga_attributes(facts.spans)
        if not incident.failure_rate:
            return known
        failures = [last_failure(saga, incident.failure_rate.step) for saga in analysis.rebuild(facts, self._clock())]
        errors = {SagaAttribute("", each.step, ERROR, each.fingerprint) for each in failures if each.fingerprint}
        return known._replace(attributes=known.attributes | errors)


def _interleaved(keys: Sequence[SagaKey]) -> Iterator[SagaKey]:
    """Returns all keys, interleaved so that any prefix covers the whole window."""
    stride = max(1, -(-len(keys) // BATCH_SAGAS))
    for offset in range(stride):
        yield from keys[offset::stride]


def _is_fresh(known: _Result, incident: Incident, now: int) -> bool:
    is_same = known.opened_at == incident.opened_at and incident.count < max(2, 2 * known.sagas)
    return not incident.count or (is_same and 0 <= now - known.at < FRESH_NS)
