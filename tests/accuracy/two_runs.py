"""Two runs of one id, one of which goes wrong, and one of which completes.

Tells whether an action for one run would take back what the other run relies on, and whether the completed one alarms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar
from unittest.mock import patch

from accuracy import telemetry
from accuracy.faults import COMPLETE, Fault, damage, fault
from accuracy.harm import RUNS
from accuracy.shapes import shape
from accuracy.telemetry import SECOND, STARTED, Telemetry, emit
from accuracy.world import Story, play
from sagascope import semconv
from sagascope_collector.analysis import Context, diagnosis, rebuild
from sagascope_collector.analysis.case import Case
from sagascope_collector.analysis.wording import Action, ActionKind
from sagascope_collector.records import Facts, Instance, Log, Process, Span

Record = TypeVar("Record", Span, Log)

RELIES = "does not rely on what would be compensated"


@dataclass(frozen=True)
class Run:
    """One run, whose times count from its own start."""

    name: str
    story: Story
    sent: Telemetry
    start: float
    is_complete: bool
    """Whether no telemetry is missing or late."""

    def facts(self, at: float) -> Facts:
        """Returns what had come of it by a moment, by the clock of the first run."""
        with patch.object(telemetry, "STARTED", STARTED + round(self.start * SECOND)):
            facts = self.sent.facts(at - self.start)
        return replace(
            facts,
            spans=tuple(self._own(each) for each in facts.spans),
            logs=tuple(self._own(each) for each in facts.logs),
            instances=tuple(self._renamed(each) for each in facts.instances),
        )

    def _own(self, record: Record) -> Record:
        mark, attributes = replace(record.mark, run=self.name), {**record.attributes, semconv.SAGA_RUN_ID: self.name}
        trace = self.name * 32
        return replace(record, trace_id=trace, mark=mark, attributes=attributes, process=self._process(record.process))

    def _renamed(self, instance: Instance) -> Instance:
        return replace(instance, process=self._process(instance.process))

    def _process(self, process: Process) -> Process:
        return replace(process, identity=f"{process.identity} of run {self.name}")


def two_runs(seed: int, number: int) -> tuple[Run, Run]:
    """Returns a run with a fault, and one that completes; which of them starts first, and how far apart, is random."""
    chance = Random(f"{seed} runs {number}")
    form = shape(chance, number, "declared")
    while form.style != "orchestrated":
        form = shape(chance, number, "declared")
    wrong, how = fault(chance, form), damage(chance, form) if chance.random() < 0.3 else COMPLETE
    starts = chance.choice(((0.0, chance.uniform(1, 5)), (0.0, chance.uniform(60, 600)), (chance.uniform(1, 5), 0.0)))
    runs = []
    for name, of, start in zip("12", (wrong, Fault("none")), starts, strict=True):
        own = chance.randrange(2**40)
        story = play(form, of, own)
        with patch.object(telemetry, "STARTED", STARTED + round(start * SECOND)):
            runs.append(Run(name, story, emit(story, how, own), start, how is COMPLETE))
    return runs[0], runs[1]


def problems(seed: int, number: int) -> Iterator[str]:
    """Yields what is said wrongly, at one of several moments."""
    broken, whole = two_runs(seed, number)
    if whole.story.outcome != "completed":
        return
    ends = [run.start + (run.sent.arrivals[-1][0] if run.sent.arrivals else 0.0) for run in (broken, whole)]
    for at in (whole.start + 1.0, *ends, max(ends) + 40, max(ends) + 1_000):
        now, both = STARTED + round(at * SECOND), [run.facts(at) for run in (broken, whole)]
        facts = replace(
            both[0],
            spans=both[0].spans + both[1].spans,
            logs=both[0].logs + both[1].logs,
            instances=both[0].instances + both[1].instances,
        )
        for saga in rebuild(facts, now):
            case = Case(saga, facts.instances, Context(now))
            finding = diagnosis.find_attention(case)
            if finding is not None and saga.key.run == whole.name and whole.is_complete:
                yield f"{number} at {at:.1f}: {finding.reason.value} of a run that completes"
            if finding is not None and both[1].spans + both[1].logs:  # it is known that the other run exists
                actions = diagnosis.actions_of(case, finding)
                if found := _takes_back(broken, whole, at, actions):
                    yield f"{number} at {at:.1f}, run {saga.key.run}, {finding.reason.value}: {found}"


def _takes_back(broken: Run, whole: Run, at: float, actions: Sequence[Action]) -> str | None:
    verified = ""
    for action in actions:
        if action.kind is ActionKind.VERIFY:
            verified += action.text
        names = RUNS.search(action.text)
        if not action.kind.changes_work or names is None or RELIES in verified:
            continue
        for step in whole.story.shape.steps:
            has_own = broken.story.in_effect(step, at - broken.start) and not whole.story.shape.has_keys
            if step.compensation == names[1] and not has_own:
                return action.text
    return None
