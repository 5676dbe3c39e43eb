"""Plans: the declared steps of a saga, and the steps that come next."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.analysis import ledger, values
from sagascope_collector.analysis.ledger import StepEffect
from sagascope_collector.analysis.model import (
    FORWARD_TYPES,
    IN_EFFECT_STATES,
    LedgerEntry,
    Phase,
    Plan,
    PlannedStep,
    Status,
    Step,
    StepState,
)
from sagascope_collector.records import Attributes, Span

NO_PLAN = Plan("none")
"""No plan is known, so no step counts as missing."""


def declared(spans: Iterable[Span]) -> Plan:
    """Returns the plan of the first of these spans that carries one."""
    for span in spans:
        if semconv.PLAN in span.attributes:
            plan = _known(span.attributes)
            if plan.steps:
                return plan
    return NO_PLAN


PLAN_ATTRIBUTES: Final = (
    semconv.PLAN,
    semconv.PLAN_COMPENSATIONS,
    semconv.PLAN_TIMEOUTS,
    semconv.PLAN_AFTER,
    semconv.PLAN_OPTIONAL,
)

MAX_CACHED_PLANS: Final = 256
"""Maximum number of cached plans; sagas of one type declare the same plan."""

_plans: Final[dict[str, Plan]] = {}


def _known(attributes: Attributes) -> Plan:
    key = repr([attributes.get(name) for name in PLAN_ATTRIBUTES])
    plan = _plans.get(key)
    if plan is None:
        plan = _read(attributes)
        if len(_plans) >= MAX_CACHED_PLANS:
            _plans.clear()
        _plans[key] = plan
    return plan


def _read(attributes: Attributes) -> Plan:
    """Parses a plan from the attributes of a root span.

    Lists of another length than the plan's are read as far as they go.
    """
    names = values.texts(attributes.get(semconv.PLAN)) or ()
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        first.setdefault(name, index)
    compensations = _ListAttribute(attributes.get(semconv.PLAN_COMPENSATIONS))
    timeouts = _ListAttribute(attributes.get(semconv.PLAN_TIMEOUTS))
    after = _ListAttribute(attributes.get(semconv.PLAN_AFTER))
    optional = _ListAttribute(attributes.get(semconv.PLAN_OPTIONAL))
    steps = tuple(
        PlannedStep(
            name=name,
            compensation=values.text(compensations.at(index)),
            timeout=values.seconds(timeouts.at(index)),
            optional=optional.at(index) is True,
            after=_after(after.at(index)),
        )
        for name, index in first.items()
        if name
    )
    return Plan("declared", without_cycles(steps), compensations_known=compensations.given)


def _after(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, str):
        return None
    return tuple(name for each in value.split(",") if (name := each.strip()))


class _ListAttribute:
    """A list attribute; without items if it is absent."""

    def __init__(self, value: Any) -> None:
        self.given = isinstance(value, list | tuple)
        self._items = value if isinstance(value, list | tuple) else ()

    def at(self, index: int) -> Any:
        return self._items[index] if index < len(self._items) else None


def without_cycles(steps: Sequence[PlannedStep]) -> tuple[PlannedStep, ...]:
    """Returns the steps without cycles: the first step left in a cycle waits only for steps that can run before it.

    The time is linear in the size of the plan.
    """
    if _is_in_order(steps):
        return tuple(steps)
    return _Dependencies(steps).without_cycles()


def _is_in_order(steps: Sequence[PlannedStep]) -> bool:
    """Whether each step waits only for earlier steps, so that there is no cycle."""
    later = {step.name for step in steps}
    for step in steps:
        if later.intersection(step.after or ()) - {step.name}:
            return False
        later.discard(step.name)
    return True


class _Dependencies:
    """Orders the steps by their dependencies."""

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

    def without_cycles(self) -> tuple[PlannedStep, ...]:
        self._complete([name for name, needs in self._needs.items() if not needs])
        for name in list(self._steps):
            if unmet := self._needs.get(name):
                step = self._steps[name]
                kept = tuple(need for need in step.after or () if need not in unmet)
                self._steps[name] = replace(step, after=kept)
                self._complete([name])
        return tuple(self._steps.values())

    def _complete(self, ready: list[str]) -> None:
        for name in ready:
            self._needs.pop(name)
            for each in self._waiting.get(name, ()):
                if needs := self._needs.get(each):
                    needs.discard(name)
                    if not needs:
                        ready.append(each)


def next_forward(plan: Plan, steps: Sequence[Step]) -> PlannedStep | None:
    """Returns the first planned step that is neither finished nor skipped and whose prerequisites are done.

    An optional step is never due.
    """
    ahead = startable(plan, steps)
    required = [step for step in ahead if not step.optional]
    return required[0] if required else None


LIKELY_SHARE = 0.8
"""Minimum share of sagas from which the usual next step counts as the next expected step."""


def next_learned(plan: Plan, steps: Sequence[Step], last: str | None) -> str | None:
    """Returns the next step by a learned plan, or the close (``""``); None if several may follow.

    If only required steps are left, the plan decides; else the usual successor of the last step.
    """
    wanted = next_forward(plan, steps)
    if not any(step.optional for step in startable(plan, steps)):
        return wanted.name if wanted else ""
    started = {step.name for step in steps if step.attempts}
    shares = {name: share for name, share in plan.follows.get(last or "", {}).items() if name not in started}
    likely = [name for name, share in shares.items() if share >= LIKELY_SHARE * sum(shares.values())]
    if likely or wanted is not None:
        return likely[0] if likely else None
    return ""  # no required step is left, and no optional one usually follows: the saga closes


def has_unlearned_step(plan: Plan, steps: Sequence[Step]) -> bool:
    """Whether a saga has a step that is not in the learned plan; its flow is then new and not learned yet."""
    if plan.source != "learned":
        return False
    known = {step.name for step in plan.steps}
    return any(step.attempts and step.type in FORWARD_TYPES and step.name not in known for step in steps)


def startable(plan: Plan, steps: Sequence[Step]) -> list[PlannedStep]:
    """Returns the planned steps that can start, in plan order; skipped steps only if no others are left.

    A step whose outcome was not received, although a later one started, has started already.
    """
    done = _done(steps)
    started = {step.name for step in steps if step.attempts and step.phase is Phase.FORWARD}
    needs = prerequisites(plan)
    open_steps = [step for step in plan.steps if step.name not in done]
    begun = ancestors(needs, started)
    ahead = [step for step in open_steps if step.name not in begun and needs[step.name] <= done | begun]
    unresolved = {step.name for step in steps if step.state in (StepState.IN_FLIGHT, StepState.UNKNOWN)}
    return ahead or [step for step in open_steps if not step.optional and step.name not in unresolved]


def _done(steps: Iterable[Step]) -> set[str]:
    """The names of steps whose repetitions are all done; a two-phase commit is done with its commit."""
    states: dict[str, list[Step]] = {}
    for step in steps:
        if step.phase is Phase.FORWARD and step.attempts:
            states.setdefault(step.name, []).append(step)
    return {name for name, repetitions in states.items() if _all_done(repetitions)}


def _all_done(repetitions: Sequence[Step]) -> bool:
    ended = {StepState.DONE, StepState.COMPENSATED}
    prepared = {step.key for step in repetitions if step.type == semconv.TYPE_PREPARE}
    committed = {step.key for step in repetitions if step.type == semconv.TYPE_COMMIT and step.state in ended}
    return prepared <= committed and all(step.state in ended for step in repetitions)


def predecessors(plan: Plan) -> dict[str, frozenset[str]]:
    """Returns the names that each planned step follows; without ``after``, the previous step."""
    found: dict[str, frozenset[str]] = {}
    names = {step.name for step in plan.steps}
    before: frozenset[str] = frozenset()
    for step in plan.steps:
        found[step.name] = before if step.after is None else frozenset(step.after) & names - {step.name}
        before = frozenset({step.name})
    return found


def prerequisites(plan: Plan) -> dict[str, frozenset[str]]:
    """Returns the names that each planned step waits for: an optional step is replaced by its own prerequisites."""
    before = predecessors(plan)
    optional = {step.name: before[step.name] for step in plan.steps if step.optional}
    return {name: _required_prerequisites(needs, optional) for name, needs in before.items()} if optional else before


def _required_prerequisites(needs: frozenset[str], optional: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The prerequisites, each optional one replaced by its own prerequisites."""
    required, seen, left = set(), set(needs), list(needs)
    for name in left:
        if name not in optional:
            required.add(name)
            continue
        left += optional[name] - seen
        seen |= optional[name]
    return frozenset(required)


def dependencies(plan: Plan, names: Iterable[str]) -> set[str]:
    """Returns the steps on which any of these steps depends, directly or not."""
    return ancestors(prerequisites(plan), names)


def ancestors(needs: Mapping[str, frozenset[str]], names: Iterable[str]) -> set[str]:
    """Returns the steps that any of these steps needs, directly or not. ``needs`` holds the direct ones of each."""
    waiting = [need for name in names for need in needs.get(name, ())]
    found = set(waiting)
    for each in waiting:
        further = needs[each] - found
        found |= further
        waiting += further
    return found


def unseen_required_steps(plan: Plan, steps: Sequence[Step]) -> list[str]:
    """Returns the required steps without a received record, although a step that waits for them has started."""
    started = {step.name for step in steps if step.attempts and step.phase is Phase.FORWARD}
    unseen = dependencies(plan, started) - started
    return [step.name for step in plan.steps if step.name in unseen and not step.optional]


def bypassed_failures(plan: Plan, steps: Sequence[Step]) -> list[str]:
    """Returns the required steps with received failures only, although a step that waits for them has started.

    Without a plan, any step that was called after such a failure may have waited for it.
    """
    forward = [step for step in steps if step.attempts and step.phase is Phase.FORWARD]
    failed = {step.name for step in forward} - {step.name for step in forward if step.state is not StepState.FAILED}
    if plan.source == "none" and failed:
        latest_call = max(each.called_at for step in forward for each in step.attempts)
        ends = {step.name: step.attempts[-1].answered_at for step in forward if step.name in failed}
        return [name for name, answered_at in ends.items() if answered_at <= latest_call]
    behind = dependencies(plan, {step.name for step in forward}) & failed if failed else failed
    return [step.name for step in plan.steps if step.name in behind and not step.optional]


def ready_steps(plan: Plan, steps: Sequence[Step]) -> set[str]:
    """Returns the steps that may start: each of their prerequisites has started and not failed."""
    started = {step.name for step in steps if step.state is not StepState.FAILED}
    return {name for name, needs in prerequisites(plan).items() if needs <= started}


def unfinished(plan: Plan, steps: Sequence[Step]) -> list[PlannedStep]:
    """Returns the planned steps of which no success was received, or not for each repetition."""
    done = _done(steps)
    return [step for step in plan.steps if step.name not in done]


def next_compensation(
    effects: Iterable[tuple[StepEffect, LedgerEntry]], status: Status, superseded: Collection[str] = ()
) -> StepEffect | None:
    """Returns the effect whose compensation is due next: that of the latest step that is still committed.

    Steps in `superseded` have ended although the end was not received: one that waits for them has started.
    """
    for effect, entry in reversed(list(effects)):
        is_pending = entry.step not in superseded and ledger.is_pending(effect, status)
        if entry.state in IN_EFFECT_STATES and entry.compensation and not is_pending:
            return effect
    return None
