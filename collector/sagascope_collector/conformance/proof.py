"""What this telemetry can prove: which reasons for attention can be said, and how surely."""

from sagascope import semconv
from sagascope_collector.conformance.heard import Heard
from sagascope_collector.conformance.report import Claim, Level

CERTAIN, LIKELY, POSSIBLE, NEVER = "certain", "likely", "possible", "never"

LEARNED = "only once a plan is learned from finished sagas"


def level(heard: Heard) -> Level:
    """How much it tells of work that has not ended."""
    starts = any(heard.starts) or any(not each.end for each in heard.spans)
    if any(heard.beats) and starts:
        return Level.HEARTBEATS
    if starts:
        return Level.STARTS
    return Level.ENDS if any(heard.marked) else Level.NOTHING


def claims(heard: Heard, told: Level) -> list[Claim]:
    """Every reason for attention, in the order in which the contract ranks them."""
    if told is Level.NOTHING:
        return []
    return [
        _applied_twice(heard),
        _compensation_failed(heard),
        _uncompensated(heard, told),
        _in_doubt(heard, told),
        _instance_lost(told),
        _retrying(heard),
        _hung(told),
        _absence("next_step_missing", heard, told),
        _absence("never_closed", heard, told),
    ]


def _types(heard: Heard) -> set[object]:
    return {each.attributes.get(semconv.STEP_TYPE, semconv.TYPE_ACTION) for each in heard.attempts}


def _claim(attention: str, confidence: str, why: str) -> Claim:
    return Claim(attention=attention, confidence=confidence, why=why)


def _applied_twice(heard: Heard) -> Claim:
    if not any(heard.attempts):
        return _claim("applied_twice", NEVER, "no span has saga.role = step")
    return _claim("applied_twice", CERTAIN, "ended attempts name their step, key and number")


def _compensation_failed(heard: Heard) -> Claim:
    if semconv.TYPE_COMPENSATION not in _types(heard):
        return _claim("compensation_failed", NEVER, "as long as no attempt with saga.step.type = compensation comes")
    return _claim("compensation_failed", CERTAIN, "compensations end, and say whether they failed")


def _uncompensated(heard: Heard, told: Level) -> Claim:
    if not any(semconv.PLAN_COMPENSATIONS in each.attributes for each in heard.spans):
        return _claim("uncompensated", LIKELY, f"{LEARNED}: no plan names a compensation")
    return _claim("uncompensated", LIKELY, _heard(told))


def _in_doubt(heard: Heard, told: Level) -> Claim:
    if semconv.TYPE_PREPARE not in _types(heard):
        return _claim("in_doubt", NEVER, "as long as no attempt with saga.step.type = prepare comes")
    return _claim("in_doubt", LIKELY, _heard(told))


def _instance_lost(told: Level) -> Claim:
    if told is not Level.HEARTBEATS:
        return _claim(
            "instance_lost", NEVER, "without heartbeats a process that is gone cannot be told from a silent one"
        )
    return _claim("instance_lost", CERTAIN, "after a final heartbeat; likely where a process fell silent")


def _retrying(heard: Heard) -> Claim:
    if not any(semconv.STEP_ATTEMPT in each.attributes for each in heard.attempts):
        return _claim("retrying", NEVER, "no attempt has a number: saga.step.attempt")
    return _claim("retrying", CERTAIN, "failed attempts end, and have numbers")


def _hung(told: Level) -> Claim:
    if told is Level.ENDS:
        return _claim("hung", NEVER, "an attempt that has not ended is not seen at all")
    if told is Level.STARTS:
        return _claim("hung", POSSIBLE, "what has begun is seen; whether its process lives is not")
    return _claim("hung", CERTAIN, "what has begun is seen, and heartbeats list what is still open")


def _absence(attention: str, heard: Heard, told: Level) -> Claim:
    if not any(semconv.PLAN in each.attributes for each in heard.spans):
        return _claim(attention, LIKELY, f"{LEARNED}, or where a retry was promised: no root span has saga.plan")
    return _claim(attention, LIKELY, _heard(told))


def _heard(told: Level) -> str:
    if told is Level.HEARTBEATS:
        return "it rests on an absence, and heartbeats tell that the service is heard"
    return "it rests on an absence; only possible where nothing else is heard of the service"
