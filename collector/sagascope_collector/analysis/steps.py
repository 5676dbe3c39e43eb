"""From attempts to steps, and how each step stands."""

from collections.abc import Iterable, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis.attempts import Circumstances, attempt
from sagascope_collector.analysis.model import Attempt, AttemptState, LedgerEntry, LedgerState, Plan, Step, StepState
from sagascope_collector.analysis.views import StepKey, Views

_STATES = {
    AttemptState.IN_FLIGHT: StepState.IN_FLIGHT,
    AttemptState.ERROR: StepState.FAILED,
    AttemptState.UNKNOWN: StepState.UNKNOWN,
}


UNDOING = (semconv.TYPE_COMPENSATION, semconv.TYPE_ROLLBACK)


def tried(collected: Mapping[StepKey, list[Views]], about: Circumstances, plan: Plan) -> list[Step]:
    """The steps with their attempts, each in the order in which they began.

    An undo that does not say of what is that of the plan, else that of the step whose name it bears.
    """
    undoes = {key.name: key.name for key in collected if key.type not in UNDOING}
    undoes |= {step.compensation: step.name for step in reversed(plan.steps) if step.compensation}
    steps = [_step(key, [attempt(each, about) for each in views], undoes) for key, views in collected.items()]
    steps.sort(key=lambda step: (step.attempts[0].began, step.name, step.type, step.key))
    return steps


def _step(key: StepKey, attempts: list[Attempt], undoes: dict[str, str]) -> Step:
    if len(attempts) > 1:
        attempts.sort(key=_attempt_order)
    compensates = None
    if key.type in UNDOING:
        compensates = next((each.compensates for each in attempts if each.compensates), None) or undoes.get(key.name)
    pivot = True in [each.pivot for each in attempts]
    return Step(key.name, key.key, key.type, _service(attempts), _state(attempts), compensates, tuple(attempts), pivot)


def _service(attempts: Sequence[Attempt]) -> str | None:
    """The service of the latest attempt whose executor is known, else of the latest."""
    for each in reversed(attempts):
        if each.is_executor_known:
            return each.process.service or None
    return attempts[-1].process.service or None


def _attempt_order(attempt: Attempt) -> tuple[int, int, int, str]:
    return attempt.began, attempt.number, attempt.started_at, attempt.span_id


def _state(attempts: Sequence[Attempt]) -> StepState:
    """Done once, a step stays done; else the latest attempt says it."""
    for each in attempts:
        if each.state is AttemptState.OK:
            return StepState.DONE
    return _STATES[attempts[-1].state]


def settled(steps: Sequence[Step], ledger: Iterable[LedgerEntry], plan: Plan, *, is_complete: bool) -> tuple[Step, ...]:
    """The steps with what the ledger knows of compensations, and behind them the planned ones that were not tried.

    Those have not started where all telemetry of the saga is known to have come; else none of them was seen.
    """
    untried = StepState.NOT_STARTED if is_complete else StepState.NOT_SEEN
    undone = {entry.step for entry in ledger if entry.state is LedgerState.COMPENSATED}
    kept = {entry.step for entry in ledger if entry.state is not LedgerState.COMPENSATED}
    seen = {step.name for step in steps}
    return (
        *(_undone(step) if step.name in undone - kept and _can_be_undone(step) else step for step in steps),
        *(_planned(each.name, untried) for each in plan.steps if each.name not in seen),
    )


def _can_be_undone(step: Step) -> bool:
    return step.type not in (semconv.TYPE_COMPENSATION, semconv.TYPE_ROLLBACK) and step.state is StepState.DONE


def _undone(step: Step) -> Step:
    return Step(
        step.name, step.key, step.type, step.service, StepState.COMPENSATED, step.compensates, step.attempts, step.pivot
    )


def _planned(name: str, state: StepState) -> Step:
    return Step(name, "", semconv.TYPE_ACTION, None, state, None, ())
