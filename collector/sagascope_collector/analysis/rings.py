"""Plans in which steps wait for each other in a ring, so that none of them could ever begin. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from sagascope_collector.analysis.model import PlannedStep


def broken(steps: Sequence[PlannedStep]) -> tuple[PlannedStep, ...]:
    """The same steps; wherever none could begin, the first that is left waits only for what can be done before it.

    Takes time that grows with the plan, however it is tangled.
    """
    if _is_in_order(steps):
        return tuple(steps)
    return _Plan(steps).unwound()


def _is_in_order(steps: Sequence[PlannedStep]) -> bool:
    """Whether each waits only for what stands before it: then there is no ring."""
    later = {step.name for step in steps}
    for step in steps:
        if later.intersection(step.after or ()) - {step.name}:
            return False
        later.discard(step.name)
    return True


class _Plan:
    """Does what can be done, step by step."""

    def __init__(self, steps: Sequence[PlannedStep]) -> None:
        self._steps = {step.name: step for step in steps}
        before = [None, *(step.name for step in steps)]
        self._needs = {step.name: self._named(step, one) for step, one in zip(steps, before, strict=False)}
        self._waiting: dict[str, list[str]] = {}
        for name, needs in self._needs.items():
            for need in needs:
                self._waiting.setdefault(need, []).append(name)

    def _named(self, step: PlannedStep, before: str | None) -> set[str]:
        named = step.after if step.after is not None else [before] if before else []
        return {name for name in named if name in self._steps and name != step.name}

    def unwound(self) -> tuple[PlannedStep, ...]:
        self._do([name for name, needs in self._needs.items() if not needs])
        for name in list(self._steps):
            if ring := self._needs.get(name):
                step = self._steps[name]
                kept = tuple(need for need in step.after or () if need not in ring)
                self._steps[name] = replace(step, after=kept)
                self._do([name])
        return tuple(self._steps.values())

    def _do(self, ready: list[str]) -> None:
        for name in ready:
            self._needs.pop(name)
            for each in self._waiting.get(name, ()):
                if needs := self._needs.get(each):
                    needs.discard(name)
                    if not needs:
                        ready.append(each)
