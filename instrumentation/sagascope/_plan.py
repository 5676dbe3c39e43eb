"""The plan of a saga type: its steps in order, with what undoes each and how long each may take."""

from collections.abc import Iterable, Sequence
from typing import Any

from sagascope import semconv
from sagascope.errors import PlanInvalid


class Step:
    """One planned step.

    Args:
        name: What it is called everywhere, for example ``wallet.debit``.
        compensation: The name of the step that undoes it; None: it cannot be undone, or need not be.
        timeout: Seconds after which one attempt is overdue; None: the collector decides from what it has seen.
        pivot: After this step only forward is possible.
        optional: A saga may be completed without it.
        after: Names of the steps that it waits for; None: the step before it. Says what runs in parallel.
    """

    __slots__ = ("after", "compensation", "name", "optional", "pivot", "timeout")

    def __init__(
        self,
        name: str,
        *,
        compensation: str | None = None,
        timeout: float | None = None,
        pivot: bool = False,
        optional: bool = False,
        after: Sequence[str] | None = None,
    ) -> None:
        self.name: str = name
        self.compensation: str | None = compensation
        self.timeout: float | None = timeout
        self.pivot: bool = pivot
        self.optional: bool = optional
        self.after: tuple[str, ...] | None = None if after is None else tuple(after)

    def __repr__(self) -> str:
        return f"Step({self.name!r})"


class Plan:
    """The steps of one saga type.

    Raises:
        PlanInvalid: Two steps have one name, or one waits for a step that is not in the plan.
    """

    __slots__ = ("_by_name", "attributes", "steps")

    def __init__(self, steps: Iterable[Step | str] = (), timeout: float | None = None) -> None:
        self.steps: tuple[Step, ...] = tuple(Step(step) if isinstance(step, str) else step for step in steps)
        self._by_name = {step.name: step for step in self.steps}
        self._check()
        self.attributes: dict[str, Any] = self._describe(timeout)

    def step(self, name: str) -> Step | None:
        """The planned step of this name."""
        return self._by_name.get(name)

    def undone_by(self, compensation: str) -> list[str]:
        """Names of the steps that this compensation undoes, last one first."""
        return [step.name for step in reversed(self.steps) if step.compensation == compensation]

    def _check(self) -> None:
        if len(self._by_name) < len(self.steps):
            names = [step.name for step in self.steps]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise PlanInvalid(f"These steps are in the plan more than once: {', '.join(twice)}")
        for step in self.steps:
            unknown = [name for name in step.after or () if name not in self._by_name]
            if unknown:
                raise PlanInvalid(f"{step.name} waits for {', '.join(unknown)}, which the plan does not have")

    def _describe(self, timeout: float | None) -> dict[str, Any]:
        """The attributes of the root span; computed once, when the saga type is declared."""
        attributes: dict[str, Any] = {}
        if timeout is not None:
            attributes[semconv.SAGA_TIMEOUT] = float(timeout)
        if not self.steps:
            return attributes
        attributes[semconv.PLAN] = tuple(step.name for step in self.steps)
        attributes[semconv.PLAN_COMPENSATIONS] = tuple(step.compensation or "" for step in self.steps)
        attributes[semconv.PLAN_TIMEOUTS] = tuple(float(step.timeout or 0) for step in self.steps)
        if any(step.after is not None for step in self.steps):
            attributes[semconv.PLAN_AFTER] = self._after()
        if any(step.optional for step in self.steps):
            attributes[semconv.PLAN_OPTIONAL] = tuple(step.optional for step in self.steps)
        return attributes

    def _after(self) -> tuple[str, ...]:
        before = [(), *((step.name,) for step in self.steps)]
        return tuple(
            ",".join(previous if step.after is None else step.after)
            for previous, step in zip(before, self.steps, strict=False)
        )
