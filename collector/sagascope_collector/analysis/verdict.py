"""The diagnosis of a saga at one moment. Every list, page and alert is judged here."""

from collections.abc import Sequence

from sagascope_collector.analysis import attention, runbooks, standstill
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.customer import customer_line
from sagascope_collector.analysis.evidence import evidence
from sagascope_collector.analysis.headline import calm, headline
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import Failure, Judgement, Reason, Saga, Step, Verdict
from sagascope_collector.analysis.words import midnight_after
from sagascope_collector.records import Instance


def judge(saga: Saga, instances: Sequence[Instance], context: Context) -> Judgement:
    """Returns whether a saga needs attention, and why, as of ``context.now``."""
    case = Case(saga, instances, context)
    finding = attention.find(case)
    if finding is None:
        return _calm(case)
    case.watch.remind(midnight_after(context.now))
    tried = finding.subject.step if finding.subject and finding.subject.step.name == finding.step else None
    tried = tried or (case.step(finding.step) if finding.step else None)
    verdict = _verdict(case, finding)
    twice = finding.phase if finding.reason is Reason.APPLIED_TWICE else None
    return Judgement(
        step=finding.step,
        service=finding.service,
        attempts=len(tried.attempts) if tried else 0,
        error=_latest_error(tried),
        verdict=verdict,
        headline=verdict.headline,
        customer_line=customer_line(saga, twice),
        due_at=case.watch.due,
        promises=case.liveness.promises,
    )


def _verdict(case: Case, finding: Finding) -> Verdict:
    code = attention.BY_REASON[finding.reason]
    process = finding.process or (finding.subject.attempt.process if finding.subject else None)
    return Verdict(
        reason=finding.reason,
        phase=finding.phase,
        step=finding.step,
        service=finding.service,
        instance=(process.instance or None) if process else None,
        since=finding.since,
        headline=headline(case, finding, code.fact(case, finding)),
        evidence=evidence(case, finding, code.basis),
        actions=(*(each.text for each in code.actions(case, finding)), *runbooks.texts(case, finding)),
        confidence=finding.confidence,
    )


def _calm(case: Case) -> Judgement:
    step, tried = _current_step(case)
    service = case.service_of(step) if step else None
    if not has_ended(case.saga.status):
        case.watch.remind(midnight_after(case.watch.now))
    return Judgement(
        step=step,
        service=service,
        attempts=len(tried.attempts) if tried else 0,
        error=_latest_error(tried),
        verdict=None,
        headline=calm(case, step),
        customer_line=customer_line(case.saga),
        due_at=case.watch.due,
        promises=case.liveness.promises,
    )


def _current_step(case: Case) -> tuple[str | None, Step | None]:
    """The current step of an open saga: the one in flight, else the last that failed, else the next."""
    if has_ended(case.saga.status):
        return None, None
    if case.in_flight:
        step = case.in_flight[0].step
        return step.name, step
    if case.failing is not None:
        return case.failing.step.name, case.failing.step
    wanted = standstill.awaited(case)
    return (wanted.step, case.step(wanted.step)) if wanted and wanted.step else (None, None)


def _latest_error(step: Step | None) -> Failure | None:
    if step is None:
        return None
    return next((each.error for each in reversed(step.attempts) if each.error), None)
