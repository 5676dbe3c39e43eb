"""What one finished saga teaches about those of its name: which steps came, in what order, and how long they took."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import clocks, skew
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.model import AttemptState, Saga, Status, Step, StepState
from sagascope_collector.analysis.skew import Bound, Pair
from sagascope_collector.analysis.spans import keyed
from sagascope_collector.records import SagaKey

LONGEST = 200
"""Steps of a saga from which something is learned; longer ones are loops, and teach no plan."""


class Passage(NamedTuple):
    """One step of a finished saga, all its repetitions taken together; moments are nanoseconds on the saga's clock."""

    name: str
    type: str
    began: int
    over: int
    durations: tuple[int, ...]
    """Of each attempt that succeeded."""
    service: str
    compensates: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """One saga that ended."""

    key: SagaKey
    completed: bool
    ended_at: int
    version: str
    """Of the process that began it: flows of two versions are learned apart."""
    passages: tuple[Passage, ...]
    """In the order in which they began."""
    skew: Mapping[Pair, Bound] = field(default_factory=dict, hash=False)
    """What its calls tell of the clocks of pairs of processes. Where a saga was summarised without it, nothing."""

    def dump(self) -> str:
        """As text, for a store to keep; `load` reads it."""
        skew = [[*caller, *executor, *bound] for (caller, executor), bound in self.skew.items()]
        return json.dumps([*self.key, self.completed, self.ended_at, self.version, self.passages, skew])


def load(text: str) -> Lesson:
    """Read what `Lesson.dump` wrote."""
    environment, name, saga_id, run, completed, ended_at, version, passages, *more = json.loads(text)
    told = tuple(
        Passage(step, kind, began, over, tuple(durations), service, compensates)
        for step, kind, began, over, durations, service, compensates in passages
    )
    skew = {
        ((caller, one), (executor, other)): Bound(least, most, at)
        for caller, one, executor, other, least, most, at in (more[0] if more else ())
    }
    return Lesson(SagaKey(environment, name, saga_id, run), completed, ended_at, version, told, skew)


def lesson(saga: Saga) -> Lesson | None:
    """What a saga teaches; None while it is open, or where it is too long to learn from."""
    if not has_ended(saga.status) or saga.ended_at is None or len(saga.steps) > LONGEST:
        return None
    version = next((span.process.version for span in saga.spans), "")
    completed = saga.status is Status.COMPLETED
    return Lesson(saga.key, completed, saga.ended_at, version, tuple(_passages(saga.steps)), _skew(saga))


def _skew(saga: Saga) -> dict[Pair, Bound]:
    """What the calls of a saga tell of clocks, of so many pairs of processes."""
    found = skew.bounds(clocks.edges(saga.spans, Lineage(keyed(saga.spans))))
    return dict(sorted(found.items())[: skew.MAX_PAIRS])


def _passages(steps: Iterable[Step]) -> list[Passage]:
    by_name: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        if step.state in (StepState.DONE, StepState.COMPENSATED):
            by_name.setdefault((step.name, step.type), []).append(step)
    passages = [_passage(together) for together in by_name.values()]
    return sorted(passages, key=lambda each: (each.began, each.name))


def _passage(together: list[Step]) -> Passage:
    attempts = [attempt for step in together for attempt in step.attempts]
    done = [each for each in attempts if each.state is AttemptState.OK]
    first = together[0]
    return Passage(
        name=first.name,
        type=first.type,
        began=min(each.began for each in attempts),
        over=max(each.over or each.began for each in attempts),
        durations=tuple((each.ended_at or each.started_at) - each.started_at for each in done),
        service=first.service or "",
        compensates=first.compensates or "" if first.type == semconv.TYPE_COMPENSATION else "",
    )
