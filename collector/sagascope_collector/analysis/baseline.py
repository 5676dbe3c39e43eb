"""Baselines: what finished sagas of one type have in common, learned from a sample of each.

A baseline has the usual plan, step durations, services and clock skew.
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

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
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaKey

MAX_SAMPLE_STEPS = 200
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
    if not has_ended(saga.status) or saga.ended_at is None or len(saga.steps) > MAX_SAMPLE_STEPS:
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


MIN_REQUIRED_SHARE = 0.95
"""Share of the finished sagas that must contain a step for the step to be required."""

MAX_COMPARED_PAIRS = 1_000_000
"""Maximum number of compared pairs of steps when dependencies are learned; older sagas are left out."""

SAGA_END = ""
"""Stands for the saga's end among the successors of a step."""

StepPair = tuple[str, str]


def learn_plan(samples: Sequence[SagaSample]) -> Plan | None:
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
            optional=shares[name] < MIN_REQUIRED_SHARE * len(completed),
            after=_direct(name, before),
        )
        for name in names
    )
    return Plan("learned", steps, compensations_known=False, follows=_follows(completed))


def _following(steps: Sequence[StepSample]) -> Iterator[tuple[StepSample, StepSample | None]]:
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
        # samples with one path give the same pairs
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
        for each, after in _following(steps):
            counted.setdefault(each.name, Counter())[after.name if after else SAGA_END] += 1
    return {
        name: {after: number / sum(found.values()) for after, number in sorted(found.items())}
        for name, found in counted.items()
    }


MIN_SAMPLES = 20
"""Minimum number of finished sagas from which a duration limit is learned."""

LATE_FACTOR = 3
"""Factor on the p99 duration after which a step or transition is late."""

MIN_LIMIT_SECONDS = 10.0
"""Minimum duration limit in seconds, however fast a step usually is; higher during a slowdown."""

MAX_SIMILAR_RATIO = 0.2
"""Ratio by which two limits may differ and still count as equal."""

MAX_SAMPLES = 500
"""Maximum number of samples kept for one saga type; older ones are dropped."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The baseline of one saga type."""

    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Plans by version of the process that starts the saga; ``""`` holds the plan over all versions."""
    duration_limits: Mapping[str, float] = field(default_factory=dict)
    """Seconds after which a step is late; only steps with enough samples."""
    transition_limits: Mapping[str, float] = field(default_factory=dict)
    """Seconds after a step's end at which what follows is late, likewise."""
    slowdown: float = 1.0
    """The factor by which all steps are slower than usual now: see `SlowdownDetector`."""
    services: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The services that ran each step, by step name, including compensations."""
    skew: Mapping[Pair, Bound] = field(default_factory=dict)
    """Skew bounds by pair of processes."""
    longest_pause: float = 0.0
    """Seconds: the longest time between two ends of steps in one saga, or between the last of them and its own end."""

    def plan(self, version: str) -> Plan | None:
        """Returns the plan of a version; if no saga of the version has finished, the plan over all versions."""
        return self.plans.get(version) or self.plans.get("")

    @property
    def compensations(self) -> frozenset[tuple[str, str]]:
        """The (step, compensation) pairs over all plans."""
        planned = (step for plan in self.plans.values() for step in plan.steps)
        return frozenset((step.name, step.compensation) for step in planned if step.compensation)

    def is_similar(self, other: "Baseline") -> bool:
        """Whether the other baseline leads to the same diagnoses, apart from small differences in limits."""
        return (
            {version: plan.steps for version, plan in self.plans.items()}
            == {version: plan.steps for version, plan in other.plans.items()}
            and _are_near(self.duration_limits, other.duration_limits)
            and _are_near(self.transition_limits, other.transition_limits)
            and self.services == other.services
            and self.longest_pause <= other.longest_pause * (1 + MAX_SIMILAR_RATIO) + 1
            and other.longest_pause <= self.longest_pause * (1 + MAX_SIMILAR_RATIO) + 1
        )


def _are_near(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        abs(seconds - other[name]) <= MAX_SIMILAR_RATIO * seconds for name, seconds in one.items()
    )


def learn_baseline(samples: Iterable[SagaSample], slowdown: float = 1.0) -> Baseline:
    """Learns from the latest `MAX_SAMPLES` samples of one saga type, in any order.

    Limits are at least ``slowdown`` times `MIN_LIMIT_SECONDS`.
    """
    latest = in_order(samples)[-MAX_SAMPLES:]
    by_version: dict[str, list[SagaSample]] = {"": latest}
    for each in latest:
        if each.version:
            by_version.setdefault(each.version, []).append(each)
    # all are of one version, so its plan is the plan over all versions
    if len(by_version) == 2 and len({len(of_version) for of_version in by_version.values()}) == 1:
        del by_version[next(version for version in by_version if version)]
    plans = {version: plan for version, of_version in by_version.items() if (plan := learn_plan(of_version))}
    min_limit = MIN_LIMIT_SECONDS * slowdown
    duration_limits, transition_limits = _duration_limits(latest, min_limit), _transition_limits(latest, min_limit)
    return Baseline(
        plans,
        duration_limits,
        transition_limits,
        slowdown,
        _services(latest),
        clocks.merged_bounds(each.skew for each in latest),
        _longest_pause(latest),
    )


def in_order(samples: Iterable[SagaSample]) -> list[SagaSample]:
    """Samples in the order in which their sagas ended, without repeats."""
    return sorted({each.key: each for each in samples}.values(), key=lambda each: (each.ended_at, each.key))


def _duration_limits(samples: Iterable[SagaSample], min_limit: float) -> dict[str, float]:
    durations: dict[str, list[int]] = {}
    for sample in samples:
        for each in sample.steps:
            durations.setdefault(each.name, []).extend(each.durations)
    return _limits(durations, min_limit)


def _transition_limits(samples: Iterable[SagaSample], min_limit: float) -> dict[str, float]:
    """Limits for the time from each step's end to the next step's start, or to the saga's end.

    What precedes the first compensation is left out: a step that failed lies between the two.
    """
    waits: dict[str, list[int]] = {}
    for sample in samples:
        for each, after in _following(sample.steps):
            is_last_forward = each.type in FORWARD_TYPES and not sample.completed
            if is_last_forward and (after is None or after.type not in FORWARD_TYPES):
                continue
            next_at = after.called_at if after else sample.ended_at
            waits.setdefault(each.name, []).append(max(next_at - each.finished_at, 0))
    return _limits(waits, min_limit)


def _services(samples: Iterable[SagaSample]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for sample in samples:
        for each in sample.steps:
            found.setdefault(each.name, set()).update([each.service] if each.service else ())
    return {name: frozenset(services) for name, services in found.items()}


def _longest_pause(samples: Iterable[SagaSample]) -> float:
    longest = 0
    for sample in samples:
        moments = sorted([*(each.finished_at for each in sample.steps), sample.ended_at])
        called_at = min((each.called_at for each in sample.steps), default=sample.ended_at)
        longest = max([longest, *(later - earlier for earlier, later in pairwise([called_at, *moments]))])
    return longest / NANOSECONDS_PER_SECOND


def _limits(found: Mapping[str, list[int]], min_limit: float) -> dict[str, float]:
    return {
        name: max(min_limit, LATE_FACTOR * percentile(values, 0.99) / NANOSECONDS_PER_SECOND)
        for name, values in found.items()
        if len(values) >= MIN_SAMPLES
    }


def percentile(values: Iterable[int], share: float) -> int:
    """Returns a percentile by the nearest-rank method."""
    ordered = sorted(values)
    # in integers: a product of floats may exceed a whole number, and so give the next rank
    rank = -(-len(ordered) * round(share * 100) // 100)
    return ordered[max(rank, 1) - 1]


RECENT_SAMPLES: Final = 50
"""The latest finished sagas whose durations are compared with the baseline."""

MIN_DURATIONS: Final = 20
"""Minimum number of durations of a step for it to be compared."""

MIN_COMPARED_STEPS: Final = 3
"""Minimum number of compared steps: one slow step alone is not a slowdown."""

SLOWDOWN_RATIO: Final = 2.0
"""Factor on the usual duration that more than half of the steps must reach."""

MAX_SLOWDOWN: Final = 10.0
"""Maximum factor on limits during a slowdown."""

HALF_LIFE_SECONDS: Final = 3_600.0
"""Seconds after which current durations make up half of the baseline, so that a lasting slowdown becomes normal."""


class SlowdownDetector:
    """Compares the step durations of one saga type with their moving baseline. Not thread-safe."""

    def __init__(self) -> None:
        self._baselines: dict[str, float] = {}
        self._at: float | None = None

    def slowdown(self, samples: Sequence[SagaSample], at: float) -> float:
        """Returns the factor by which steps are slower than usual at ``at``; 1 unless most steps are slower.

        Args:
            samples: Samples of finished sagas, the latest last.
            at: Seconds on any clock, not before an earlier call's value.
        """
        times = _median_durations(samples[-RECENT_SAMPLES:])
        ratios = [time / self._baselines[step] for step, time in times.items() if step in self._baselines]
        self._update_baselines(times, at)
        is_general = len(ratios) >= MIN_COMPARED_STEPS and 2 * sum(each >= SLOWDOWN_RATIO for each in ratios) > len(
            ratios
        )
        return min(MAX_SLOWDOWN, median(ratios)) if is_general else 1.0

    def _update_baselines(self, times: Mapping[str, float], at: float) -> None:
        share = 0.5 ** (max(0.0, at - (self._at if self._at is not None else at)) / HALF_LIFE_SECONDS)
        for step, time in times.items():
            self._baselines[step] = self._baselines.get(step, time) ** share * time ** (1 - share)
        self._at = at


def _median_durations(samples: Iterable[SagaSample]) -> dict[str, float]:
    """The median duration of the attempts of each step, in nanoseconds; never 0."""
    found: dict[str, list[int]] = {}
    for sample in samples:
        for each in sample.steps:
            found.setdefault(each.name, []).extend(each.durations)
    return {step: max(1.0, float(median(times))) for step, times in found.items() if len(times) >= MIN_DURATIONS}


class InferredType(NamedTuple):
    """The inferred type of a saga without a name."""

    name: str | None = None
    """The only saga type that has all of these steps in the same services; None if there is no such type."""
    longest_pause: float | None = None
    """Without such a type, the longest time without progress in any candidate type, in seconds."""


def infer_type(environment: str, steps: Sequence[Step], baseline: Mapping[tuple[str, str], Baseline]) -> InferredType:
    """Infers the type of a saga from its steps. Infers nothing without attempts or baselines."""
    attempted = [step for step in steps if step.attempts]
    known = {name: each for (other, name), each in baseline.items() if other == environment and each.services}
    if not attempted or not known:
        return InferredType()
    candidates = sorted(name for name, each in known.items() if all(_has(each, step) for step in attempted))
    if len(candidates) == 1:
        return InferredType(name=candidates[0])
    return InferredType(longest_pause=max(known[name].longest_pause for name in candidates or known))


def _has(baseline: Baseline, step: Step) -> bool:
    services = baseline.services.get(step.name)
    return services is not None and (step.service is None or not services or step.service in services)
