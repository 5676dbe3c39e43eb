"""The recommended action for a saga that needs attention, and the work to look up before it. Pure."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import (
    Attempt,
    AttemptState,
    Confidence,
    Judgement,
    LedgerState,
    Phase,
    Saga,
    Step,
    Verdict,
)
from sagascope_collector.attention_codes import AttentionCode


class RecommendedAction(StrEnum):
    """The kinds of actions."""

    RESUME = "resume"
    """Let the saga continue: an idempotency key protects work that may have run, or the engine continues by itself."""
    COMPENSATE = "compensate"
    """Compensate the committed steps."""
    VERIFY_FIRST = "verify_first"
    """Verify what took effect before anything is repeated or compensated."""


UNDECIDABLE_REASONS: Final = frozenset(
    {AttentionCode.APPLIED_TWICE, AttentionCode.MIXED_OUTCOME, AttentionCode.IN_DOUBT}
)
"""Reasons for which telemetry alone cannot show the correct action."""

COMPENSATION_REASONS: Final = frozenset({AttentionCode.COMPENSATION_FAILED, AttentionCode.UNCOMPENSATED})

STATES_AT_RISK: Final = frozenset(
    {
        LedgerState.COMMITTED,
        LedgerState.COMPENSATING,
        LedgerState.COMPENSATION_FAILED,
        LedgerState.COMPENSATION_UNKNOWN,
        LedgerState.UNKNOWN,
    }
)


class LookUp(NamedTuple):
    """Work whose effect is to be looked up at a service; `attempt` is None where its start was not received."""

    step: str | None
    service: str | None
    attempt: Attempt | None


def recommended_action(saga: Saga, judgement: Judgement) -> RecommendedAction:
    """Returns the recommended action for a saga that needs attention."""
    verdict = judgement.verdict
    if verdict is None or verdict.reason in UNDECIDABLE_REASONS:
        return RecommendedAction.VERIFY_FIRST
    if verdict.reason is AttentionCode.BLOCKED:
        return RecommendedAction.RESUME
    if any(not each.idempotency_key for each in _undecided(saga, verdict)):
        return RecommendedAction.VERIFY_FIRST
    if verdict.reason in COMPENSATION_REASONS or verdict.phase is Phase.COMPENSATION:
        is_doubtful = verdict.confidence is Confidence.POSSIBLE
        return RecommendedAction.VERIFY_FIRST if is_doubtful else RecommendedAction.COMPENSATE
    if verdict.reason is AttentionCode.NEVER_CLOSED or _has_key(saga, verdict):
        return RecommendedAction.RESUME
    return RecommendedAction.VERIFY_FIRST


def look_ups(saga: Saga, judgement: Judgement) -> tuple[LookUp, ...]:
    """Returns the work to look up, and where: unknown outcomes, else steps to compensate, else the last attempt."""
    verdict = judgement.verdict
    if verdict is None:
        return ()
    if undecided := _undecided(saga, verdict):
        return tuple(LookUp(verdict.step, each.process.service, each) for each in undecided)
    if verdict.reason is AttentionCode.APPLIED_TWICE:
        found = tuple(_committed(saga, verdict.step))
    elif verdict.reason in COMPENSATION_REASONS or verdict.phase is Phase.COMPENSATION:
        found = tuple(_at_risk(saga))
    else:
        found = tuple(_last_attempt(each) for each in saga.steps if each.name == verdict.step and each.attempts)
    return found or (LookUp(verdict.step, verdict.service, None),)


def _undecided(saga: Saga, verdict: Verdict) -> list[Attempt]:
    """Returns the attempts at the step of the verdict, or at its compensation, whose effect is unknown."""
    return [
        each
        for step in saga.steps
        if step.name == verdict.step or (step.compensates is not None and step.compensates == verdict.step)
        for each in step.attempts
        if each.state in (AttemptState.IN_FLIGHT, AttemptState.UNKNOWN)
    ]


def _has_key(saga: Saga, verdict: Verdict) -> bool:
    """Returns whether continuing is harmless: the step of the verdict was attempted with an idempotency key."""
    attempts = [each for step in saga.steps if step.name == verdict.step for each in step.attempts]
    return any(each.idempotency_key for each in attempts)


def _committed(saga: Saga, step: str | None) -> Iterator[LookUp]:
    """Returns the successful attempts at a step and at its compensation."""
    for each in saga.steps:
        if step in (each.name, each.compensates):
            succeeded = (attempt for attempt in each.attempts if attempt.state is AttemptState.OK)
            yield from (LookUp(each.name, attempt.process.service, attempt) for attempt in succeeded)


def _at_risk(saga: Saga) -> Iterator[LookUp]:
    """Returns the work that is or may be committed, and the last attempt to compensate it."""
    names = {each.step for each in saga.ledger if each.state in STATES_AT_RISK}
    steps = (each for each in saga.steps if each.attempts and (each.name in names or each.compensates in names))
    return map(_last_attempt, steps)


def _last_attempt(step: Step) -> LookUp:
    attempt = step.attempts[-1]
    return LookUp(step.name, attempt.process.service, attempt)
