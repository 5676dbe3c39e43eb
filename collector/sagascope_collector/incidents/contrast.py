"""What sets sagas that stand still apart from others of their type that finished. Pure.

Each property is tried by Fisher's exact test, one-sided: how probable is it to find it among those that stand still so
often or more, if it had nothing to do with that? As many properties are tried at once, each must be as much less
probable (Bonferroni). What is said is that they go together, never that one is the cause.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import comb
from typing import Final

from sagascope_collector.incidents.traits import Trait, Traits

FEWEST_STUCK: Final = 5
"""Sagas that stand still, and have the property, below which nothing is said."""

FEWEST_FINISHED: Final = 20
"""Finished sagas, with or without it, below which nothing is said."""

LIKELY: Final = 0.01
"""How probable it may be that anything at all is said by chance."""

LIFT: Final = 1.5
"""How many times as frequent it must be among those that stand still."""

VALUES: Final = 50
"""Values of one key beyond which it tells single sagas apart, and not kinds of them."""

SHOWN: Final = 10
ALIKE: Final = 5

TELLING: Final = ("service.version", "deployment.", "service.instance.id", "host.name", "cloud.", "k8s.")
"""Of properties that the same sagas have, the one that begins as the first of these is said before the others."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A property that sagas which stand still have more often than those that finished."""

    trait: Trait
    stuck: int
    """Of the `stuck_of` sagas looked at that stand still and were seen at its place, those that have it."""
    stuck_of: int
    finished: int
    finished_of: int
    also: tuple[Trait, ...]
    """Properties that exactly the same sagas have: nothing tells which of them matters."""

    @property
    def lift(self) -> float | None:
        """How many times as frequent it is among those that stand still; None: none that finished has it."""
        if not self.finished:
            return None
        return (self.stuck / self.stuck_of) / (self.finished / self.finished_of)


Having = Mapping[Trait, frozenset[int]]
"""Which sagas, by their place in the sample, have a property."""


def contrasts(stuck: Sequence[Traits], finished: Sequence[Traits]) -> tuple[Contrast, ...]:
    """What sets the former apart, the most telling first; nothing where the samples are too small to say."""
    if len(stuck) < FEWEST_STUCK or len(finished) < FEWEST_FINISHED:
        return ()
    ours, theirs = _having(stuck), _having(finished)
    seen = Counter(place for each in finished for place in each.places)
    alike = _alike(ours, theirs, {place for place, count in seen.items() if count >= FEWEST_FINISHED})
    told = [found for group in alike if (found := _contrast(group, ours, theirs, stuck, finished))]
    chances = [(_chance(each), each.trait, each) for each in told]
    sure = sorted(each[:2] for each in chances if each[0] * len(alike) <= LIKELY)
    by_trait = {trait: each for _, trait, each in chances}
    return tuple(by_trait[trait] for _, trait in sure[:SHOWN])


def _having(sagas: Sequence[Traits]) -> Having:
    found: defaultdict[Trait, set[int]] = defaultdict(set)
    for number, each in enumerate(sagas):
        for trait in each.found:
            found[trait].add(number)
    return {trait: frozenset(having) for trait, having in found.items()}


def _alike(ours: Having, theirs: Having, places: AbstractSet[tuple[str, str]]) -> list[list[Trait]]:
    """What can be told of at these places, by the sagas that have it, the most telling of each first."""
    values: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in ours.keys() | theirs.keys():
        values[each[:3]].add(each.value)
    groups: defaultdict[object, list[Trait]] = defaultdict(list)
    for each in ours.keys() | theirs.keys():
        mine, others = ours.get(each, frozenset()), theirs.get(each, frozenset())
        is_shared = len(mine) + len(others) >= FEWEST_STUCK and len(values[each[:3]]) <= VALUES
        if is_shared and each.place in places:
            groups[mine, others].append(each)
    return [sorted(group, key=_telling) for group in groups.values()]


def _telling(trait: Trait) -> tuple[int, Trait]:
    return next((place for place, each in enumerate(TELLING) if trait.key.startswith(each)), len(TELLING)), trait


def _contrast(
    group: Sequence[Trait], ours: Having, theirs: Having, stuck: Sequence[Traits], finished: Sequence[Traits]
) -> Contrast | None:
    """What these properties of the same sagas say; None: nothing, or too little."""
    first = group[0]
    found = Contrast(
        trait=first,
        stuck=len(ours.get(first, ())),
        stuck_of=_seen_at(first, stuck),
        finished=len(theirs.get(first, ())),
        finished_of=_seen_at(first, finished),
        also=tuple(group[1 : 1 + ALIKE]),
    )
    return found if found.stuck >= FEWEST_STUCK and (found.lift is None or found.lift >= LIFT) else None


def _seen_at(trait: Trait, sagas: Sequence[Traits]) -> int:
    return sum(trait.place in each.places for each in sagas)


def _chance(found: Contrast) -> float:
    """How probable so many, or more, of those that stand still would have it by chance."""
    having, everyone = found.stuck + found.finished, found.stuck_of + found.finished_of
    most = min(having, found.stuck_of)
    ways = sum(
        comb(having, number) * comb(everyone - having, found.stuck_of - number)
        for number in range(found.stuck, most + 1)
    )
    return ways / comb(everyone, found.stuck_of)
