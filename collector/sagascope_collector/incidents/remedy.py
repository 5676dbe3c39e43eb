"""What is to be done with one saga that stands still, by what was received of it. Pure."""

from enum import StrEnum

from sagascope_collector.sagas.model import Attempt, AttemptState, Confidence, Judgement, Phase, Reason, Saga, Verdict


class Remedy(StrEnum):
    """The kinds of what can be done."""

    RESUME = "resume"
    """Let it go on where it stands: what may have been done already is protected by an idempotency key."""
    UNDO = "undo"
    """Undo what is in force."""
    VERIFY_FIRST = "verify_first"
    """Find out what was done, before anything is done again or undone."""


UNSURE = frozenset({Reason.APPLIED_TWICE, Reason.IN_DOUBT})
"""Reasons for which nobody can say from telemetry what is right."""

UNDOING = frozenset({Reason.COMPENSATION_FAILED, Reason.UNCOMPENSATED})


def remedy(saga: Saga, judgement: Judgement) -> Remedy:
    """What to do with a saga that needs someone."""
    verdict = judgement.verdict
    if verdict is None or verdict.reason in UNSURE:
        return Remedy.VERIFY_FIRST
    if any(not each.idempotency_key for each in undecided(saga, verdict)):
        return Remedy.VERIFY_FIRST
    if verdict.reason in UNDOING or verdict.phase is Phase.COMPENSATION:
        return Remedy.VERIFY_FIRST if verdict.confidence is Confidence.POSSIBLE else Remedy.UNDO
    if verdict.reason is Reason.NEVER_CLOSED or _has_key(saga, verdict):
        return Remedy.RESUME
    return Remedy.VERIFY_FIRST


def undecided(saga: Saga, verdict: Verdict) -> list[Attempt]:
    """The attempts at the step of the verdict whose effect is not known."""
    open_ = (AttemptState.IN_FLIGHT, AttemptState.UNKNOWN)
    return [each for step in saga.steps if step.name == verdict.step for each in step.attempts if each.state in open_]


def _has_key(saga: Saga, verdict: Verdict) -> bool:
    """Whether going on is harmless: by the keys of the step where it was tried, else by those of what came before."""
    attempts = [each for step in saga.steps for each in step.attempts]
    tried = [each for step in saga.steps if step.name == verdict.step for each in step.attempts]
    return any(each.idempotency_key for each in tried or attempts)
