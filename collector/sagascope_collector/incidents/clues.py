"""Where to look up what was really done for one saga that stands still. Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sagascope_collector.incidents.remedy import UNDOING, undecided
from sagascope_collector.sagas.model import Attempt, AttemptState, Judgement, LedgerState, Phase, Reason, Saga, Step

AT_STAKE: Final = frozenset({LedgerState.IN_FORCE, LedgerState.UNDOING, LedgerState.UNDO_FAILED, LedgerState.UNKNOWN})


class Clue(NamedTuple):
    """Work to look up at a service; `attempt` is None for work that was never seen to begin."""

    step: str | None
    service: str | None
    attempt: Attempt | None


def clues(saga: Saga, judgement: Judgement) -> tuple[Clue, ...]:
    """What to look up, and where: what is undecided, else what must be undone, else the last that was tried there."""
    verdict = judgement.verdict
    if verdict is None:
        return ()
    if open_ := undecided(saga, verdict):
        return tuple(Clue(verdict.step, each.process.service, each) for each in open_)
    if verdict.reason is Reason.APPLIED_TWICE:
        found = tuple(_committed(saga, verdict.step))
    elif verdict.reason in UNDOING or verdict.phase is Phase.COMPENSATION:
        found = tuple(_in_force(saga))
    else:
        found = tuple(_last(each) for each in saga.steps if each.name == verdict.step and each.attempts)
    return found or (Clue(verdict.step, verdict.service, None),)


def _committed(saga: Saga, step: str | None) -> Iterator[Clue]:
    for each in saga.steps:
        if step in (each.name, each.compensates):
            done = (attempt for attempt in each.attempts if attempt.state is AttemptState.OK)
            yield from (Clue(each.name, attempt.process.service, attempt) for attempt in done)


def _in_force(saga: Saga) -> Iterator[Clue]:
    """The work that is, or may be, in force, and the last attempt to undo it."""
    names = {each.step for each in saga.ledger if each.state in AT_STAKE}
    return (_last(each) for each in saga.steps if each.attempts and (each.name in names or each.compensates in names))


def _last(step: Step) -> Clue:
    attempt = step.attempts[-1]
    return Clue(step.name, attempt.process.service, attempt)
