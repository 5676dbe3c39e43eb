"""Evaluates captured telemetry: runs all checks, and derives which attention codes it can support."""

from typing import Final

from sagascope import semconv
from sagascope_collector.conformance.attribute_checks import ATTRIBUTE_CHECKS, PLAN_CHECKS, RESOURCE_CHECKS
from sagascope_collector.conformance.capture import Capture
from sagascope_collector.conformance.context_checks import CONTEXT_CHECKS
from sagascope_collector.conformance.liveness_checks import HEARTBEAT_CHECKS, START_RECORD_CHECKS
from sagascope_collector.conformance.report import Claim, Level, Report, Verdict

CHECKS: Final = (
    *RESOURCE_CHECKS,
    *ATTRIBUTE_CHECKS,
    *PLAN_CHECKS,
    *CONTEXT_CHECKS,
    *START_RECORD_CHECKS,
    *HEARTBEAT_CHECKS,
)
"""All checks, in the order of the report."""

CERTAIN, LIKELY, POSSIBLE, NEVER = "certain", "likely", "possible", "never"

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


def _claims(capture: Capture, level: Level) -> list[Claim]:
    """Returns a claim for each attention code, in order of precedence."""
    if level is Level.NOTHING:
        return []
    return [
        _applied_twice(capture),
        _compensation_failed(capture),
        _uncompensated(capture, level),
        _in_doubt(capture, level),
        _instance_lost(level),
        _retrying(capture),
        _hung(level),
        _missing_progress("next_step_missing", capture, level),
        _missing_progress("never_closed", capture, level),
    ]


def _step_types(capture: Capture) -> set[object]:
    return {each.attributes.get(semconv.STEP_TYPE, semconv.TYPE_ACTION) for each in capture.attempts}


def _claim(attention: str, confidence: str, why: str) -> Claim:
    return Claim(attention=attention, confidence=confidence, why=why)


def _applied_twice(capture: Capture) -> Claim:
    if not any(capture.attempts):
        return _claim("applied_twice", NEVER, "no span has saga.role = step")
    return _claim("applied_twice", CERTAIN, "ended attempts have a step name, a key and an attempt number")


def _compensation_failed(capture: Capture) -> Claim:
    if semconv.TYPE_COMPENSATION not in _step_types(capture):
        return _claim("compensation_failed", NEVER, "no attempt has saga.step.type = compensation")
    return _claim("compensation_failed", CERTAIN, "ended compensations report success or failure")


def _uncompensated(capture: Capture, level: Level) -> Claim:
    if not any(semconv.PLAN_COMPENSATIONS in each.attributes for each in capture.spans):
        return _claim("uncompensated", LIKELY, f"{NEEDS_LEARNED_PLAN}: no plan names a compensation")
    return _claim("uncompensated", LIKELY, _rests_on_absence(level))


def _in_doubt(capture: Capture, level: Level) -> Claim:
    if semconv.TYPE_PREPARE not in _step_types(capture):
        return _claim("in_doubt", NEVER, "no attempt has saga.step.type = prepare")
    return _claim("in_doubt", LIKELY, _rests_on_absence(level))


def _instance_lost(level: Level) -> Claim:
    if level is not Level.HEARTBEATS:
        why = "without heartbeats a lost process and an idle one look the same"
        return _claim("instance_lost", NEVER, why)
    return _claim("instance_lost", CERTAIN, "after a final heartbeat; likely when heartbeats stop without one")


def _retrying(capture: Capture) -> Claim:
    if not any(semconv.STEP_ATTEMPT in each.attributes for each in capture.attempts):
        return _claim("retrying", NEVER, "no attempt has saga.step.attempt")
    return _claim("retrying", CERTAIN, "failed attempts end, and have numbers")


def _hung(level: Level) -> Claim:
    if level is Level.ENDS:
        return _claim("hung", NEVER, "an attempt is not reported until it ends")
    if level is Level.STARTS:
        return _claim("hung", POSSIBLE, "starts are reported, but not whether the process is alive")
    return _claim("hung", CERTAIN, "starts are reported, and heartbeats list what is open")


def _missing_progress(attention: str, capture: Capture, level: Level) -> Claim:
    if not any(semconv.PLAN in each.attributes for each in capture.spans):
        why = f"{NEEDS_LEARNED_PLAN}, or for an announced retry: no root span has saga.plan"
        return _claim(attention, LIKELY, why)
    return _claim(attention, LIKELY, _rests_on_absence(level))


def _rests_on_absence(level: Level) -> str:
    if level is Level.HEARTBEATS:
        return "it rests on an absence, and heartbeats show that the service reports"
    return "it rests on an absence; only possible if the service reports nothing else"
