"""What should come next: forward by the plan, backward by what is still in force."""

from collections.abc import Iterable, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis import ledger
from sagascope_collector.analysis.accounts import Account
from sagascope_collector.analysis.model import LedgerEntry, LedgerState, Plan, PlannedStep, Status, Step, StepState

UNDONE_STATES = (
    LedgerState.COMMITTED,
    LedgerState.COMPENSATING,
    LedgerState.COMPENSATION_FAILED,
    LedgerState.COMPENSATION_UNKNOWN,
    LedgerState.UNKNOWN,
)
"""States of the ledger in which a compensation is still to come, or to be verified."""


def next_forward(plan: Plan, steps: Sequence[Step]) -> PlannedStep | None:
    """The first planned step that is neither done nor passed over, and waits for nothing else.

    An optional one is named only where a later step, which could come at once, is not there.
    """
    ahead = waiting(plan, steps)
    required = [step for step in ahead if not step.optional]
    return required[0] if required else None


LIKELY = 0.8
"""Share from which what usually follows a step is said to be what should."""


def next_learned(plan: Plan, steps: Sequence[Step], last: str | None) -> str | None:
    """The step that should come next by a learned plan, or the close (``""``); None where either of several may.

    Where nothing but steps that always come is left, the plan decides; else what usually follows the last one.
    """
    wanted = next_forward(plan, steps)
    if not any(step.optional for step in waiting(plan, steps)):
        return wanted.name if wanted else ""
    started = {step.name for step in steps if step.attempts}
    shares = {name: share for name, share in plan.follows.get(last or "", {}).items() if name not in started}
    likely = [name for name, share in shares.items() if share >= LIKELY * sum(shares.values())]
    if likely or wanted is not None:
        return likely[0] if likely else None
    return ""


def is_unheard_of(plan: Plan, steps: Sequence[Step]) -> bool:
    """Whether a saga took a step that a learned plan does not know: then its flow is a new one, and not learned."""
    if plan.source != "learned":
        return False
    known = {step.name for step in plan.steps}
    return any(step.attempts and step.type in _LEARNED and step.name not in known for step in steps)


_LEARNED = (semconv.TYPE_ACTION, semconv.TYPE_COMMIT)


def waiting(plan: Plan, steps: Sequence[Step]) -> list[PlannedStep]:
    """Planned steps that could come now, in plan order; those that were passed over only where no other is left."""
    done = _done(steps)
    started = {step.name for step in steps if step.attempts and is_forward(step)}
    befores = prerequisites(plan)
    open_steps = [step for step in plan.steps if step.name not in done]
    passed = _passed(befores, started)
    met = done | passed
    ahead = [step for step in open_steps if step.name not in passed and befores[step.name] <= met]
    return ahead or [step for step in open_steps if not step.optional]


def is_forward(step: Step) -> bool:
    """Whether it is work of the plan, not an undo."""
    return step.type in (semconv.TYPE_ACTION, semconv.TYPE_PREPARE, semconv.TYPE_COMMIT)


def _done(steps: Iterable[Step]) -> set[str]:
    """Names of the steps of which every repetition is done; two-phase commit is done with the commit."""
    states: dict[str, list[Step]] = {}
    for step in steps:
        if is_forward(step) and step.attempts:
            states.setdefault(step.name, []).append(step)
    return {name for name, tries in states.items() if _all_done(tries)}


def _all_done(tries: Sequence[Step]) -> bool:
    ended = {StepState.DONE, StepState.COMPENSATED}
    prepared = {step.key for step in tries if step.type == semconv.TYPE_PREPARE}
    committed = {step.key for step in tries if step.type == semconv.TYPE_COMMIT and step.state in ended}
    return prepared <= committed and all(step.state in ended for step in tries)


def prerequisites(plan: Plan) -> dict[str, frozenset[str]]:
    """The names that each planned step waits for; without ``after``, the one before it.

    For an optional one stand those that it waits for itself.
    """
    befores: dict[str, frozenset[str]] = {}
    names = {step.name for step in plan.steps}
    before: frozenset[str] = frozenset()
    for step in plan.steps:
        befores[step.name] = before if step.after is None else frozenset(step.after) & names - {step.name}
        before = frozenset({step.name})
    optional = {step.name: befores[step.name] for step in plan.steps if step.optional}
    return {name: _beyond(needs, optional) for name, needs in befores.items()} if optional else befores


def _beyond(needs: frozenset[str], optional: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Names waited for, each optional one replaced by those behind it."""
    required, seen, left = set(), set(needs), list(needs)
    for name in left:
        if name not in optional:
            required.add(name)
            continue
        left += optional[name] - seen
        seen |= optional[name]
    return frozenset(required)


def _passed(befores: Mapping[str, frozenset[str]], started: Iterable[str]) -> set[str]:
    """The steps for which one that has begun should have waited, directly or not."""
    behind = [need for name in started for need in befores.get(name, ())]
    seen = set(behind)
    for each in behind:
        further = befores[each] - seen
        seen |= further
        behind += further
    return seen


def passed_over(plan: Plan, steps: Sequence[Step]) -> list[str]:
    """Returns the required steps of which no record was received, although a step that waits for them has started."""
    started = {step.name for step in steps if step.attempts and is_forward(step)}
    passed = _passed(prerequisites(plan), started) - started
    return [step.name for step in plan.steps if step.name in passed and not step.optional]


def is_all_done(plan: Plan, steps: Sequence[Step]) -> bool:
    """Whether every planned step that is not optional is done."""
    done = _done(steps)
    return all(step.optional or step.name in done for step in plan.steps)


def next_undo(books: Iterable[tuple[Account, LedgerEntry]], status: Status) -> tuple[str, str | None] | None:
    """(the step, its compensation) that should be undone next: the latest done of those still in force."""
    for account, entry in reversed(list(books)):
        if entry.state in UNDONE_STATES and entry.compensation and not ledger.is_pending(account, status):
            return entry.step, entry.compensation
    return None
