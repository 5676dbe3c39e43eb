"""Evaluates captured telemetry: runs all checks, and derives which attention codes it can support."""

from typing import Final

from sagascope import semconv
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.conformance.attribute_checks import ATTRIBUTES, PLAN, RESOURCE
from sagascope_collector.conformance.capture import Capture
from sagascope_collector.conformance.context_checks import CONTEXT
from sagascope_collector.conformance.liveness_checks import HEARTBEATS, START_RECORDS
from sagascope_collector.conformance.report import Level, Report, SupportedCode, Verdict

CHECKS: Final = tuple(
    check for section in (RESOURCE, ATTRIBUTES, PLAN, CONTEXT, START_RECORDS, HEARTBEATS) for check in section.checks
)
"""All checks, in the order of the report."""

CERTAIN, LIKELY, POSSIBLE, NEVER = "certain", "likely", "possible", "never"

Claims = dict[AttentionCode, tuple[str, str]]
"""The highest confidence of each code, and why."""

NEEDS_LEARNED_PLAN: Final = "only after a plan is learned from finished sagas"


def evaluate(capture: Capture) -> Report:
    """Runs all checks. An emitter that sent no record of any saga is not conformant."""
    points = [check.run(capture) for check in CHECKS]
    sagas = {str(each.attributes[semconv.SAGA_ID]) for each in capture.saga_records}
    level = _level(capture)
    return Report(
        conformant=bool(sagas) and not any(each.verdict is Verdict.FAILED for each in points),
        level=level,
        spans=len(capture.spans),
        logs=len(capture.logs),
        sagas=len(sagas),
        points=points,
        claims=_claims(capture, level),
    )


def _level(capture: Capture) -> Level:
    has_starts = any(capture.start_records) or any(not each.end for each in capture.spans)
    if any(capture.heartbeats) and has_starts:
        return Level.HEARTBEATS
    if has_starts:
        return Level.STARTS
    return Level.ENDS if any(capture.saga_records) else Level.NOTHING


def _claims(capture: Capture, level: Level) -> list[SupportedCode]:
    """Returns a claim for each attention code, in order of precedence."""
    if level is Level.NOTHING:
        return []
    claims = (
        _of_ended_attempts(capture)
        | _of_two_phase_commit(capture, level)
        | _of_open_work(level)
        | _of_plans(capture, level)
        | _of_obstacles(capture)
    )
    known = ((code, *claims[code]) for code in AttentionCode if code in claims)
    return [SupportedCode(attention=code, confidence=confidence, why=why) for code, confidence, why in known]


def _of_ended_attempts(capture: Capture) -> Claims:
    attempts = list(capture.attempts)
    numbered = any(semconv.STEP_ATTEMPT in each.attributes for each in attempts)
    compensating = semconv.TYPE_COMPENSATION in _step_types(capture)
    return {
        AttentionCode.APPLIED_TWICE: (CERTAIN, "ended attempts have a step name, a key and an attempt number")
        if attempts
        else (NEVER, "no span has saga.role = step"),
        AttentionCode.COMPENSATION_FAILED: (CERTAIN, "ended compensations report success or failure")
        if compensating
        else (NEVER, "no attempt has saga.step.type = compensation"),
        AttentionCode.RETRYING: (CERTAIN, "failed attempts end, and have numbers")
        if numbered
        else (NEVER, "no attempt has saga.step.attempt"),
    }


def _of_two_phase_commit(capture: Capture, level: Level) -> Claims:
    types = _step_types(capture)
    return {
        AttentionCode.MIXED_OUTCOME: (
            CERTAIN,
            "ended attempts report which participant committed and which rolled back",
        )
        if types >= {semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK}
        else (NEVER, "no attempts have saga.step.type = commit and rollback"),
        AttentionCode.IN_DOUBT: (LIKELY, _rests_on_absence(level))
        if semconv.TYPE_PREPARE in types
        else (NEVER, "no attempt has saga.step.type = prepare"),
    }


def _of_open_work(level: Level) -> Claims:
    lost = (NEVER, "without heartbeats a lost process and an idle one look the same")
    hung = (NEVER, "an attempt is not reported until it ends")
    if level is Level.STARTS:
        hung = (POSSIBLE, "starts are reported, but not whether the process is alive")
    if level is Level.HEARTBEATS:
        lost = (CERTAIN, "after a final heartbeat; likely when heartbeats stop without one")
        hung = (CERTAIN, "starts are reported, and heartbeats list what is open")
    return {AttentionCode.INSTANCE_LOST: lost, AttentionCode.HUNG: hung}


def _of_plans(capture: Capture, level: Level) -> Claims:
    absence = (LIKELY, _rests_on_absence(level))
    planned = any(semconv.PLAN in each.attributes for each in capture.spans)
    compensable = any(semconv.PLAN_COMPENSATIONS in each.attributes for each in capture.spans)
    missing = (LIKELY, f"{NEEDS_LEARNED_PLAN}, or for an announced retry: no root span has saga.plan")
    return {
        AttentionCode.UNCOMPENSATED: absence
        if compensable
        else (LIKELY, f"{NEEDS_LEARNED_PLAN}: no plan names a compensation"),
        AttentionCode.NEXT_STEP_MISSING: absence if planned else missing,
        AttentionCode.NEVER_CLOSED: absence if planned else missing,
    }


def _of_obstacles(capture: Capture) -> Claims:
    reported = any(each.attributes.get(semconv.BLOCKED_CAUSE) for each in capture.logs)
    never = (NEVER, f"no {semconv.EVENT_WAITING} record has {semconv.BLOCKED_CAUSE}")
    return {AttentionCode.BLOCKED: (CERTAIN, "the sender reports what it cannot get past") if reported else never}


def _step_types(capture: Capture) -> set[object]:
    return {each.attributes.get(semconv.STEP_TYPE, semconv.TYPE_ACTION) for each in capture.attempts}


def _rests_on_absence(level: Level) -> str:
    if level is Level.HEARTBEATS:
        return "it rests on an absence, and heartbeats show that the service reports"
    return "it rests on an absence; only possible if the service reports nothing else"
