"""Where to look up what took effect for one saga that needs attention. Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import Attempt, AttemptState, Judgement, LedgerState, Phase, Reason, Saga, Step
from sagascope_collector.incidents.remedy import COMPENSATING, undecided

AT_RISK: Final = frozenset(
    {
        LedgerState.COMMITTED,
        LedgerState.COMPENSATING,
        LedgerState.COMPENSATION_FAILED,
        LedgerState.COMPENSATION_UNKNOWN,
        LedgerState.UNKNOWN,
    }
)


class Clue(NamedTuple):
    """Work to look up at a service; `attempt` is None for work that was never seen to begin."""

    step: str | None
    service: str | None
    attempt: Attempt | None


def clues(saga: Saga, judgement: Judgement) -> tuple[Clue, ...]:
    """What to look up, and where: unknown outcomes, else what must be compensated, else the last attempt there."""
    verdict = judgement.verdict
    if verdict is None:
        return ()
    if open_ := undecided(saga, verdict):
        return tuple(Clue(verdict.step, each.process.service, each) for each in open_)
    if verdict.reason is Reason.APPLIED_TWICE:
        found = tuple(_committed(saga, verdict.step))
    elif verdict.reason in COMPENSATING or verdict.phase is Phase.COMPENSATION:
        found = tuple(_committed_or_unknown(saga))
    else:
        found = tuple(_last(each) for each in saga.steps if each.name == verdict.step and each.attempts)
    return found or (Clue(verdict.step, verdict.service, None),)


def _committed(saga: Saga, step: str | None) -> Iterator[Clue]:
    for each in saga.steps:
        if step in (each.name, each.compensates):
            done = (attempt for attempt in each.attempts if attempt.state is AttemptState.OK)
            yield from (Clue(each.name, attempt.process.service, attempt) for attempt in done)


def _committed_or_unknown(saga: Saga) -> Iterator[Clue]:
    """The work that is, or may be, committed, and the last attempt to compensate it."""
    names = {each.step for each in saga.ledger if each.state in AT_RISK}
    return (_last(each) for each in saga.steps if each.attempts and (each.name in names or each.compensates in names))


def _last(step: Step) -> Clue:
    attempt = step.attempts[-1]
    return Clue(step.name, attempt.process.service, attempt)
