"""One saga that needs attention: the cause of its incident, its recommended action, and what to verify. Pure."""

import hashlib
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from sagascope_collector.analysis.diagnosis import Diagnosis, Verdict
from sagascope_collector.analysis.model import (
    IN_EFFECT_STATES,
    TWO_PHASE_TYPES,
    Attempt,
    AttemptState,
    Confidence,
    Failure,
    Phase,
    Saga,
    Step,
    StepState,
)
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.incident_records import AmountAtRisk, IncidentSaga

MAX_MESSAGE_CHARACTERS: Final = 2_000
"""Maximum number of characters of a message in a fingerprint; later characters distinguish no causes."""

MAX_FINGERPRINT_CHARACTERS: Final = 200

_STRIPPED: Final = (
    ("url", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s\"'<>)\]]+"),
    ("email", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("uuid", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("time", r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("time", r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b"),
    ("address", r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"),
    ("address", r"\[[0-9a-fA-F]*:[0-9a-fA-F:.]*\](?::\d{1,5})?"),
    ("address", r"\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b"),
    ("address", r"\b[a-zA-Z][\w-]*(?:\.[\w-]+)*:\d{2,5}\b"),
    ("address", r"\b0[xX][0-9a-fA-F]+\b"),
    ("path", r"(?<![\w<>])(?:[a-zA-Z]:)?(?:[\\/][\w.@+~-]+){2,}[\\/]?"),
    ("hex", r"\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b"),
    ("kept", r"\b(?i:http(?:/[\d.]+)?|status(?: code)?)[ =:]{1,3}[1-5]\d\d\b"),
    ("number", r"(?<![\w.])[+-]?\d[\d_]*(?:[.,]\d+)*(?:%|(?i:ms|us|ns|s|m|h|kb|mb|gb|kib|mib|gib|b)\b)?(?![\w-])"),
    ("id", r"\b[\w-]*\d[\w-]*\b"),
)
"""Patterns of replaced text, by kind; the first pattern that matches at a position applies."""

_STRIP: Final = re.compile("|".join(f"(?P<{kind}_{index}>{form})" for index, (kind, form) in enumerate(_STRIPPED)))
_REPEATED: Final = re.compile(r"(<\w+>)(?:[\s,;]+\1)+")
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def fingerprint(error_type: str | None, message: str | None) -> str:
    """Returns the common part of all errors with one cause; ``""`` if there is no error.

    Ids, numbers, UUIDs, times, paths and addresses are replaced by their kind. An HTTP status stays: 404 and 503
    have different causes.
    """
    first_line = _ANSI.sub("", message or "")[:MAX_MESSAGE_CHARACTERS].lstrip().partition("\n")[0]
    text = _SPACE.sub(" ", _STRIP.sub(_kind, first_line)).strip()
    parts = [part for part in (error_type or "", _REPEATED.sub(r"\1", text)) if part]
    return ": ".join(parts)[:MAX_FINGERPRINT_CHARACTERS]


def _kind(found: re.Match[str]) -> str:
    kind = (found.lastgroup or "").partition("_")[0]
    return found.group() if kind == "kept" else f"<{kind}>"


KEY_DIGITS: Final = 16

MAX_ERROR_CHARACTERS: Final = 500
"""Maximum number of characters of an error outside the saga's own page."""


class Cause(NamedTuple):
    """The cause that all sagas of one incident share."""

    environment: str
    name: str
    step: str
    phase: str
    reason: str
    fingerprint: str

    @property
    def key(self) -> str:
        """The incident's key, which is the same for the same cause at any time and on any collector."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:KEY_DIGITS]


def cause(saga: Saga, diagnosis: Diagnosis) -> Cause | None:
    """Returns the cause for which a saga needs attention; None if it does not need attention."""
    verdict, error = diagnosis.verdict, diagnosis.error
    if verdict is None:
        return None
    return Cause(
        saga.key.environment,
        saga.key.name,
        verdict.step or "",
        verdict.phase.value,
        verdict.reason.value,
        fingerprint(error.type, error.message) if error else "",
    )


def incident_saga(saga: Saga, diagnosis: Diagnosis) -> IncidentSaga | None:
    """Returns a saga's contribution to its incident; None if it does not need attention."""
    verdict, why = diagnosis.verdict, cause(saga, diagnosis)
    if verdict is None or why is None:
        return None
    return IncidentSaga(
        incident=why.key,
        step=why.step,
        service=verdict.service or "",
        phase=why.phase,
        reason=why.reason,
        fingerprint=why.fingerprint,
        error=error_text(diagnosis.error),
        recommended_action=recommended_action(saga, diagnosis).value,
        since=verdict.since,
        amounts=tuple(AmountAtRisk(each.currency, each.certain, each.possible) for each in saga.amount_at_risk),
    )


def error_text(error: Failure | None) -> str:
    """Returns the type and message of an error, cut to `MAX_ERROR_CHARACTERS`; ``""`` if there is none."""
    parts = [part for part in (error.type, error.message) if part] if error else []
    return ": ".join(parts)[:MAX_ERROR_CHARACTERS]


class RecommendedAction(StrEnum):
    """The kinds of actions."""

    RESUME = "resume"
    """Let the saga continue: an idempotency key protects work that may have run, or the engine continues by itself."""
    COMPENSATE = "compensate"
    """Compensate the committed steps."""
    VERIFY_FIRST = "verify_first"
    """Verify what took effect before anything is repeated or compensated."""


class Verification(NamedTuple):
    """Work whose effect is to be looked up at a service; `attempt` is None where its start was not received."""

    step: str | None
    service: str | None
    attempt: Attempt | None


def recommended_action(saga: Saga, diagnosis: Diagnosis) -> RecommendedAction:
    """Returns the recommended action for a saga that needs attention."""
    verdict = diagnosis.verdict
    if verdict is None or verdict.reason.remedy == "verify" or saga.other_run is not None:
        return RecommendedAction.VERIFY_FIRST
    if verdict.reason.remedy == "unblock":
        return RecommendedAction.VERIFY_FIRST if verdict.verifies_first else RecommendedAction.RESUME
    if any(not each.idempotency_key for each in _undecided(saga, verdict)):
        return RecommendedAction.VERIFY_FIRST
    if _is_compensation_due(verdict) and verdict.reason is not AttentionCode.RETRYING:
        return _of_compensation(saga, verdict)
    is_closed = verdict.reason.remedy == "close"
    is_harmless = not verdict.verifies_first if is_closed else _has_key(saga, verdict)
    return RecommendedAction.RESUME if is_harmless else RecommendedAction.VERIFY_FIRST


def _of_compensation(saga: Saga, verdict: Verdict) -> RecommendedAction:
    """Returns the action for a saga whose steps are to be compensated; nothing is, where none is in effect."""
    if any(each.state in IN_EFFECT_STATES for each in saga.ledger):
        is_doubtful = verdict.confidence is Confidence.POSSIBLE or saga.passed_pivot is not None
        return RecommendedAction.VERIFY_FIRST if is_doubtful else RecommendedAction.COMPENSATE
    return RecommendedAction.VERIFY_FIRST if verdict.verifies_first else RecommendedAction.RESUME


def _is_compensation_due(verdict: Verdict) -> bool:
    return verdict.reason.remedy == "compensate" or verdict.phase is Phase.COMPENSATION


def verifications(saga: Saga, diagnosis: Diagnosis) -> tuple[Verification, ...]:
    """Returns the work to look up, and where.

    Of a two-phase commit, every participant; else unknown outcomes, else steps to compensate, else the last attempt.
    """
    verdict = diagnosis.verdict
    if verdict is None:
        return ()
    if verdict.reason in (AttentionCode.MIXED_OUTCOME, AttentionCode.IN_DOUBT):
        return tuple(_participants(saga))
    if undecided := _undecided(saga, verdict):
        return tuple(Verification(verdict.step, each.process.service, each) for each in undecided)
    if verdict.reason is AttentionCode.APPLIED_TWICE:
        found = tuple(_committed(saga, verdict.step))
    elif _is_compensation_due(verdict):
        found = tuple(_at_risk(saga))
    else:
        found = tuple(_last_attempt(each) for each in saga.steps if each.name == verdict.step and each.attempts)
    return found or (Verification(verdict.step, verdict.service, None),)


def _participants(saga: Saga) -> Iterator[Verification]:
    """Returns the last attempt at each participant of a two-phase commit, and planned steps that may be others."""
    participants: dict[tuple[str, str], list[Step]] = {}
    for each in saga.steps:
        if each.type in TWO_PHASE_TYPES and each.attempts:
            participants.setdefault((each.name, each.key), []).append(each)
    for steps in participants.values():
        yield _last_attempt(max(steps, key=lambda step: step.attempts[-1].called_at))
    if saga.may_have_other_participants:
        yield from (Verification(each.name, None, None) for each in saga.steps if each.state is StepState.NOT_SEEN)


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
    """Returns whether continuing is harmless: the step of the verdict was attempted with an idempotency key.

    Where items of the step are not done, only theirs count: the key of another item protects nothing.
    """
    steps = [step for step in saga.steps if step.name == verdict.step and step.attempts]
    left = [step for step in steps if not step.is_done] or steps
    return any(each.idempotency_key for step in left for each in step.attempts)


def _committed(saga: Saga, step: str | None) -> Iterator[Verification]:
    """Returns the successful attempts at a step and at its compensation."""
    for each in saga.steps:
        if step in (each.name, each.compensates):
            succeeded = (attempt for attempt in each.attempts if attempt.state is AttemptState.OK)
            yield from (Verification(each.name, attempt.process.service, attempt) for attempt in succeeded)


def _at_risk(saga: Saga) -> Iterator[Verification]:
    """Returns the work that is or may be committed, and the last attempt to compensate it."""
    ledger = {(each.step, each.key): each.state in IN_EFFECT_STATES for each in saga.ledger}
    names = {step for (step, _), is_in_effect in ledger.items() if is_in_effect}

    def is_at_risk(step: Step) -> bool:
        name = step.name if step.name in names else step.compensates
        return name in names and ledger.get((name or "", step.key), True)

    return (_last_attempt(each) for each in saga.steps if each.attempts and is_at_risk(each))


def _last_attempt(step: Step) -> Verification:
    attempt = step.attempts[-1]
    return Verification(step.name, attempt.process.service, attempt)
