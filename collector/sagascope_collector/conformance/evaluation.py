"""Evaluates captured telemetry: all checks, the attention codes that it can support, and what each service lacks."""

from collections.abc import Callable
from typing import Any, Final

from sagascope import semconv
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.conformance.capture import Capture
from sagascope_collector.conformance.liveness_checks import HEARTBEATS, START_RECORDS
from sagascope_collector.conformance.record_checks import ATTRIBUTES, CONTEXT, PLAN, RESOURCE
from sagascope_collector.conformance.report import Gap, Level, Report, ServiceGaps, SupportedCode, Verdict

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
        services=[_gaps(name, capture) for name in sorted({each.origin.service for each in capture.saga_records})],
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


# --- what each service cannot prove yet ---------------------------------------------------------------

MAX_PLANNED_STEPS: Final = 5
"""Steps that a proposed plan names; the reader adds further ones."""

Lines = list[str]

_ATTRIBUTE_FORMATS: Final[dict[str, str]] = {
    "python": "span.set_attribute({name}, {value})",
    "nodejs": "span.setAttribute({name}, {value});",
    "webjs": "span.setAttribute({name}, {value});",
    "java": "span.setAttribute({name}, {value});",
    "go": "span.SetAttributes(attribute.{kind}({name}, {value}))",
    "dotnet": "activity?.SetTag({name}, {value});",
}
"""How a language sets an attribute, by ``telemetry.sdk.language``."""

_STEP_LINES: Final[dict[str, Lines]] = {
    "python": [
        "sagascope.install()  # after OpenTelemetry is configured",
        'with sagascope.Saga("{saga}").begin(saga_id) as saga, saga.step("{step}"):',
    ],
    "nodejs": ["const sagas = new Sagas({{ resource }});", "await sagas.step('{step}', {{}}, work);"],
    "go": [
        "sagas := saga.New(saga.Options{{Service: service}})",
        'err := sagas.Step(ctx, "{step}", saga.Attempt{{}}, work)',
    ],
}
"""How a step is opened with our code for a language, which reports it while it is open; `docs/languages.md`."""

_LIVENESS_RECORDS: Final = [
    f"a log record {semconv.EVENT_SPAN_START} for each saga span that is open after 0.25 s",
    f"a log record {semconv.EVENT_HEARTBEAT} every 5 s while such a span is open, else every 60 s",
]


def _gaps(service: str, capture: Capture) -> ServiceGaps:
    own = Capture(
        spans=[each for each in capture.spans if each.origin.service == service],
        logs=[each for each in capture.logs if each.origin.service == service],
    )
    level = _level(own)
    claims = {each.attention: each for each in _claims(own, level)}
    gaps = [
        Gap(attention=[str(code) for code in codes], why=claims[codes[0]].why, lines=lines(own))
        for codes, is_open, lines in _HINTS
        if is_open(own, claims)
    ]
    return ServiceGaps(service=service, level=level, gaps=gaps)


def _language(own: Capture) -> str:
    found = (each.origin.resource.get("telemetry.sdk.language") for each in own.records)
    return next((str(each) for each in found if each), "")


def _set_attributes(own: Capture, *pairs: tuple[str, Any]) -> Lines:
    form = _ATTRIBUTE_FORMATS.get(_language(own), "{name} = {value}")
    kinds = {int: "Int", str: "String", list: "StringSlice"}
    return [form.format(name=f'"{name}"', value=_literal(own, value), kind=kinds[type(value)]) for name, value in pairs]


def _literal(own: Capture, value: Any) -> str:
    if not isinstance(value, list):
        return f'"{value}"' if isinstance(value, str) else str(value)
    items = ", ".join(f'"{each}"' for each in value)
    return {"go": f"[]string{{{items}}}", "java": f"List.of({items})", "dotnet": f"new[] {{ {items} }}"}.get(
        _language(own), f"[{items}]"
    )


def _steps(own: Capture) -> list[str]:
    """Returns the names of the steps that the first saga with a root span of this service executed, in order."""
    actions = [each for each in own.attempts if each.attributes.get(semconv.STEP_TYPE) != semconv.TYPE_COMPENSATION]
    names = [str(each.attributes.get(semconv.STEP_NAME)) for each in sorted(actions, key=lambda each: each.start)]
    return list(dict.fromkeys(names))[:MAX_PLANNED_STEPS] or ["first.step", "second.step"]


def _has_root(own: Capture) -> bool:
    return any(each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_SAGA for each in own.spans)


def _is_planned(own: Capture, attribute: str) -> bool:
    return any(attribute in each.attributes for each in own.spans)


def _liveness_lines(own: Capture) -> Lines:
    saga = next((str(name) for each in own.saga_records if (name := each.attributes.get(semconv.SAGA_NAME))), "payment")
    lines = _STEP_LINES.get(_language(own), _LIVENESS_RECORDS)
    return [line.format(saga=saga, step=_steps(own)[0]) for line in lines]


def _is_instrumented(own: Capture) -> bool:
    """Returns whether Sagascope's instrumentation for Python sends the telemetry."""
    return _language(own) == "python" and any(semconv.PROCESS_ID in each.origin.resource for each in own.records)


def _compensation_lines(own: Capture) -> Lines:
    step = _steps(own)[0]
    if _is_instrumented(own):
        return [f'with saga.compensation("{step}.compensate", compensates="{step}"):', "    ..."]
    return _set_attributes(own, (semconv.STEP_TYPE, semconv.TYPE_COMPENSATION), (semconv.STEP_COMPENSATES, step))


def _plan_lines(own: Capture, compensation: str = "") -> Lines:
    """Returns a plan of the observed steps; `compensation` is a placeholder for the name of each compensation."""
    steps = _steps(own)
    compensations = [compensation.format(step=step) for step in steps]
    if _is_instrumented(own):
        named = zip(steps, compensations, strict=True)
        planned = ", ".join(f'Step("{step}", compensation="{name}")' if name else f'"{step}"' for step, name in named)
        return [f"saga_type = Saga(name, [{planned}])", "with saga_type.begin(saga_id) as saga:"]
    return _set_attributes(own, (semconv.PLAN, steps), (semconv.PLAN_COMPENSATIONS, compensations))


Hint = tuple[tuple[AttentionCode, ...], Callable[[Capture, dict[str, SupportedCode]], bool], Callable[[Capture], Lines]]
"""Attention codes, whether a service cannot prove them yet, and the two lines that change it."""

_HINTS: Final[tuple[Hint, ...]] = (
    (
        (AttentionCode.HUNG, AttentionCode.INSTANCE_LOST),
        lambda own, claims: claims[AttentionCode.HUNG].confidence != CERTAIN,
        _liveness_lines,
    ),
    (
        (AttentionCode.APPLIED_TWICE,),
        lambda own, claims: claims[AttentionCode.APPLIED_TWICE].confidence == NEVER,
        lambda own: _set_attributes(own, (semconv.SAGA_ROLE, semconv.ROLE_STEP), (semconv.STEP_NAME, "wallet.debit")),
    ),
    (
        (AttentionCode.RETRYING,),
        lambda own, claims: claims[AttentionCode.RETRYING].confidence == NEVER,
        lambda own: _set_attributes(own, (semconv.STEP_ATTEMPT, 1), (semconv.STEP_MAX_ATTEMPTS, 3)),
    ),
    (
        (AttentionCode.NEXT_STEP_MISSING, AttentionCode.NEVER_CLOSED),
        lambda own, claims: _has_root(own) and not _is_planned(own, semconv.PLAN),
        _plan_lines,
    ),
    (
        (AttentionCode.UNCOMPENSATED,),
        lambda own, claims: _has_root(own) and not _is_planned(own, semconv.PLAN_COMPENSATIONS),
        lambda own: _plan_lines(own, "<compensation of {step}>"),
    ),
    (
        (AttentionCode.COMPENSATION_FAILED,),
        lambda own, claims: claims[AttentionCode.COMPENSATION_FAILED].confidence == NEVER,
        _compensation_lines,
    ),
)
