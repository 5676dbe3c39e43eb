"""Flows with branches, options, loops and retries, learned from finished sagas and compared with ones in progress."""

from dataclasses import dataclass, field
from random import Random

import pytest

from sagascope_collector.analysis import Baseline, Context, Diagnosis, diagnose, learn_baseline, rebuild, take_sample
from sagascope_collector.attention_codes import AttentionCode
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

KEY = ("", "order")
FINISHED = 60


@dataclass
class Flow:
    """A type of saga: stages one after the other, in each steps side by side; some come in some sagas only."""

    chance: Random
    stages: list[list[str]] = field(default_factory=list)
    optional: set[str] = field(default_factory=set)
    loops: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, seed: int) -> "Flow":
        chance = Random(seed)
        flow = cls(chance)
        for stage in range(chance.randint(3, 5)):
            flow.stages.append([f"s{stage}.{branch}" for branch in range(chance.choice([1, 1, 2, 3]))])
            if stage and chance.random() < 0.4:
                flow.optional.add(flow.stages[-1][0])
            if chance.random() < 0.2:
                flow.loops.add(flow.stages[-1][-1])
        return flow

    def saga(self) -> list[tuple[float, float, str, str]]:
        """(began, ended, step, words) of everything that one saga does, in seconds."""
        done, at = [], 0.5
        for stage in self.stages:
            begun = at + self.chance.uniform(0.1, 1.5)
            ends = [begun]
            for step in stage:
                if step in self.optional and self.chance.random() < 0.4:
                    continue
                done += self._step(step, begun + self.chance.uniform(0, 0.3))
                ends.append(done[-1][1])
            at = max(ends)
        return done

    def _step(self, step: str, at: float) -> list[tuple[float, float, str, str]]:
        done = []
        for item in range(self.chance.randint(1, 3) if step in self.loops else 1):
            attempt = 1
            while self.chance.random() < 0.1:
                done.append((at, at + 0.4, step, f'key=i{item} attempt={attempt} retry_in=0.5 error="Busy: x"'))
                at, attempt = at + 0.9, attempt + 1
            end = at + self.chance.uniform(0.2, 3)
            done.append((at, end, step, f"key=i{item} attempt={attempt}"))
            at = end + 0.05
        return done

    def is_certain_after(self, done: list[tuple[float, float, str, str]], cut: float) -> str | None:
        """The step that must come next, where everything begun is over and nothing else may come; else None."""
        begun = {step for start, _, step, _ in done if start < cut}
        for stage in self.stages:
            left = [step for step in stage if step not in begun]
            if left and not (self.optional | self.loops).intersection(stage):
                return left[0] if len(left) == len(stage) == 1 else None
            if left:
                return None
        return None


def assembled(done: list[tuple[float, float, str, str]], cut: float, end: float | None = None) -> str:
    lines = [f"driver-1 0..{'' if end is None else end} root"]
    for start, ended, step, words in done:
        if start < cut:
            shown = "" if ended >= cut else f"{ended:.3f}"
            words = words if ended < cut else words.partition(" retry_in")[0]
            lines.append(f"{step.partition('.')[0]}-1 {start:.3f}..{shown} run {step} {words}")
    return "\n".join(lines)


def diagnosed(story: str, now: float, baseline: Baseline, saga_id: str = "1") -> Diagnosis:
    facts = seen(emit(story, {"id": saga_id, "name": "order"})).facts(saga_id)
    at = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, at, {KEY: baseline})
    return diagnose(saga, facts.instances, Context(at, baselines={KEY: baseline}))


def learned(flow: Flow) -> Baseline:
    samples = []
    for number in range(FINISHED):
        done = flow.saga()
        end = max(ended for _, ended, _, _ in done) + 0.5
        facts = seen(emit(assembled(done, end, end), {"id": str(number), "name": "order"})).facts(str(number))
        samples += [each for saga in rebuild(facts) if (each := take_sample(saga))]
    return learn_baseline(samples)


@pytest.mark.parametrize("seed", range(12))
def test_a_saga_of_a_learned_flow_in_progress_needs_no_attention(seed: int) -> None:
    flow = Flow.of(seed)
    baseline = learned(flow)
    for _ in range(20):
        done = flow.saga()
        cut = flow.chance.uniform(0, max(ended for _, ended, _, _ in done))
        answer = diagnosed(assembled(done, cut), cut, baseline)
        assert answer.verdict is None or answer.verdict.reason is AttentionCode.RETRYING, answer.headline


@pytest.mark.parametrize("seed", range(12))
def test_what_must_come_next_is_missed_when_it_does_not(seed: int) -> None:
    flow = Flow.of(seed)
    baseline = learned(flow)
    missed = 0
    for _ in range(20):
        done = flow.saga()
        cut = flow.chance.choice([ended for _, ended, _, _ in done]) + 0.01
        over = [each for each in done if each[0] < cut]
        wanted = flow.is_certain_after(done, cut)
        if wanted is None or any(ended >= cut for _, ended, _, _ in over) or "error" in over[-1][3]:
            continue
        missed += 1
        answer = diagnosed(assembled(done, cut), cut + 60, baseline)
        assert (answer.verdict and answer.verdict.reason, answer.step) == (AttentionCode.NEXT_STEP_MISSING, wanted), (
            answer.headline
        )
    assert missed or flow.optional or flow.loops or all(len(stage) > 1 for stage in flow.stages[1:])
