"""Progress rules: the reasons why an open saga makes no progress.

A process is lost, an attempt is late or keeps failing, a step did not start, or an engine reports an obstacle.
"""

from dataclasses import replace
from typing import NamedTuple

from sagascope_collector.analysis import deadlines, ledger, plans
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.context import IN_TRANSIT_SECONDS
from sagascope_collector.analysis.deadlines import Deadline
from sagascope_collector.analysis.model import DEAD_LETTER, Attempt, AttemptState, BlockReport, Confidence
from sagascope_collector.analysis.spans import is_unlisted, process_key
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Process, Span

MIN_PAUSE_SECONDS = 600.0
"""Minimum seconds without progress after which a saga without a plan needs attention, if it must go on."""

RETRY_IN_TRANSIT_SECONDS = 2.0
"""Seconds after the shutdown of an executor in which its caller may start a retry whose record is still in transit."""

CHILD_REEVALUATION_NS = 10 * NANOSECONDS_PER_SECOND
"""Nanoseconds until a parent that waits for a child is evaluated again."""


class Awaited(NamedTuple):
    """The next expected event of a saga in which nothing is in flight."""

    step: str | None
    """The step that should follow; None: the close of the saga."""
    deadline: Deadline
    failed: StepAttempt | None = None
    """The failed attempt whose retry or compensation should follow."""
    unknown: bool = False
    """Whether a step should follow, but it is unknown which."""

    @property
    def is_close(self) -> bool:
        """Whether only the saga's close is awaited."""
        return self.step is None and self.failed is None and not self.unknown


def instance_lost(case: Case) -> Finding | None:
    """The process that runs the work in flight, retries it or runs the saga has stopped reporting.

    The latest call comes first: the end of an earlier one may be among the records that were lost with the process.
    """
    for each in sorted(case.in_flight, key=lambda each: each.attempt.called_at, reverse=True):
        process = _lost_holder(case, each)
        if process is not None:
            return _lost(case, each, process)
    if case.in_flight:
        return _reported_lost(case)
    return _root_lost(case) or _retrier_lost(case)


def _reported_lost(case: Case) -> Finding | None:
    """The engine reports that the worker which executes the work in flight is lost.

    The confidence is only possible, because a worker with no free slot does not poll either.
    """
    for report in case.saga.lost_workers:
        for each in case.in_flight:
            if _is_about(report, each.attempt):
                since = each.attempt.started_at + each.attempt.offset
                service = report.process.service or None
                reason = AttentionCode.INSTANCE_LOST
                return Finding.of_attempt(reason, each, service, since, Confidence.POSSIBLE, report.process)
    return None


def _lost_holder(case: Case, in_flight_attempt: StepAttempt) -> Process | None:
    """The process that runs the work, if it is lost; after the work is late, also its executor."""
    open_views = [
        view
        for view in in_flight_attempt.attempt.views
        if not view.end and view.span_id not in in_flight_attempt.attempt.lost_spans
    ]
    if open_views and _is_end_in_transit(case, open_views[-1]):
        return None
    holder = open_views[-1].process if open_views else in_flight_attempt.attempt.process
    if case.liveness.is_lost(holder):
        return None if _may_be_retried(case, in_flight_attempt, holder) else holder
    executor = in_flight_attempt.attempt.process
    if case.liveness.is_lost(executor) and deadlines.is_late(case, deadlines.of_attempt(case, in_flight_attempt)):
        return executor
    return None


def _is_end_in_transit(case: Case, span: Span) -> bool:
    """Whether a process ended this span before it reported its shutdown, so that the final span may still arrive.

    Both are sent at the same time, and either may arrive first.
    """
    return case.liveness.has_shut_down(span.process) and _is_unlisted(case, span)


def _may_be_retried(case: Case, in_flight_attempt: StepAttempt, executor: Process) -> bool:
    """Whether another process called this executor, which has just shut down, and a retry may be in transit."""
    instance, callers = case.liveness.instance(executor), {process_key(in_flight_attempt.attempt.views[0].process)}
    if case.root is not None:
        callers.add(process_key(case.root.process))
    if instance is None or not case.liveness.has_shut_down(executor) or callers == {process_key(executor)}:
        return False
    return not case.clock.has_elapsed(case.liveness.last_seen_at(instance), RETRY_IN_TRANSIT_SECONDS)


def _lost(case: Case, in_flight_attempt: StepAttempt, process: Process) -> Finding:
    since = in_flight_attempt.attempt.started_at + in_flight_attempt.attempt.offset
    confidence = _confidence_of_loss(case, process, since)
    service = process.service or None
    reason = AttentionCode.INSTANCE_LOST
    return Finding.of_attempt(reason, in_flight_attempt, service, since, confidence, process)


def _confidence_of_loss(case: Case, process: Process, since: int) -> Confidence:
    if case.telemetry_lost or case.saga.lacks_records:
        return Confidence.POSSIBLE
    if case.liveness.has_shut_down(process):
        return Confidence.CERTAIN
    instance = case.liveness.instance(process)
    last_seen = case.liveness.last_seen_at(instance) if instance else since
    return Confidence.LIKELY if case.liveness.reported_since(process.service, last_seen) else Confidence.POSSIBLE


def _root_lost(case: Case) -> Finding | None:
    root = case.root
    if root is None or not case.liveness.is_lost(root.process) or _is_end_in_transit(case, root):
        return None
    if _is_continued_by_another(case, root.process) or not case.clock.has_elapsed(case.since, IN_TRANSIT_SECONDS):
        return None
    step, failed = _awaited_name(case), case.failing
    subject = failed if failed is not None and deadlines.is_retried(case, failed) else case.last
    confidence = _confidence_of_loss(case, root.process, case.since)
    service = root.process.service or None
    reason = AttentionCode.INSTANCE_LOST
    return Finding(reason, case.phase, step, service, case.since, confidence, subject, root.process)


def _is_continued_by_another(case: Case, orchestrator: Process) -> bool:
    """Whether another process has continued the saga since its own process was last seen.

    A process cannot report calls made right before it is lost; only the executor reports them. So an attempt without a
    caller's view may be the process's own until its next heartbeat is overdue.
    """
    instance = case.liveness.instance(orchestrator)
    reported_at = case.liveness.last_seen_at(instance) if instance else 0
    interval = instance.heartbeat.interval if instance is not None and instance.heartbeat is not None else 0.0
    acted_until = reported_at + round((interval + IN_TRANSIT_SECONDS) * NANOSECONDS_PER_SECOND)
    for _, attempt in case.step_attempts:
        caller = attempt.views[0].process
        is_other_instance = caller.service == orchestrator.service and process_key(caller) != process_key(orchestrator)
        if attempt.called_at > (reported_at if is_other_instance else acted_until):
            return True
    return False


def _retrier_lost(case: Case) -> Finding | None:
    found = deadlines.lost_retrier(case)
    if found is None or not case.clock.has_elapsed(case.since, IN_TRANSIT_SECONDS):
        return None
    failed, process = found
    since = failed.attempt.finished_at or failed.attempt.called_at
    reason = AttentionCode.INSTANCE_LOST
    confidence = _confidence_of_loss(case, process, since)
    return Finding.of_attempt(reason, failed, process.service or None, since, confidence, process)


def hung(case: Case) -> Finding | None:
    """An attempt in flight exceeded its deadline, in a process that reports."""
    for each in case.in_flight:
        deadline = deadlines.of_attempt(case, each)
        due = case.clock.moment(deadline.start, deadline.seconds)
        if each.attempt.child is not None and not deadline.known:
            if not _is_child_stuck(case, each.attempt):
                continue
            return _hung(case, each, Confidence.LIKELY, None)
        if deadlines.is_late(case, deadline) and not _was_heartbeat_overdue(case, each, due):
            return _hung(case, each, _confidence_of_hang(case, each), due)
    return None


def _was_heartbeat_overdue(case: Case, in_flight_attempt: StepAttempt, moment: int) -> bool:
    """Whether the next heartbeat of the process that holds the attempt was overdue by then: it may be lost."""
    attempt = in_flight_attempt.attempt
    open_views = [view for view in attempt.views if not view.end and view.span_id not in attempt.lost_spans]
    instance = case.liveness.instance(open_views[-1].process if open_views else attempt.process)
    if instance is None or instance.heartbeat is None or instance.heartbeat.final:
        return False
    seen = max(case.liveness.last_seen_at(instance), case.clock.at(instance.reported_at))
    return moment > case.clock.moment(seen, instance.heartbeat.interval + IN_TRANSIT_SECONDS)


def _hung(case: Case, in_flight_attempt: StepAttempt, confidence: Confidence, due: int | None) -> Finding:
    attempt, service = in_flight_attempt.attempt, case.service_of(in_flight_attempt.step.name)
    since = attempt.started_at + attempt.offset
    return Finding.of_attempt(AttentionCode.HUNG, in_flight_attempt, service, since, confidence, due=due)


def _is_child_stuck(case: Case, attempt: Attempt) -> bool:
    """Whether the child saga of this attempt needs attention; its parent is then also late."""
    if attempt.child is None:
        return False
    # a multiple of the interval, so that further evaluations do not postpone it
    case.clock.reevaluate_at((case.clock.now // CHILD_REEVALUATION_NS + 1) * CHILD_REEVALUATION_NS)
    return (attempt.child.environment, attempt.child.id) in case.context.stuck


def _confidence_of_hang(case: Case, in_flight_attempt: StepAttempt) -> Confidence:
    views = [view for view in in_flight_attempt.attempt.views if not view.end]
    if (
        case.telemetry_lost
        or case.saga.lacks_records
        or not views
        or not case.liveness.sends_heartbeats(views[-1].process)
    ):
        return Confidence.POSSIBLE
    if case.liveness.lists_as_open(views[-1].process, views[-1].span_id):
        return Confidence.CERTAIN
    return Confidence.POSSIBLE if _is_unlisted(case, views[-1]) else Confidence.LIKELY


def _is_unlisted(case: Case, span: Span) -> bool:
    """Whether its process has since reported its open spans without this span, whose final span may be lost."""
    announced_at, instance = case.saga.announced.get(span.span_id), case.liveness.instance(span.process)
    return (
        announced_at is not None
        and instance is not None
        and is_unlisted(span.span_id, announced_at, instance.heartbeat)
    )


def next_step_missing(case: Case) -> Finding | None:
    """The next step, the retry of a failed one, or the next compensation did not start in time."""
    if (failed := deadlines.overdue_retry(case)) is not None:
        retry = Awaited(failed.step.name, deadlines.of_retry(case, failed), failed)
        return _missing(case, AttentionCode.NEXT_STEP_MISSING, retry, failed.step.name)
    wanted = awaited(case)
    if wanted is None:
        return _no_progress(case)
    if wanted.is_close or not deadlines.is_late(case, wanted.deadline):
        return None
    last = wanted.failed or case.last
    step = wanted.step or (last.step.name if last else None)
    return _missing(case, AttentionCode.NEXT_STEP_MISSING, wanted, step)


def _no_progress(case: Case) -> Finding | None:
    """A saga without a known plan exceeds its own timeout; without a known type, the pauses of finished sagas.

    One whose root is open must also go on after a last allowed attempt, an event that it awaited, and a compensation.
    """
    pause, waits, timeout = case.saga.longest_pause, case.saga.awaited_event is not None, case.saga.timeout
    is_given_up = case.failing is not None and ledger.is_last_allowed(case.failing.attempt)
    if case.root is not None and (is_given_up or case.is_compensating or case.saga.resumed_at > 0):
        pause = pause or 0.0
    if (pause is None and timeout is None and not waits) or case.in_flight or ledger.has_ended(case.saga.status):
        return None
    deadline = deadlines.of_next(case, None, case.since)
    if not deadline.known and pause is not None and not waits:
        deadline = deadline._replace(seconds=max(pause, MIN_PAUSE_SECONDS))
    elif timeout is not None:
        whole = Deadline(case.started_at, timeout)
        deadline = max(deadline, whole, key=lambda each: case.clock.moment(each.start, each.seconds))
    if not deadlines.is_late(case, deadline):
        return None
    latest = case.failing or case.last
    wanted = Awaited(None, deadline, case.failing, unknown=True)
    finding = _missing(case, AttentionCode.NEXT_STEP_MISSING, wanted, latest.step.name if latest else None)
    return replace(finding, confidence=Confidence.POSSIBLE)


def never_closed(case: Case) -> Finding | None:
    """All planned steps, or all compensations, have succeeded, and the saga was not closed in time."""
    wanted = awaited(case)
    if wanted is None or not wanted.is_close or not deadlines.is_late(case, wanted.deadline):
        return None
    finding = _missing(case, AttentionCode.NEVER_CLOSED, wanted, case.last.step.name if case.last else None)
    unfinished = [step for step in plans.unfinished(case.saga.plan, case.saga.steps) if not step.optional]
    is_doubtful = bool(case.unseen_steps or (case.kept_effects if case.is_compensating else unfinished))
    return replace(finding, confidence=Confidence.POSSIBLE) if is_doubtful else finding


def _missing(case: Case, reason: AttentionCode, wanted: Awaited, step: str | None) -> Finding:
    due = case.clock.moment(wanted.deadline.start, wanted.deadline.seconds)
    service = case.service_of(step) if step else None
    reported_at = case.reported_since(_acting_service(case, service), case.since)
    confidence = Confidence.LIKELY if reported_at else Confidence.POSSIBLE
    return Finding(
        reason,
        case.phase,
        step,
        service,
        case.since,
        confidence,
        subject=wanted.failed or case.last,
        process=case.root.process if case.root else None,
        due=due,
    )


def _acting_service(case: Case, service: str | None) -> str | None:
    """The service that would have reported the missing event: the service that runs the saga, else that acts next."""
    if case.root is not None:
        return case.root.process.service
    return service or (case.last.attempt.process.service if case.last else None)


def awaited(case: Case) -> Awaited | None:
    """Returns the next expected event and its deadline; None while an attempt is in flight, or without a plan."""
    if case.in_flight or ledger.has_ended(case.saga.status):
        return None
    failed = case.failing
    planned = case.saga.plan.source != "none" and not plans.has_unlearned_step(case.saga.plan, case.saga.steps)
    if failed is not None and (planned or deadlines.is_retried(case, failed)):
        name = None if ledger.is_for_good(failed.attempt, case.saga.status) else failed.step.name
        return Awaited(name, deadlines.of_retry(case, failed), failed)
    if not planned:
        return None
    return _next_compensation(case) if case.is_compensating else _next_forward(case)


def _next_forward(case: Case) -> Awaited:
    last = case.last
    if case.saga.plan.source == "learned":
        learned = plans.next_learned(case.saga.plan, case.saga.steps, last.step.name if last else None)
        return Awaited(learned or None, deadlines.of_next(case, learned, case.since), unknown=learned is None)
    wanted = plans.next_forward(case.saga.plan, case.saga.steps)
    name = wanted.name if wanted else None
    return Awaited(name, deadlines.of_next(case, name, case.since))


def _next_compensation(case: Case) -> Awaited:
    wanted = case.next_compensation
    name = wanted.compensation if wanted else None
    return Awaited(name, deadlines.of_next(case, name, case.since))


def _awaited_name(case: Case) -> str | None:
    """The next expected step; if none is known, the last step."""
    wanted = awaited(case)
    if wanted is not None and wanted.step:
        return wanted.step
    failed = wanted.failed if wanted else case.failing
    last = failed or case.last
    return last.step.name if last else None


def retrying(case: Case) -> Finding | None:
    """A step keeps failing, and its next attempt is in flight in time, or not overdue."""
    for each in deadlines.retried_steps(case):
        if deadlines.is_overdue(case, each) or _is_left_by_caller(case, each.step.attempts[-1]):
            continue
        latest, stuck = each.step.attempts[-1], hung(case)
        if stuck and stuck.subject and stuck.subject.attempt is latest and not latest.is_only_requested:
            continue
        first, service = deadlines.consecutive_failures(each)[0].attempt, case.service_of(each.step.name)
        since = first.finished_at or first.called_at
        return Finding.of_attempt(AttentionCode.RETRYING, each, service, since, _confidence_of_retry(case, each))
    return None


def _is_left_by_caller(case: Case, attempt: Attempt) -> bool:
    """Whether the process that waits for this attempt, and would retry it, is lost."""
    is_awaited = attempt.state is AttemptState.IN_FLIGHT and not attempt.views[0].end
    return is_awaited and case.liveness.is_lost(attempt.views[0].process)


def _confidence_of_retry(case: Case, failed: StepAttempt) -> Confidence:
    """The confidence: certain while the next attempt is in flight, or announced and not due; else it is overdue."""
    finished_at = failed.attempt.finished_at or failed.attempt.called_at
    if case.saga.lacks_records:
        return Confidence.POSSIBLE
    latest = failed.step.attempts[-1]
    if latest.state is AttemptState.IN_FLIGHT and not latest.is_only_requested:
        return Confidence.CERTAIN
    if not case.clock.is_late(finished_at, failed.attempt.retry_in or 0.0):
        return Confidence.CERTAIN
    caller = failed.attempt.views[0].process.service if failed.attempt.views else failed.step.service
    return Confidence.LIKELY if case.reported_since(caller, finished_at) else Confidence.POSSIBLE


def blocked(case: Case) -> Finding | None:
    """The engine, or the sender of a message, reports what blocks the saga."""
    if not case.saga.blocked:
        return None
    report = case.saga.blocked[0]
    subject = next((each for each in case.step_attempts if _is_about(report, each.attempt)), None)
    step = report.step or (subject.step.name if subject else None)
    service = report.process.service or None
    if report.cause == DEAD_LETTER:
        # the reader of the dead-letter queue knows nothing of the step
        service, step = None, report.step or ((wanted := awaited(case)) and wanted.step) or None
    service = case.service_of(step) if step else service
    is_current = not case.telemetry_lost and not case.liveness.is_lost(report.process)
    confidence = Confidence.CERTAIN if is_current else Confidence.LIKELY
    return Finding(
        AttentionCode.BLOCKED,
        case.phase,
        step,
        service,
        report.since,
        confidence,
        subject=subject,
        process=report.process,
    )


def _is_about(report: BlockReport, attempt: Attempt) -> bool:
    return any((view.trace_id, view.span_id) == (report.trace_id, report.span_id) for view in attempt.views)
