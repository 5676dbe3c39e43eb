"""What the sagas of an incident have in common, and other sagas of their type do not. Pure.

Each attribute is tested with Fisher's exact test, one-sided: how probable it is to find it among the affected sagas so
often or more, if it had nothing to do with them. Many attributes are tested at once, so the threshold is divided by
their number (Bonferroni). An attribute that is common is correlated with the incident; it need not be its cause.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import comb
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.records import Attributes, Span, Value

MIN_AFFECTED: Final = 5
"""Affected sagas with an attribute below which it is not reported."""

MIN_COMPLETED: Final = 20
"""Completed sagas, with the attribute or without, below which nothing is reported."""

MAX_CHANCE: Final = 0.01
"""Greatest probability that anything at all is reported by chance."""

MIN_LIFT: Final = 1.5
"""How many times as frequent an attribute must be among the affected sagas."""

MAX_VALUES: Final = 50
"""Values of one key beyond which it tells single sagas apart, and not kinds of them."""

MAX_REPORTED: Final = 10
MAX_EQUIVALENT: Final = 5

MAX_VALUE_CHARACTERS: Final = 200
"""Characters of a value; longer ones are no attribute that sagas share."""

MAX_ATTRIBUTES: Final = 2_000
"""Attributes of one saga; what comes after them is left out."""

PREFERRED_PREFIXES: Final = (
    "service.version", "deployment.", "service.instance.id", "host.name", "cloud.", "k8s.",
)  # fmt: skip
"""Of attributes that the same sagas have, one that begins as the first of these is reported before the others."""

BUSINESS_PREFIXES: Final = (semconv.KEY_PREFIX, semconv.CURRENCY)
"""What a saga says about its business; all else that begins with ``saga.`` describes its course."""

IGNORED_PREFIXES: Final = (
    "error.", "exception.", "otel.status", "http.status_code", "http.response.", "rpc.grpc.status", "rpc.response.",
    "db.response.", "messaging.message.", "process.", "thread.", "code.", "telemetry.", "deployment.environment",
    "saga.", "sagascope.", "service.name", "client.", "network.peer.port", "net.peer.port", "net.sock.peer.port",
)  # fmt: skip
"""Prefixes of keys that describe the outcome or the caller, or differ between processes in any case."""


class SagaAttribute(NamedTuple):
    """An attribute of a service's process, else of a step, else of the whole saga."""

    service: str
    step: str
    key: str
    value: str

    @property
    def origin(self) -> tuple[str, str]:
        """The service or step that has it."""
        return self.service, self.step


class SagaAttributes(NamedTuple):
    """All attributes of one saga."""

    origins: frozenset[tuple[str, str]]
    """The services and steps of the saga; ``("", "")`` is the saga as a whole."""
    attributes: frozenset[SagaAttribute]


@dataclass(frozen=True, slots=True)
class CommonAttribute:
    """An attribute that affected sagas have more often than completed ones."""

    attribute: SagaAttribute
    affected: int
    """Affected sagas that have it, of the `affected_of` that were seen at its origin."""
    affected_of: int
    completed: int
    completed_of: int
    also: tuple[SagaAttribute, ...]
    """Attributes that exactly the same sagas have: the data does not show which of them matters."""

    @property
    def lift(self) -> float | None:
        """How many times as frequent it is among affected sagas; None: no completed saga has it."""
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
    """Returns a value that sagas may share as a text; ``""``: they do not."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) and len(str(value)) <= MAX_VALUE_CHARACTERS else ""


def common_attributes(
    affected: Sequence[SagaAttributes], completed: Sequence[SagaAttributes]
) -> tuple[CommonAttribute, ...]:
    """Returns what affected sagas have in common, the most significant first; empty where the samples are too small."""
    if len(affected) < MIN_AFFECTED or len(completed) < MIN_COMPLETED:
        return ()
    ours, theirs = _by_attribute(affected), _by_attribute(completed)
    seen = Counter(origin for each in completed for origin in each.origins)
    groups = _equivalent(ours, theirs, {origin for origin, count in seen.items() if count >= MIN_COMPLETED})
    found = [each for group in groups if (each := _common(group, ours, theirs, affected, completed))]
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
    ours: SagasByAttribute, theirs: SagasByAttribute, origins: AbstractSet[tuple[str, str]]
) -> list[list[SagaAttribute]]:
    """Returns the attributes at these origins, grouped by the sagas that have them, the preferred of each first."""
    values: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in ours.keys() | theirs.keys():
        values[each[:3]].add(each.value)
    groups: defaultdict[object, list[SagaAttribute]] = defaultdict(list)
    for each in ours.keys() | theirs.keys():
        mine, others = ours.get(each, frozenset()), theirs.get(each, frozenset())
        is_shared = len(mine) + len(others) >= MIN_AFFECTED and len(values[each[:3]]) <= MAX_VALUES
        if is_shared and each.origin in origins:
            groups[mine, others].append(each)
    return [sorted(group, key=_preference) for group in groups.values()]


def _preference(attribute: SagaAttribute) -> tuple[int, SagaAttribute]:
    prefixes = enumerate(PREFERRED_PREFIXES)
    rank = next((rank for rank, prefix in prefixes if attribute.key.startswith(prefix)), len(PREFERRED_PREFIXES))
    return rank, attribute


def _common(
    group: Sequence[SagaAttribute],
    ours: SagasByAttribute,
    theirs: SagasByAttribute,
    affected: Sequence[SagaAttributes],
    completed: Sequence[SagaAttributes],
) -> CommonAttribute | None:
    """Returns the attributes of one group as a common attribute; None: they are not frequent enough."""
    first = group[0]
    found = CommonAttribute(
        attribute=first,
        affected=len(ours.get(first, ())),
        affected_of=sum(first.origin in each.origins for each in affected),
        completed=len(theirs.get(first, ())),
        completed_of=sum(first.origin in each.origins for each in completed),
        also=tuple(group[1 : 1 + MAX_EQUIVALENT]),
    )
    is_frequent = found.affected >= MIN_AFFECTED and (found.lift is None or found.lift >= MIN_LIFT)
    return found if is_frequent else None


def _chance(found: CommonAttribute) -> float:
    """Returns how probable it is that so many affected sagas, or more, have it by chance."""
    having, all_ = found.affected + found.completed, found.affected_of + found.completed_of
    ways = sum(
        comb(having, number) * comb(all_ - having, found.affected_of - number)
        for number in range(found.affected, min(having, found.affected_of) + 1)
    )
    return ways / comb(all_, found.affected_of)
