"""Which sagas are rebuilt though they could be summarised in bulk: a few of each kind, to learn from."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import inf

from sagascope_collector.records import SagaId
from sagascope_collector.store.contract import SagaRow

EACH: int = 3
"""Examples of one kind at a time."""

KINDS: int = 20
"""Kinds of which there are examples at one time."""

RARELY: float = 0.5
"""Seconds between two times at which one kind has examples: small parts of a flood come more often than that."""

REMEMBERED: int = 2_000
"""Kinds of which it is remembered when they had examples."""

Kind = tuple[str, str, tuple[str, ...]]
"""Environment, saga name and steps."""


class Examples:
    """Chooses sagas from which plans, times and who runs a step are learned."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[Kind, float] = {}

    def among(self, rows: Sequence[SagaRow]) -> set[SagaId]:
        """A few of each kind that had none lately."""
        now, found = self._clock(), _by_kind(rows)
        due = [each for each in found if now - self._last.get(each, -inf) >= RARELY][:KINDS]
        if len(self._last) > REMEMBERED:
            self._last.clear()
        self._last |= dict.fromkeys(due, now)
        return {saga for each in due for saga in found[each]}


def id_of(row: SagaRow) -> SagaId:
    """Where its facts are."""
    return SagaId(row.key.environment, row.key.id)


def _by_kind(rows: Sequence[SagaRow]) -> dict[Kind, list[SagaId]]:
    kinds: defaultdict[Kind, list[SagaId]] = defaultdict(list)
    for row in rows:
        if len(kind := kinds[row.key.environment, row.key.name, row.steps]) < EACH:
            kind.append(id_of(row))
    return kinds
