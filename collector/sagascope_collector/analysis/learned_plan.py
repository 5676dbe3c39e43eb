"""Learned plans: samples of finished sagas, and their common plan."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import clocks
from sagascope_collector.analysis.clocks import Bound, Pair
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import (
    FORWARD_TYPES,
    AttemptState,
    Plan,
    PlannedStep,
    Saga,
    Status,
    Step,
    StepState,
)
from sagascope_collector.analysis.spans import SpanTree, keyed
from sagascope_collector.records import SagaKey

MAX_STEPS = 200
"""Maximum number of steps in a sample; sagas with more steps are loops and have no common plan."""


class StepSample(NamedTuple):
    """One step of a finished saga, with all its repetitions. Times are nanoseconds on the saga's clock."""

    name: str
    type: str
    called_at: int
    finished_at: int
    durations: tuple[int, ...]
    """The duration of each successful attempt, in nanoseconds."""
    service: str
    compensates: str


@dataclass(frozen=True, slots=True)
class SagaSample:
    """The sample of one finished saga."""

    key: SagaKey
    completed: bool
    ended_at: int
    version: str
    """The version of the process that started the saga. Each version has its own plan."""
    steps: tuple[StepSample, ...]
    """In order of start."""
    skew: Mapping[Pair, Bound] = field(default_factory=dict, hash=False)
    """Skew bounds from the calls of the saga; empty if its summary has none."""

    def dump(self) -> str:
        """Serializes the sample as text; `load_sample` parses it."""
        skew = [[*caller, *executor, *bound] for (caller, executor), bound in self.skew.items()]
        return json.dumps([*self.key, self.completed, self.ended_at, self.version, self.steps, skew])


def load_sample(text: str) -> SagaSample:
    """Parses the text of `SagaSample.dump`."""
    environment, name, saga_id, run, completed, ended_at, version, steps, *more = json.loads(text)
    steps = tuple(
        StepSample(step, kind, called_at, finished_at, tuple(durations), service, compensates)
        for step, kind, called_at, finished_at, durations, service, compensates in steps
    )
    skew = {
        ((caller, one), (executor, other)): Bound(least, most, at)
        for caller, one, executor, other, least, most, at in (more[0] if more else ())
    }
    return SagaSample(SagaKey(environment, name, saga_id, run), completed, ended_at, version, steps, skew)


def take_sample(saga: Saga) -> SagaSample | None:
    """Returns the sample of a saga; None while it is open, or if it has too many steps."""
    if not has_ended(saga.status) or saga.ended_at is None or len(saga.steps) > MAX_STEPS:
        return None
    version = next((span.process.version for span in saga.spans), "")
    completed = saga.status is Status.COMPLETED
    return SagaSample(saga.key, completed, saga.ended_at, version, tuple(_step_samples(saga.steps)), _skew(saga))


def _skew(saga: Saga) -> dict[Pair, Bound]:
    """Skew bounds from the calls of a saga, for at most `MAX_PAIRS` pairs of processes."""
    found = clocks.skew_bounds(clocks.edges(saga.spans, SpanTree(keyed(saga.spans))))
    return dict(sorted(found.items())[: clocks.MAX_PAIRS])


def _step_samples(steps: Iterable[Step]) -> list[StepSample]:
    by_name: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        if step.state in (StepState.DONE, StepState.COMPENSATED):
            by_name.setdefault((step.name, step.type), []).append(step)
    found = [_step_sample(together) for together in by_name.values()]
    return sorted(found, key=lambda each: (each.called_at, each.name))


def _step_sample(together: list[Step]) -> StepSample:
    attempts = [attempt for step in together for attempt in step.attempts]
    done = [each for each in attempts if each.state is AttemptState.OK]
    first = together[0]
    return StepSample(
        name=first.name,
        type=first.type,
        called_at=min(each.called_at for each in attempts),
        finished_at=max(each.finished_at or each.called_at for each in attempts),
        durations=tuple((each.ended_at or each.started_at) - each.started_at for each in done),
        service=first.service or "",
        compensates=first.compensates or "" if first.type == semconv.TYPE_COMPENSATION else "",
    )


REQUIRED_SHARE = 0.95
"""Share of the finished sagas that must contain a step for the step to be required."""

MAX_COMPARED_PAIRS = 1_000_000
"""Maximum number of compared pairs of steps when dependencies are learned; older sagas are left out."""

SAGA_END = ""
"""Stands for the saga's end among the successors of a step."""

StepPair = tuple[str, str]


def plan(samples: Sequence[SagaSample]) -> Plan | None:
    """Returns the usual steps in their usual order; None if none of the samples, latest last, completed."""
    completed = [_forward(each) for each in samples if each.completed]
    shares = Counter(each.name for steps in completed for each in steps)
    if not shares:
        return None
    positions = _total_positions(completed)
    names = sorted(shares, key=lambda name: (positions[name] / shares[name], name))
    waits_for = _waits_for(completed)
    before = {name: [other for other in names if (other, name) in waits_for] for name in names}
    compensations = _compensations(samples)
    steps = tuple(
        PlannedStep(
            name=name,
            compensation=compensations.get(name),
            timeout=None,
            optional=shares[name] < REQUIRED_SHARE * len(completed),
            after=_direct(name, before),
        )
        for name in names
    )
    return Plan("learned", steps, compensations_known=False, follows=_follows(completed))


def following(steps: Sequence[StepSample]) -> Iterator[tuple[StepSample, StepSample | None]]:
    """Pairs each step, in order of start, with the next one that started after its end, if any."""
    begun = [each.called_at for each in steps]
    for each in steps:
        index = bisect_left(begun, each.finished_at)
        while index < len(steps) and steps[index] is each:
            index += 1
        yield each, steps[index] if index < len(steps) else None


def _forward(sample: SagaSample) -> list[StepSample]:
    return [each for each in sample.steps if each.type in FORWARD_TYPES]


def _total_positions(completed: Iterable[Sequence[StepSample]]) -> Counter[str]:
    """The sum of the positions of each step among the others."""
    positions: Counter[str] = Counter()
    for steps in completed:
        for index, each in enumerate(steps):
            positions[each.name] += index
    return positions


def _waits_for(completed: Sequence[Sequence[StepSample]]) -> set[StepPair]:
    """The pairs (one, other) for which one always ended before the other started."""
    seen: set[StepPair] = set()
    overlapped: set[StepPair] = set()
    for steps in _distinct_paths(completed):
        for one in steps:
            for other in steps:
                (seen if one.finished_at <= other.called_at else overlapped).add((one.name, other.name))
    return {pair for pair in seen - overlapped if pair[0] != pair[1]}


def _distinct_paths(completed: Sequence[Sequence[StepSample]]) -> Iterator[Sequence[StepSample]]:
    """The latest samples with different paths, up to the number that can be compared."""
    known: set[tuple[str, ...]] = set()
    compared = 0
    for steps in reversed(completed):
        path = _path(steps)
        if path not in known and compared < MAX_COMPARED_PAIRS:
            known.add(path)
            compared += len(steps) ** 2
            yield steps


def _path(steps: Sequence[StepSample]) -> tuple[str, ...]:
    """The order of starts and ends. At equal times ends come first, because an end does not delay the next start."""
    moments = [(each.finished_at, 0, each.name) for each in steps] + [(each.called_at, 1, each.name) for each in steps]
    return tuple(f"{kind}{name}" for _, kind, name in sorted(moments))


def _direct(name: str, before: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The direct predecessors: those that do not precede another predecessor."""
    earlier = before[name]
    behind = {one for other in earlier for one in before[other]}
    return tuple(each for each in earlier if each not in behind)


def _compensations(samples: Iterable[SagaSample]) -> dict[str, str]:
    """The compensation of each step, as observed."""
    seen = Counter((each.compensates, each.name) for sample in samples for each in sample.steps if each.compensates)
    return {step: compensation for (step, compensation), _ in sorted(seen.items(), key=lambda item: (item[1], item[0]))}


def _follows(completed: Iterable[Sequence[StepSample]]) -> dict[str, dict[str, float]]:
    """The successors of each step with their shares; `SAGA_END` if none followed."""
    counted: dict[str, Counter[str]] = {}
    for steps in completed:
        for each, after in following(steps):
            counted.setdefault(each.name, Counter())[after.name if after else SAGA_END] += 1
    return {
        name: {after: number / sum(found.values()) for after, number in sorted(found.items())}
        for name, found in counted.items()
    }
