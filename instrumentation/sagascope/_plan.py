"""The plan of a saga type, and the progress of one saga against it."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any

from sagascope import semconv
from sagascope._errors import PlanInvalid


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Step:
    """One planned step."""

    name: str
    """The step's name everywhere, for example ``wallet.debit``."""
    _: KW_ONLY
    compensation: str | None = None
    """The name of the step that compensates it; None: it is not compensable, or needs no compensation."""
    timeout: float | None = None
    """Seconds after which one attempt is overdue; None: the collector decides from finished sagas."""
    pivot: bool = False
    """After this step only forward is possible."""
    optional: bool = False
    """A saga can complete without it."""
    after: Sequence[str] | None = None
    """Names of the steps that it waits for; None: the step before it. Declares what runs in parallel."""

    def __repr__(self) -> str:
        return f"Step({self.name!r})"


class Plan:
    """The steps of one saga type, in order.

    Raises:
        PlanInvalid: Two steps have the same name, or a step waits for one that is not in the plan.
    """

    __slots__ = ("_by_name", "_names", "attributes", "steps")

    def __init__(self, steps: Iterable[Step | str] = (), timeout: float | None = None) -> None:
        self.steps: tuple[Step, ...] = tuple(Step(step) if isinstance(step, str) else step for step in steps)
        self._by_name = {step.name: step for step in self.steps}
        self._names = {*self._by_name, *(step.compensation for step in self.steps)}
        self._check()
        self.attributes: dict[str, Any] = self._root_attributes(timeout)
        """The attributes of the root span, built once."""

    def step(self, name: str) -> Step | None:
        return self._by_name.get(name)

    def has(self, name: str) -> bool:
        """Returns whether the plan has a step or compensation of this name; one without steps has every name."""
        return not self.steps or name in self._names

    def steps_compensated_by(self, compensation: str) -> list[str]:
        """Returns the names of the steps that this compensation compensates, the last one first."""
        return [step.name for step in reversed(self.steps) if step.compensation == compensation]

    def _check(self) -> None:
        if len(self._by_name) < len(self.steps):
            names = [step.name for step in self.steps]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise PlanInvalid(f"The plan contains these steps more than once: {', '.join(repeated)}")
        for step in self.steps:
            unknown = [name for name in step.after or () if name not in self._by_name]
            if unknown:
                raise PlanInvalid(f"Step {step.name} waits for {', '.join(unknown)}, which is not in the plan")

    def _root_attributes(self, timeout: float | None) -> dict[str, Any]:
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


class Progress:
    """The steps that a saga committed in this process, in order, and which of them were compensated."""

    __slots__ = ("_committed", "_last_was_compensation", "was_interrupted")

    def __init__(self) -> None:
        self._committed: dict[tuple[str, str], bool] = {}
        """By step and key; False once compensated."""
        self._last_was_compensation = False
        self.was_interrupted = False
        """True once a generator was left inside an attempt."""

    def commit(self, step: str, key: str) -> None:
        """Records a step that succeeded."""
        self._committed.pop((step, key), None)
        self._committed[step, key] = True
        self._last_was_compensation = False

    def compensate(self, step: str | None, key: str) -> None:
        """Records a compensation that succeeded: of the step with this key, else without a key of every one."""
        self._last_was_compensation = True
        has_same = (step, key) in self._committed
        for committed in self._committed:
            if committed == (step, key) or (committed[0] == step and not key and not has_same):
                self._committed[committed] = False

    def latest_committed(self, candidates: Iterable[str]) -> str | None:
        """Returns the candidate that was committed last and is not compensated."""
        names = set(candidates)
        committed = [step for step in self.committed_steps() if step in names]
        return committed[-1] if committed else None

    def is_compensated(self, plan: Plan | None, *, succeeded: bool) -> bool:
        """Returns whether a step was compensated and no committed step with a compensation is left.

        A saga that `succeeded` is compensated only if the last thing it did was a compensation: one that continued
        forward after it was not given up.
        """
        if all(self._committed.values()) or (succeeded and not self._last_was_compensation):
            return False
        planned = [plan.step(step) for step in self.committed_steps()] if plan is not None else []
        return not any(step is not None and step.compensation for step in planned)

    def has_nothing_left(self, plan: Plan | None) -> bool:
        """Returns whether every required step of the plan is committed, and no attempt was interrupted.

        Without required steps it is unknown whether the work was done.
        """
        required = {step.name for step in plan.steps if not step.optional} if plan is not None else set()
        return bool(required) and required <= set(self.committed_steps()) and not self.was_interrupted

    def committed_steps(self) -> list[str]:
        """Returns the steps that are committed and not compensated, in order."""
        return [step for (step, _), in_effect in self._committed.items() if in_effect]


MAX_COUNTED_SAGAS = 4096
"""Sagas whose attempts are counted. Beyond it the counts of the saga that was seen first are dropped."""

MAX_COUNTED_STEPS = 100_000
"""Steps, with their keys, that are counted. Beyond it the counts of the sagas that were seen first are dropped."""

_attempts: "OrderedDict[tuple[str, str, str], dict[tuple[str, str, str], int]]" = OrderedDict()
"""By the identity of the saga, then by type, name and key of the step."""

_counted_steps = 0


def next_attempt(identity: tuple[str, str, str], kind: str, step: str, key: str, given: int | None) -> int:
    """Returns the number of an attempt that starts now: `given`, or one more than the last in this process."""
    counts = _counts(identity)
    counted = (kind, step, key)
    if counted not in counts:
        _make_room()
    attempt = counts.get(counted, 0) + 1 if given is None else max(1, int(given))
    counts[counted] = attempt
    return attempt


def _make_room() -> None:
    """Counts one more step, and drops the counts of the sagas seen first if there are too many steps."""
    global _counted_steps
    _counted_steps += 1  # without a lock: counted anew below
    if _counted_steps > MAX_COUNTED_STEPS:
        left = sum(map(len, list(_attempts.values())))
        with suppress(KeyError):  # other threads may drop them at the same time
            while left > MAX_COUNTED_STEPS // 2:
                left -= len(_attempts.popitem(last=False)[1])
        _counted_steps = left


def _counts(identity: tuple[str, str, str]) -> dict[tuple[str, str, str], int]:
    counts = _attempts.get(identity)
    if counts is None:
        counts = _attempts[identity] = {}
        if len(_attempts) > MAX_COUNTED_SAGAS:
            _attempts.popitem(last=False)
    return counts


def begin_attempts(identity: tuple[str, str, str]) -> bool:
    """Counts the attempts of a saga from 1; returns whether they were counted before, by another saga of this id."""
    was_counted = _attempts.pop(identity, None) is not None
    _counts(identity)
    return was_counted


def clear_attempts() -> None:
    """Counts the attempts of all sagas from 1 again."""
    _attempts.clear()
