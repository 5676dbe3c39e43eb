"""What engines and participants report themselves: an obstacle, or a two-phase commit that ended mixed."""

from sagascope_collector.analysis.case import Case, Finding, Try
from sagascope_collector.analysis.model import Attempt, BlockReport, Confidence, Phase, Reason


def blocked(case: Case) -> Finding | None:
    """The engine, or the sender of a message, says what the saga cannot get past."""
    if not case.saga.blocked:
        return None
    report = case.saga.blocked[0]
    subject = next((each for each in case.tries if _is_of(report, each.attempt)), None)
    step = report.step or (subject.step.name if subject else None)
    service = case.service_of(step) if step else report.process.service or None
    is_current = not case.telemetry_lost and not case.liveness.is_lost(report.process)
    confidence = Confidence.CERTAIN if is_current else Confidence.LIKELY
    return Finding(
        Reason.BLOCKED, case.phase, step, service, report.since, confidence, subject=subject, process=report.process
    )


def _is_of(report: BlockReport, attempt: Attempt) -> bool:
    return any((view.trace_id, view.span_id) == (report.trace_id, report.span_id) for view in attempt.views)


def mixed_outcome(case: Case) -> Finding | None:
    """Of the participants of one two-phase commit, one committed and another rolled back."""
    if not case.saga.mixed_outcomes:
        return None
    mixed = case.saga.mixed_outcomes[0]
    latest = max((*mixed.committed, *mixed.rolled_back), key=lambda each: each.attempt.over or each.attempt.began)
    step = latest.step
    return Finding(
        Reason.MIXED_OUTCOME,
        Phase.FORWARD,
        step.name,
        case.service_of(step.name),
        latest.attempt.over or latest.attempt.began,
        Confidence.CERTAIN,
        subject=Try(step, latest.attempt),
    )
