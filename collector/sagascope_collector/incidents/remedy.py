"""The action that is recommended for one saga that needs attention, from what was received of it. Pure."""

from enum import StrEnum

from sagascope_collector.analysis.model import (
    Attempt,
    AttemptState,
    Confidence,
    Judgement,
    Phase,
    Reason,
    Saga,
    Verdict,
)


class RecommendedAction(StrEnum):
    """The kinds of what can be done."""

    RESUME = "resume"
    """Let it continue: an idempotency key protects what may have been executed, or its engine continues by itself."""
    COMPENSATE = "compensate"
    """Compensate what is committed."""
    VERIFY_FIRST = "verify_first"
    """Find out what took effect, before anything is repeated or compensated."""


UNDECIDABLE = frozenset({Reason.APPLIED_TWICE, Reason.MIXED_OUTCOME, Reason.IN_DOUBT})
"""Reasons for which telemetry alone cannot show what is right."""

COMPENSATING = frozenset({Reason.COMPENSATION_FAILED, Reason.UNCOMPENSATED})


def recommended_action(saga: Saga, judgement: Judgement) -> RecommendedAction:
    """What to do with a saga that needs attention."""
    verdict = judgement.verdict
    if verdict is None or verdict.reason in UNDECIDABLE:
        return RecommendedAction.VERIFY_FIRST
    if verdict.reason is Reason.BLOCKED:
        return RecommendedAction.RESUME
    if any(not each.idempotency_key for each in undecided(saga, verdict)):
        return RecommendedAction.VERIFY_FIRST
    if verdict.reason in COMPENSATING or verdict.phase is Phase.COMPENSATION:
        is_doubtful = verdict.confidence is Confidence.POSSIBLE
        return RecommendedAction.VERIFY_FIRST if is_doubtful else RecommendedAction.COMPENSATE
    if verdict.reason is Reason.NEVER_CLOSED or _has_key(saga, verdict):
        return RecommendedAction.RESUME
    return RecommendedAction.VERIFY_FIRST


def undecided(saga: Saga, verdict: Verdict) -> list[Attempt]:
    """The attempts at the step of the verdict, or at its compensation, whose effect is unknown."""
    open_ = (AttemptState.IN_FLIGHT, AttemptState.UNKNOWN)
    return [
        each
        for step in saga.steps
        if step.name == verdict.step or (step.compensates is not None and step.compensates == verdict.step)
        for each in step.attempts
        if each.state in open_
    ]


def _has_key(saga: Saga, verdict: Verdict) -> bool:
    """Whether continuing is harmless: the step of the verdict was attempted with an idempotency key."""
    attempts = [each for step in saga.steps if step.name == verdict.step for each in step.attempts]
    return any(each.idempotency_key for each in attempts)
