"""The diagnosis of a saga at one moment, for every list, page and alert."""

from collections.abc import Sequence

from sagascope_collector.analysis import attention, progress_rules
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.diagnosis import Diagnosis, Verdict
from sagascope_collector.analysis.evidence import evidence
from sagascope_collector.analysis.headline import headline, state_headline
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.ledger_text import customer_line
from sagascope_collector.analysis.model import Failure, Saga, Step
from sagascope_collector.analysis.runbooks import KEY_PREFIX
from sagascope_collector.analysis.wording import Text, datetime_text, midnight_after
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Instance


def diagnose(saga: Saga, instances: Sequence[Instance], context: Context) -> Diagnosis:
    """Returns whether a saga needs attention, and why, as of ``context.now``."""
    case = Case(saga, instances, context)
    return diagnosis_of(case, attention.find(case))


def diagnosis_of(case: Case, finding: Finding | None) -> Diagnosis:
    """Describes the finding of `attention.find`; None: the saga needs no attention."""
    if finding is None:
        return _without_attention(case)
    case.clock.reevaluate_at(midnight_after(case.clock.now))
    attempted = finding.subject.step if finding.subject and finding.subject.step.name == finding.step else None
    attempted = attempted or (case.step(finding.step) if finding.step else None)
    verdict = _verdict(case, finding)
    twice = finding.phase if finding.reason is AttentionCode.APPLIED_TWICE else None
    return Diagnosis(
        step=finding.step,
        service=finding.service,
        attempts=len(attempted.attempts) if attempted else 0,
        error=_latest_error(attempted) or _reported_error(case, finding),
        verdict=verdict,
        headline=verdict.headline,
        customer_line=customer_line(case.saga, twice),
        due_at=case.clock.due,
        report_deadlines=case.liveness.report_deadlines,
    )


def _verdict(case: Case, finding: Finding) -> Verdict:
    rule = attention.RULES[finding.reason]
    process = finding.process or (finding.subject.attempt.process if finding.subject else None)
    return Verdict(
        reason=finding.reason,
        phase=finding.phase,
        step=finding.step,
        service=finding.service,
        instance=(process.instance or None) if process else None,
        since=finding.since,
        headline=headline(case, finding, rule.fact(case, finding)),
        evidence=evidence(case, finding),
        actions=(*(each.text for each in attention.actions_of(case, finding)), *_runbook_texts(case, finding)),
        confidence=finding.confidence,
    )


def _without_attention(case: Case) -> Diagnosis:
    step, attempted = _current_step(case)
    service = case.service_of(step) if step else None
    if not has_ended(case.saga.status):
        case.clock.reevaluate_at(midnight_after(case.clock.now))
    return Diagnosis(
        step=step,
        service=service,
        attempts=len(attempted.attempts) if attempted else 0,
        error=_latest_error(attempted),
        verdict=None,
        headline=state_headline(case, step),
        customer_line=customer_line(case.saga),
        due_at=case.clock.due,
        report_deadlines=case.liveness.report_deadlines,
    )


def _current_step(case: Case) -> tuple[str | None, Step | None]:
    """The current step of an open saga: the step in flight, else the last failed step, else the next step."""
    if has_ended(case.saga.status):
        return None, None
    if case.in_flight:
        step = case.in_flight[0].step
        return step.name, step
    if case.failing is not None:
        return case.failing.step.name, case.failing.step
    wanted = progress_rules.awaited(case)
    return (wanted.step, case.step(wanted.step)) if wanted and wanted.step else (None, None)


def _reported_error(case: Case, finding: Finding) -> Failure | None:
    return case.saga.blocked[0].error if finding.reason is AttentionCode.BLOCKED else None


def _latest_error(step: Step | None) -> Failure | None:
    if step is None:
        return None
    return next((each.error for each in reversed(step.attempts) if each.error), None)


MAX_RUNBOOKS = 5
"""Maximum number of runbooks shown for one saga."""


def _runbook_texts(case: Case, finding: Finding) -> list[Text]:
    """The texts of the runbooks that apply, in the order of their file."""
    if not case.context.runbooks:
        return []
    fields = _runbook_fields(case, finding)
    return [Text(each.text(fields)) for each in case.context.runbooks if each.applies(fields)][:MAX_RUNBOOKS]


def _runbook_fields(case: Case, finding: Finding) -> dict[str, str]:
    saga, attempt = case.saga, finding.subject.attempt if finding.subject else None
    process = finding.process or (attempt.process if attempt else None)
    error = (attempt.error if attempt else None) or Failure(None, None)
    fields = {
        **saga.key._asdict(),
        "status": saga.status.value,
        "reason": finding.reason.value,
        "phase": finding.phase.value,
        "step": finding.step,
        "service": finding.service,
        "instance": process.instance if process else None,
        "since": datetime_text(finding.since),
        "attempt": str(attempt.number) if attempt else None,
        "error_type": error.type,
        "error": error.message,
        "idempotency_key": attempt.idempotency_key if attempt else None,
        "trace_id": attempt.trace_id if attempt else None,
        "span_id": attempt.span_id if attempt else None,
        **{f"{KEY_PREFIX}{name}": value for name, value in saga.keys.items()},
    }
    return {name: value for name, value in fields.items() if value}
