"""Headlines: where a saga is stuck, since when, why, and what is committed.

Times are absolute and in UTC, never "12 minutes ago", so that a stored sentence stays true.
"""

from collections.abc import Iterable
from operator import itemgetter

from sagascope import semconv
from sagascope_collector.analysis import deadlines, messages, plans
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.deadlines import consecutive_failures, is_retrier_lost
from sagascope_collector.analysis.failures import failure, is_wrapped
from sagascope_collector.analysis.ledger import has_ended, is_for_good
from sagascope_collector.analysis.ledger_text import Stated, committed, with_amount
from sagascope_collector.analysis.model import (
    DEAD_LETTER,
    TWO_PHASE_TYPES,
    Attempt,
    AttemptState,
    Confidence,
    LedgerState,
    Saga,
    Status,
    StepState,
)
from sagascope_collector.analysis.wording import (
    Text,
    capitalized,
    datetime_text,
    name_list,
    phrase,
    process_label,
    run_name,
    sentences,
    shortened,
)
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Process

UNREAD_STEPS = "its row was first read after that, so that it is not known which steps took effect"

ENDED_WORDS = {Status.COMPLETED: "Completed", Status.COMPENSATED: "Compensated", Status.FAILED: "Failed"}


def headline(case: Case, finding: Finding, fact: Text) -> Text:
    """Returns the headline of a saga that needs attention. `fact` is the sentence of its attention code."""
    obstacle = Text() if finding.reason is AttentionCode.BLOCKED else engine_report(case, finding.subject)
    failed = finding.step if finding.reason is AttentionCode.COMPENSATION_FAILED else None
    rest = committed(case.saga, _stated(case, finding), failed)
    return sentences(fact, capitalized(messages.not_received(case, finding)), obstacle, rest)


def _stated(case: Case, finding: Finding) -> Stated:
    """The ledger entries that the fact itself states."""
    key = finding.subject.step.key if finding.subject is not None else ""
    if finding.reason in (AttentionCode.UNCOMPENSATED, AttentionCode.APPLIED_TWICE):
        return {(finding.step, key, state) for state in LedgerState}
    if finding.reason is AttentionCode.IN_DOUBT:
        return {(each.step.name, each.step.key, LedgerState.UNKNOWN) for each in case.undecided}
    if finding.reason is AttentionCode.RETRYING or (
        finding.subject is not None and finding.subject.attempt.state is AttemptState.IN_FLIGHT
    ):
        return {(finding.step, key, LedgerState.UNKNOWN)}
    return set()


def state_headline(case: Case, step: str | None) -> Text:
    """Returns the sentence about a saga that needs no attention."""
    saga = case.saga
    if has_ended(saga.status) and saga.ended_at is not None:
        return _ended(saga, saga.ended_at)
    subject = case.in_flight[0] if case.in_flight else case.failing
    return sentences(_in_progress(case, step), engine_report(case, subject))


def _ended(saga: Saga, ended_at: int) -> Text:
    at = datetime_text(ended_at)
    if saga.continued_as is not None:
        return sentences(phrase("Ended at {} by continuing as {}", at, run_name(saga.continued_as, "a new run")))
    if saga.superseded_by is not None:
        return sentences(phrase("Ended: {} of this id replaced it at {}", run_name(saga.superseded_by), at))
    why = _reason_of_failure(saga) if saga.status is not Status.COMPLETED else ""
    ended = phrase("{} at {}{}", ENDED_WORDS[saga.status], at, f": {why}" if why else "")
    if saga.may_have_other_participants:
        decided = name_list(list(dict.fromkeys(step.name for step in saga.steps if step.type in TWO_PHASE_TYPES)))
        return sentences(ended, phrase("Only {} reported a decision; no plan tells whether others took part", decided))
    if saga.relying_run is not None:
        other, steps = run_name(saga.relying_run, "another run"), name_list(sorted(saga.relied_on))
        return sentences(ended, capitalized(phrase("{} of this id relies on {}", other, steps)))
    if saga.newer_run is not None:
        return sentences(ended, capitalized(phrase("{} of this id started after it", run_name(saga.newer_run))))
    return sentences(ended)


def _reason_of_failure(saga: Saga) -> str:
    """Returns why a saga did not complete: the error of what ended it, else that of the step that failed last.

    The step's own error replaces an engine's error that only reports a failed step ("Activity task failed").
    """
    error = failure(saga.closing) if saga.closing is not None else None
    message = shortened((error and (error.message or error.type)) or "")
    if message and error and not is_wrapped(error):
        return message
    failed = [
        (attempt.ended_at or 0, step.name, attempt)
        for step in saga.steps
        for attempt in step.attempts[-1:]
        if step.type != semconv.TYPE_COMPENSATION and attempt.state is AttemptState.ERROR
    ]
    if not failed:
        return message
    _, name, attempt = max(failed, key=itemgetter(0))
    return f"{name} failed{bracketed_error(attempt)}"


def _in_progress(case: Case, step: str | None) -> Text:
    going = "Compensating" if case.is_compensating else "Running"
    if case.in_flight:
        return phrase("{}: {}", going, _started(case, case.in_flight[0], case.in_flight[0].step.name))
    if case.failing is not None:
        coming = capitalized(deadlines.forecast_text(case, case.failing))
        return sentences(phrase("{}: {}", going, _failed(case, case.failing)), coming)
    if case.saga.awaited_event is not None:
        event = case.saga.awaited_event
        return phrase("{}: waiting for {} since {}", going, shortened(event.name), case.time_text(event.declared_at))
    return phrase("{}: {} is next", going, step) if step else Text(going)


def _failed(case: Case, failed: StepAttempt) -> Text:
    attempt = failed.attempt
    template = "attempt {} of {} {} at {}{}"
    return phrase(
        template, attempt.number, failed.step.name, _ending(attempt), end_text(case, attempt), bracketed_error(attempt)
    )


def _ending(attempt: Attempt) -> str:
    return "failed" if attempt.state is AttemptState.ERROR else "ended with an unknown outcome"


def _stopped(case: Case, finding: Finding) -> str:
    """Returns where a saga without an attempt in flight stopped: after its last step, or before the next one."""
    last = case.last
    if finding.step is None:
        return "Stopped"
    is_done = last is not None and last.step.name == finding.step and last.attempt.state is AttemptState.OK
    return f"Stopped {'after' if is_done else 'before'} {finding.step}"


def instance_lost(case: Case, finding: Finding) -> Text:
    """The fact of `instance_lost`."""
    process = finding.process or Process()
    lost = _lost(case, process)
    if finding.subject is not None and is_retrier_lost(case, finding):
        failures = consecutive_failures(finding.subject)
        text = "Stuck in {}: after {} failed attempt{}, the latest at {}{}, {}, which retries it, {}"
        latest = failures[-1].attempt
        count = (len(failures), "s" if len(failures) > 1 else "")
        return phrase(
            text,
            finding.subject.step.name,
            *count,
            end_text(case, latest),
            bracketed_error(latest),
            process_label(process),
            lost,
        )
    if finding.subject is None or finding.subject.attempt.state is not AttemptState.IN_FLIGHT:
        return phrase(
            "{}: {}, which runs the {}, {}", _stopped(case, finding), process_label(process), case.saga.type_label, lost
        )
    step, attempt = finding.subject
    reports = [each for each in case.saga.lost_workers if each.process is process]
    if reports:
        return phrase("Stuck in {}: {}, and {}", step.name, _started(case, finding.subject, "it"), reports[0].text)
    if attempt.process == process:
        return phrase("Stuck in {}: {} and {}", step.name, _started(case, finding.subject, "it"), lost)
    text = "Stuck in {}: {} called it at {} and {}"
    return phrase(text, step.name, process_label(process), case.time_text(attempt.called_at), lost)


def _lost(case: Case, process: Process) -> Text:
    instance = case.liveness.instance(process)
    if instance is None:
        return Text("is not reporting")
    verb = "shut down at" if case.liveness.has_shut_down(process) else "has not reported since"
    return phrase("{} {}", verb, case.time_text(case.liveness.last_seen_at(instance)))


def retrying(case: Case, finding: Finding) -> Text:
    """The fact of `retrying`."""
    subject = subject_of(finding)
    failures = consecutive_failures(subject)
    latest = failures[-1].attempt
    fact = phrase(
        "{} keeps failing: {} failed attempts since {}, the latest at {} in {}{}",
        subject.step.name,
        len(failures),
        case.time_text(finding.since),
        end_text(case, latest),
        process_label(latest.process),
        bracketed_error(latest),
    )
    in_flight_attempt = subject.step.attempts[-1]
    if in_flight_attempt.state is AttemptState.IN_FLIGHT:
        how = (
            "was requested, and no start of it was received"
            if in_flight_attempt.is_only_requested
            else "is in progress"
        )
        coming = Text(f"attempt {in_flight_attempt.number} {how}")
    else:
        coming = deadlines.forecast_text(case, failures[-1])
    return sentences(fact, capitalized(messages.redelivery(case, failures)), capitalized(coming))


def hung(case: Case, finding: Finding) -> Text:
    """The fact of `hung`."""
    subject = subject_of(finding)
    attempt, where = subject.attempt, phrase("Stuck in {}", subject.step.name)
    due = phrase(" by {}", case.time_text(finding.due)) if finding.due is not None else Text()
    started = _started(case, subject, "it")
    if attempt.child is not None:
        child = f"{attempt.child.name or 'the saga'} {attempt.child.id}"
        ending = "needs attention itself" if finding.due is None else "has not ended"
        return phrase("{}: it waits for {}, which {}{}", where, child, ending, due)
    if attempt.is_only_requested:
        return phrase("{}: {}, and no executor started it{}, as far as telemetry shows", where, started, due)
    if case.liveness.sends_heartbeats(attempt.process):
        return phrase("{}: {} and still reports, but did not finish it{}", where, started, due)
    text = "{}: {} and did not finish it{}; it sends no heartbeats, so it may have stopped"
    return phrase(text, where, started, due)


def next_step_missing(case: Case, finding: Finding) -> Text:
    """The fact of `next_step_missing`."""
    due = phrase(" by {}", case.time_text(finding.due)) if finding.due is not None else Text()
    last = finding.subject
    if last is None:
        started = case.time_text(case.saga.started_at)
        return phrase(
            "Stopped at its start at {}: no start of {} was received{}", started, finding.step or "a step", due
        )
    end = end_text(case, last.attempt)
    if last.step.type in TWO_PHASE_TYPES and case.unseen_after_rollback:
        names = name_list([step.name for step in case.saga.steps if step.type == semconv.TYPE_ROLLBACK])
        return phrase(
            "{} rolled back, and nothing was received of {}{}", names, name_list(case.unseen_after_rollback), due
        )
    if last.attempt.state is AttemptState.ERROR and is_for_good(last.attempt, case.saga.status):
        text = "Stopped at {}: its last attempt failed at {}{}, and no compensation and no end of the {} was received{}"
        return phrase(text, last.step.name, end, bracketed_error(last.attempt), case.saga.type_label, due)
    if last.attempt.state is not AttemptState.OK:
        text = "Stopped at {}: attempt {} {} at {}{}, and no retry and no compensation was received{}"
        attempt = last.attempt
        return phrase(text, last.step.name, attempt.number, _ending(attempt), end, bracketed_error(attempt), due)
    if finding.step is None or finding.step == last.step.name:
        return phrase(
            "Stopped after {}, which succeeded at {}: nothing further was received{}", last.step.name, end, due
        )
    text = "Stopped after {}, which succeeded at {}: no {} of {} was received{}"
    what = "success" if case.unsuccessful(finding.step) else "start"
    return phrase(text, last.step.name, end, what, finding.step, due)


def never_closed(case: Case, finding: Finding) -> Text:
    """The fact of `never_closed`."""
    due = phrase(" by {}", case.time_text(finding.due)) if finding.due is not None else Text()
    last = case.time_text(finding.since)
    if case.is_compensating:
        text = "The last compensation succeeded at {}, and none is known to be missing. No end of the {} was received{}"
        return phrase(text, last, case.saga.type_label, due)
    end = phrase("succeeded, the last at {}, but no end of the {} was received{}", last, case.saga.type_label, due)
    if not (unfinished := plans.unfinished(case.saga.plan, case.saga.steps)):
        return phrase("Every planned step has {}", end)
    names = name_list([f"{step.name} (optional)" if step.optional else step.name for step in unfinished])
    return phrase("No success of {} was received; every other planned step has {}", names, end)


def blocked(case: Case, finding: Finding) -> Text:
    """The fact of `blocked`."""
    report = case.saga.blocked[0]
    where = f" in {finding.step}" if finding.step else ""
    return phrase("Blocked{} since {}: {}", where, case.time_text(report.since), shortened(report.text))


def uncompensated(case: Case, finding: Finding) -> Text:
    """The fact of `uncompensated`."""
    left = Text(UNREAD_STEPS) if case.has_unread_steps else _uncompensated_part(case, finding)
    if case.saga.ended_at is not None:
        ended, why = ENDED_WORDS[case.saga.status], _reason_of_failure(case.saga)
        at = case.time_text(case.saga.ended_at)
        return sentences(phrase("{} at {}{}, but {}", ended, at, f": {why}" if why else "", left), _pivot(case))
    failed = case.failing
    if failed is None:
        return sentences(phrase("No progress, and {}", left), _pivot(case))
    ended, name = end_text(case, failed.attempt), failed.step.name
    text = "{} failed for the last time at {}{}, and {}"
    return sentences(phrase(text, name, ended, bracketed_error(failed.attempt), left), _pivot(case))


def _pivot(case: Case) -> str:
    pivot = case.saga.passed_pivot
    if pivot is None:
        return ""
    state = "is" if pivot.state is StepState.DONE else "may be"
    return f"The pivot {pivot.label} {state} committed: after it only forward is possible"


def _uncompensated_part(case: Case, finding: Finding) -> Text:
    effect, entry = case.effect_of(finding.subject) or (None, None)
    if effect is not None and entry is not None and entry.state is LedgerState.COMPENSATION_UNKNOWN:
        name = with_amount(entry, case.saga.currency)
        attempted = next((each.step for each in reversed(case.compensations_of(effect))), None)
        if attempted is not None and attempted.state is StepState.FAILED and case.saga.ended_at is None:
            return phrase("it is unknown whether {} was compensated: an earlier attempt may have succeeded", name)
        if attempted is not None and attempted.state is StepState.FAILED:
            text = "it is unknown whether {} was compensated: {} failed{}, but another attempt may have succeeded"
            return phrase(text, name, attempted.name, bracketed_error(attempted.attempts[-1]))
        text = "it is unknown whether {} was compensated: the outcome of {} is unknown"
        return phrase(text, name, entry.compensation or "its compensation")
    name = with_amount(entry, case.saga.currency) if entry is not None else finding.step or "a step"
    if subject_of(finding).attempt.state is not AttemptState.OK:
        since = " since" if effect is not None and effect.compensated else ""
        text = "{} may still be in effect: its outcome is unknown, and no successful compensation was received{}"
        return phrase(text, name, since)
    return phrase("{} is still committed: no successful compensation was received", name)


def compensation_failed(case: Case, finding: Finding) -> Text:
    """The fact of `compensation_failed`."""
    step, attempt = subject_of(finding)
    failures = len(consecutive_failures(subject_of(finding)))
    often = f", after {failures} attempts," if failures > 1 else ""
    where = f" in {process_label(attempt.process)}"
    unread = f"; {UNREAD_STEPS}" if case.has_unread_steps else ""
    text = "The compensation {} failed for the last time{} at {}{}{}{}"
    return phrase(text, step.label, often, end_text(case, attempt), where, bracketed_error(attempt), unread)


def applied_twice(case: Case, finding: Finding) -> Text:
    """The fact of `applied_twice`."""
    second = subject_of(finding)
    first, is_doubtful = finding.other or second, finding.confidence is Confidence.POSSIBLE
    again = phrase("at {} by {}", end_text(case, second.attempt), process_label(second.attempt.process))
    before = end_text(case, first.attempt)
    if first.step.type != second.step.type:
        text = "{} was executed {}, {}after its compensation {} at {}"
        return phrase(text, second.step.label, again, "possibly " if is_doubtful else "", first.step.name, before)
    why = messages.duplicate_cause(case, first.attempt, second.attempt)
    text = "{} {} executed twice: at {} by {} and {}"
    verb = "may have been" if is_doubtful else "was"
    fact = phrase(text, second.step.label, verb, before, process_label(first.attempt.process), again)
    return sentences(fact, capitalized(why))


def _started(case: Case, in_flight_attempt: StepAttempt, what: str) -> Text:
    """``ledger-1 started it at 14:02:11Z (attempt 2)``."""
    attempt = in_flight_attempt.attempt
    number = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    verb, queue = "requested" if attempt.is_only_requested else "started", messages.queue_of(attempt)
    where = f" on {queue}" if queue else ""
    text = "{} {} {}{} at {}{}"
    return phrase(
        text, process_label(attempt.process), verb, what, where, case.time_text(attempt.executor_started_at), number
    )


def subject_of(finding: Finding) -> StepAttempt:
    """Returns the attempt that a finding is about.

    Raises:
        ValueError: The finding is about no attempt.
    """
    if finding.subject is None:
        raise ValueError(f"{finding.reason} is always about an attempt")
    return finding.subject


def end_text(case: Case, attempt: Attempt) -> Text:
    """Returns the time at which an attempt ended; while it is in flight, of its call."""
    return case.time_text(
        (attempt.ended_at + attempt.offset) if attempt.ended_at else attempt.finished_at or attempt.called_at
    )


def bracketed_error(attempt: Attempt) -> str:
    """Returns the error in brackets; ``""`` if none was received."""
    return f" ({shortened(attempt.error_text)})" if attempt.error_text else ""


def engine_report(case: Case, subject: StepAttempt | None) -> Text:
    """Returns the engine's report on what blocks this step or the saga; empty if the engine reports no obstacle."""
    attempts = subject.step.attempts if subject is not None else ()
    views = (span for attempt in attempts for span in attempt.views)
    whole = (span for span in case.saga.spans if span.mark.role == semconv.ROLE_SAGA)
    held = _current_reports(case, [*(span.span_id for span in whole), *(span.span_id for span in views)])
    return Text(f"Its engine reports: {'; '.join(shortened(each) for each in held)}") if held else Text()


def _current_reports(case: Case, spans: Iterable[str]) -> list[str]:
    """The latest report on each of these spans that was not withdrawn."""
    latest = dict.fromkeys(spans, "")
    for log in case.saga.logs:
        is_about_message = log.attributes.get(semconv.BLOCKED_CAUSE) == DEAD_LETTER
        if log.event_name == semconv.EVENT_WAITING and log.span_id in latest and not is_about_message:
            latest[log.span_id] = str(log.body or "")
    return [each for each in dict.fromkeys(latest.values()) if each]
