"""Why an open saga stands still: who was lost, what is late, what did not come."""

from typing import NamedTuple

from sagascope_collector.records import Process, Span
from sagascope_collector.sagas import course, deadlines, ledger
from sagascope_collector.sagas.case import Case, Finding, Try, phase_of
from sagascope_collector.sagas.deadlines import Deadline
from sagascope_collector.sagas.model import AttemptState, Confidence, Phase, Reason
from sagascope_collector.sagas.spans import is_unlisted
from sagascope_collector.sagas.watch import UNDER_WAY

FAILURES_IN_A_ROW = 3
"""Failed attempts from which a step is said to be retried again and again."""


class Awaited(NamedTuple):
    """What should come next in a saga in which nothing is in flight."""

    step: str | None
    """None: the close of the saga."""
    deadline: Deadline
    failed: Try | None = None
    """The failed attempt whose retry, or undo, it is."""
    unknown: bool = False
    """Something should come, but nothing is known of what."""

    @property
    def is_close(self) -> bool:
        """Whether nothing but the saga's close is awaited."""
        return self.step is None and self.failed is None and not self.unknown


def instance_lost(case: Case) -> Finding | None:
    """The process that has the work in flight, or the one that drives the saga, is gone."""
    for each in case.in_flight:
        process = _lost_holder(case, each)
        if process is not None:
            return _lost(case, each, process)
    return _root_lost(case) if not case.in_flight else None


def _lost_holder(case: Case, flying: Try) -> Process | None:
    """The process that holds the work, if it is lost; once the work is late, the executor, too."""
    open_views = [view for view in flying.attempt.views if not view.end and view.span_id not in flying.attempt.gone]
    if open_views and _is_under_way(case, open_views[-1]):
        return None
    holder = open_views[-1].process if open_views else flying.attempt.process
    if case.liveness.is_lost(holder):
        return holder
    executor = flying.attempt.process
    if case.liveness.is_lost(executor) and _is_late(case, deadlines.of_attempt(case, flying)):
        return executor
    return None


def _is_under_way(case: Case, span: Span) -> bool:
    """Whether a process ended this span before it said farewell, so that its final form has yet to come.

    The two are sent side by side, and either may arrive first.
    """
    announced_at, instance = case.saga.announced.get(span.span_id), case.liveness.instance(span.process)
    if announced_at is None or instance is None or instance.heartbeat is None or not instance.heartbeat.final:
        return False
    return is_unlisted(span.span_id, announced_at, instance.heartbeat)


def _lost(case: Case, flying: Try, process: Process) -> Finding:
    step, attempt = flying
    since = attempt.started_at + attempt.offset
    service, confidence = process.service or None, _confidence_of_loss(case, process, since)
    reason = Reason.INSTANCE_LOST
    return Finding(reason, phase_of(step), step.name, service, since, confidence, subject=flying, process=process)


def _confidence_of_loss(case: Case, process: Process, since: int) -> Confidence:
    if case.liveness.said_final(process):
        return Confidence.CERTAIN
    if case.telemetry_lost:
        return Confidence.POSSIBLE
    instance = case.liveness.instance(process)
    silent = case.liveness.last_heard(instance) if instance else since
    return Confidence.LIKELY if case.liveness.heard_since(process.service, silent) else Confidence.POSSIBLE


def _root_lost(case: Case) -> Finding | None:
    root = case.root
    if root is None or not case.liveness.is_lost(root.process) or _is_under_way(case, root):
        return None
    instance = case.liveness.instance(root.process)
    heard = case.liveness.last_heard(instance) if instance else 0
    if any(each.attempt.began > heard for each in case.tries) or not case.watch.is_past(case.since, UNDER_WAY):
        return None
    step = _awaited_name(case)
    confidence = _confidence_of_loss(case, root.process, case.since)
    service, reason = root.process.service or None, Reason.INSTANCE_LOST
    return Finding(reason, case.phase, step, service, case.since, confidence, case.last, root.process)


def retrying(case: Case) -> Finding | None:
    """A step failed again and again, and is still being tried."""
    for each in reversed(case.tries):
        step, attempt = each
        ended = [one for one in step.attempts if one.state is not AttemptState.IN_FLIGHT]
        if not ended or attempt is not ended[-1] or ledger.is_for_good(attempt, case.saga.status):
            continue
        if len(failed_in_a_row(each)) >= FAILURES_IN_A_ROW and not _is_undone(case, each):
            flying = step.attempts[-1] if step.attempts[-1].state is AttemptState.IN_FLIGHT else None
            since = flying.started_at + flying.offset if flying else attempt.over or 0
            service, reason = case.service_of(step.name), Reason.RETRYING
            return Finding(reason, phase_of(step), step.name, service, since, Confidence.CERTAIN, subject=each)
    return None


def failed_in_a_row(latest: Try) -> list[Try]:
    """The failed attempts of a step with none that succeeded after them, the first of them first."""
    row: list[Try] = []
    for attempt in reversed(latest.step.attempts):
        if attempt.state is AttemptState.OK:
            break
        if attempt.state is not AttemptState.IN_FLIGHT:
            row.append(Try(latest.step, attempt))
    return row[::-1]


def _is_undone(case: Case, failed: Try) -> bool:
    """Whether an undo followed: of this step, or of the saga."""
    if phase_of(failed.step) is Phase.COMPENSATION:
        return False
    over = failed.attempt.over or 0
    return any(phase_of(each.step) is Phase.COMPENSATION and each.attempt.began >= over for each in case.tries)


def hung(case: Case) -> Finding | None:
    """An attempt is in flight past its time, in a process that is alive."""
    for each in case.in_flight:
        deadline = deadlines.of_attempt(case, each)
        if _is_late(case, deadline):
            step, attempt = each
            due = case.watch.moment(deadline.start, deadline.seconds)
            since, service = attempt.started_at + attempt.offset, case.service_of(step.name)
            confidence = _confidence_of_hang(case, each)
            return Finding(Reason.HUNG, phase_of(step), step.name, service, since, confidence, subject=each, due=due)
    return None


def _confidence_of_hang(case: Case, flying: Try) -> Confidence:
    views = [view for view in flying.attempt.views if not view.end]
    if case.telemetry_lost or not views or not case.liveness.beats(views[-1].process):
        return Confidence.POSSIBLE
    listed = case.liveness.lists(views[-1].process, views[-1].span_id)
    return Confidence.CERTAIN if listed else Confidence.LIKELY


def next_step_missing(case: Case) -> Finding | None:
    """The next step, the retry of a failed one, or the next undo did not begin in time."""
    wanted = awaited(case)
    if wanted is None or wanted.is_close or not _is_late(case, wanted.deadline):
        return None
    last = wanted.failed or case.last
    step = wanted.step or (last.step.name if last else None)
    return _missing(case, Reason.NEXT_STEP_MISSING, wanted, step)


def never_closed(case: Case) -> Finding | None:
    """All planned steps are done, or undone, and the saga was not closed in time."""
    wanted = awaited(case)
    if wanted is None or not wanted.is_close or not _is_late(case, wanted.deadline):
        return None
    return _missing(case, Reason.NEVER_CLOSED, wanted, case.last.step.name if case.last else None)


def _missing(case: Case, reason: Reason, wanted: Awaited, step: str | None) -> Finding:
    due = case.watch.moment(wanted.deadline.start, wanted.deadline.seconds)
    service = case.service_of(step) if step else None
    heard = case.heard_since(_acting(case, service), case.since)
    confidence = Confidence.LIKELY if heard else Confidence.POSSIBLE
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


def _acting(case: Case, service: str | None) -> str | None:
    """The service that would have told of what is missing: the one that drives the saga, else the one to act next."""
    if case.root is not None:
        return case.root.process.service
    return service or (case.last.attempt.process.service if case.last else None)


def awaited(case: Case) -> Awaited | None:
    """What should come next, and until when; None while something is in flight, or nothing is known."""
    if case.in_flight or ledger.has_ended(case.saga.status):
        return None
    failed = case.failing
    planned = case.saga.plan.source != "none" and not course.is_unheard_of(case.saga.plan, case.saga.steps)
    if failed is not None and (planned or failed.attempt.retry_in is not None):
        return _after_failure(case, failed)
    if not planned:
        return None
    return _next_undo(case) if case.is_backward else _next_forward(case)


def _after_failure(case: Case, failed: Try) -> Awaited:
    name = None if ledger.is_for_good(failed.attempt, case.saga.status) else failed.step.name
    return Awaited(name, deadlines.of_retry(case, failed), failed)


def _next_forward(case: Case) -> Awaited:
    last = case.last
    if case.saga.plan.source == "learned":
        learned = course.next_learned(case.saga.plan, case.saga.steps, last.step.name if last else None)
        return Awaited(learned or None, deadlines.of_next(case, learned, case.since), unknown=learned is None)
    wanted = course.next_forward(case.saga.plan, case.saga.steps)
    name = wanted.name if wanted else None
    return Awaited(name, deadlines.of_next(case, name, case.since))


def _next_undo(case: Case) -> Awaited:
    wanted = case.next_undo
    name = wanted[1] if wanted else None
    return Awaited(name, deadlines.of_next(case, name, case.since))


def _awaited_name(case: Case) -> str | None:
    """The step that should come next; where nothing is known of it, the last."""
    wanted = awaited(case)
    if wanted is not None and wanted.step:
        return wanted.step
    failed = wanted.failed if wanted else case.failing
    last = failed or case.last
    return last.step.name if last else None


def _is_late(case: Case, deadline: Deadline) -> bool:
    return case.watch.is_late(deadline.start, deadline.seconds)
