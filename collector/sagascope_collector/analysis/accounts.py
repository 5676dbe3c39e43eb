"""What was done and undone of each step: the books behind the ledger."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sagascope import semconv
from sagascope_collector.analysis.model import Attempt, Plan, Step
from sagascope_collector.analysis.order import effects, took_effect_after


@dataclass(slots=True)
class Account:
    """All that was tried of one step, by key; attempts in the order in which they began."""

    name: str
    key: str
    does: Sequence[Attempt] = ()
    undoes: Sequence[Attempt] = ()
    prepares: Sequence[Attempt] = ()
    compensation: str | None = None
    """The step that undoes it: as planned, else as tried."""
    done: Sequence[Attempt] = ()
    """What took effect."""
    undone: Sequence[Attempt] = ()
    """The undos that took effect."""
    kept: Sequence[Attempt] = ()
    """What took effect and was not undone afterwards."""
    at: int = 0
    """When it was last done, else begun: things are to be undone in the reverse of this order."""


def accounts(steps: Sequence[Step], plan: Plan) -> list[Account]:
    """One account for each step and key that was tried, in the order in which they were done."""
    opened = _open(steps)
    _enter_undos(steps, opened)
    compensations = {step.name: step.compensation for step in plan.steps}
    for account in opened.values():
        account.compensation = compensations.get(account.name) or account.compensation
        _close(account)
    return sorted(opened.values(), key=lambda each: (each.at, each.name, each.key))


def _open(steps: Iterable[Step]) -> dict[tuple[str, str], Account]:
    opened: dict[tuple[str, str], Account] = {}
    for step in steps:
        if step.attempts and step.type != semconv.TYPE_COMPENSATION:
            account = opened.get((step.name, step.key))
            if account is None:
                account = opened[step.name, step.key] = Account(step.name, step.key)
            _enter(account, step)
    return opened


def _enter(account: Account, step: Step) -> None:
    if step.type == semconv.TYPE_ROLLBACK:
        account.undoes = (*account.undoes, *step.attempts)
    elif step.type == semconv.TYPE_PREPARE:
        account.prepares = step.attempts
    else:
        account.does = (*account.does, *step.attempts) if account.does else step.attempts


def _enter_undos(steps: Iterable[Step], opened: dict[tuple[str, str], Account]) -> None:
    for step in steps:
        if step.type == semconv.TYPE_COMPENSATION and step.attempts:
            for account in _undone_by(step, opened):
                account.undoes = (*account.undoes, *step.attempts)
                account.compensation = step.name


def _undone_by(undo: Step, opened: dict[tuple[str, str], Account]) -> Iterator[Account]:
    """The account of the same key; where there is none, every account of the step that it undoes."""
    if undo.compensates is None:
        return
    same = opened.get((undo.compensates, undo.key))
    if same is not None:
        yield same
        return
    yield from (account for account in opened.values() if account.name == undo.compensates)


def _close(account: Account) -> None:
    account.done = kept = effects(account.does)
    if account.undoes:
        account.undone = undone = effects(account.undoes)
        kept = [each for each in account.done if all(took_effect_after(each, undo) for undo in undone)]
    account.kept = kept
    for each in account.done or account.does or account.prepares:
        account.at = max(account.at, each.over or each.began)
