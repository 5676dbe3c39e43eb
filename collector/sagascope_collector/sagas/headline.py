"""One sentence that a tired person can act on: where it stands, since when, why, what is in force.

Times are of the clock, in UTC, never "12 minutes ago": a kept sentence stays true.
"""

from collections.abc import Callable
from operator import itemgetter

from sagascope import semconv
from sagascope_collector.records import Process
from sagascope_collector.sagas import engines, messages
from sagascope_collector.sagas import forecast as forecasts
from sagascope_collector.sagas.case import Case, Finding, Try
from sagascope_collector.sagas.failures import failure
from sagascope_collector.sagas.forecast import forecast
from sagascope_collector.sagas.ledger import has_ended
from sagascope_collector.sagas.model import Attempt, AttemptState, Reason, Saga, Status
from sagascope_collector.sagas.stake import in_force
from sagascope_collector.sagas.standstill import failed_in_a_row
from sagascope_collector.sagas.words import clock, dated, sentence, shortened, times, who


def headline(case: Case, finding: Finding) -> str:
    """What is said of a saga that needs someone."""
    told = _SENTENCES[finding.reason](case, finding) + messages.told(case, finding)
    told += engines.told(case, finding.subject)
    flying = finding.subject is not None and finding.subject.attempt.state is AttemptState.IN_FLIGHT
    stake = in_force(case.saga, finding.step if flying or finding.reason is Reason.RETRYING else None)
    return sentence(f"{told}; {stake}" if stake else told)


def calm(case: Case, step: str | None) -> str:
    """What is said of a saga that needs nobody."""
    saga = case.saga
    if has_ended(saga.status) and saga.ended_at is not None:
        words = {Status.COMPLETED: "Completed", Status.COMPENSATED: "Given up and undone", Status.FAILED: "Failed"}
        why = _why_not(saga) if saga.status is not Status.COMPLETED else ""
        return sentence(f"{words[saga.status]} on {dated(saga.ended_at)}" + (f": {why}" if why else ""))
    subject = case.in_flight[0] if case.in_flight else case.failing
    return sentence(_going(case, step) + engines.told(case, subject))


def _why_not(saga: Saga) -> str:
    """Why a saga did not come to a good end: what ended it says so, else the step that failed last."""
    error = failure(saga.closing) if saga.closing is not None else None
    if said := error and (error.message or error.type):
        return shortened(said)
    failed = [
        (attempt.ended_at or 0, step.name, attempt)
        for step in saga.steps
        for attempt in step.attempts[-1:]
        if step.type != semconv.TYPE_COMPENSATION and attempt.state is AttemptState.ERROR
    ]
    if not failed:
        return ""
    _, name, attempt = max(failed, key=itemgetter(0))
    return f"{name} failed{_because(attempt)}"


def _going(case: Case, step: str | None) -> str:
    going = "Being undone" if case.is_backward else "Running"
    if case.in_flight:
        return f"{going}: {_took(case, case.in_flight[0])}"
    if case.failing is not None:
        return f"{going}: {_failed(case, case.failing)}"
    return f"{going}; {step} comes next" if step else going


def _failed(case: Case, failed: Try) -> str:
    attempt, expected = failed.attempt, forecast(case, failed)
    verb = "failed" if attempt.state is AttemptState.ERROR else "ended without a known outcome"
    said = f"attempt {attempt.number} of {failed.step.name} {verb} at {_end(case, attempt)}{_because(attempt)}"
    return f"{said}; {forecasts.told(case, expected)}" if expected else said


def _instance_lost(case: Case, finding: Finding) -> str:
    process = finding.process or Process()
    if finding.subject is None or finding.subject.attempt.state is not AttemptState.IN_FLIGHT:
        stood = f"Stopped before {finding.step}" if finding.step else "Stopped"
        return f"{stood}: {who(process)}, which drives it, {_fell_silent(case, process)}"
    step, attempt = finding.subject
    if attempt.process == process:
        return f"Stuck in {step.name}: {_took(case, finding.subject)} and {_fell_silent(case, process)}"
    called = f"{who(process)} called for it at {_at(case, attempt.began)}"
    return f"Stuck in {step.name}: {called} and {_fell_silent(case, process)}"


def _fell_silent(case: Case, process: Process) -> str:
    instance = case.liveness.instance(process)
    if instance is None:
        return "is gone"
    heard = case.liveness.last_heard(instance)
    return (
        f"shut down at {_at(case, heard)}"
        if case.liveness.said_final(process)
        else f"has been silent since {_at(case, heard)}"
    )


def _retrying(case: Case, finding: Finding) -> str:
    subject = _subject(finding)
    row = failed_in_a_row(subject)
    latest = row[-1].attempt
    often = f"{times(len(row))} since {_at(case, row[0].attempt.began)}"
    where = f"the latest at {_end(case, latest)} in {who(latest.process)}"
    told = f"{subject.step.name} keeps failing: {often}, {where}{_because(latest)}{messages.delivered_again(case, row)}"
    flying = subject.step.attempts[-1]
    if flying.state is AttemptState.IN_FLIGHT:
        return f"{told}; attempt {flying.number} is under way"
    expected = forecast(case, row[-1])
    return f"{told}; {forecasts.told(case, expected)}" if expected else told


def _hung(case: Case, finding: Finding) -> str:
    subject = _subject(finding)
    over = "been taken" if messages.is_untaken(subject.attempt) else "ended"
    late = f"it should have {over} by {_at(case, finding.due)}" if finding.due is not None else "it is late"
    return f"Stuck in {subject.step.name}: {_took(case, subject)} and {_holder(case, subject.attempt)}; {late}"


def _holder(case: Case, attempt: Attempt) -> str:
    if messages.is_untaken(attempt):
        return "nobody was heard to take it"
    return "is alive" if case.liveness.beats(attempt.process) else "sends no heartbeats"


def _next_step_missing(case: Case, finding: Finding) -> str:
    due = f" (it was due by {_at(case, finding.due)})" if finding.due is not None else ""
    last = finding.subject
    if last is None:
        return f"Stopped at its start, {_at(case, case.saga.started_at)}: nothing was heard of {finding.step}{due}"
    if last.attempt.state is not AttemptState.OK:
        verb = "failed" if last.attempt.state is AttemptState.ERROR else "ended without a known outcome"
        failed = f"attempt {last.attempt.number} {verb} at {_end(case, last.attempt)}{_because(last.attempt)}"
        return f"Stopped at {last.step.name}: {failed}, and nothing followed{due}"
    return (
        f"Stopped after {last.step.name}, done at {_end(case, last.attempt)}: nothing was heard of {finding.step}{due}"
    )


def _never_closed(case: Case, finding: Finding) -> str:
    all_done = "Everything was undone" if case.is_backward else "Every step was done"
    due = f" by {_at(case, finding.due)}" if finding.due is not None else ""
    return f"{all_done} by {_at(case, finding.since)}, but nobody closed it{due}"


def _in_doubt(case: Case, finding: Finding) -> str:
    subject = _subject(finding)
    whom, step = who(subject.attempt.process), subject.step.name
    ready = f"{whom} is prepared{'' if whom == step else f' for {step}'} since {_end(case, subject.attempt)}"
    return f"In doubt: {ready} and was told neither to commit nor to roll back"


def _uncompensated(case: Case, finding: Finding) -> str:
    name = finding.step
    unknown = _subject(finding).attempt.state is not AttemptState.OK
    left = f"{name}, which may have been done, has no undo that succeeded" if unknown else f"{name} was not undone"
    if case.saga.ended_at is not None:
        word = "undone" if case.saga.status is Status.COMPENSATED else "failed"
        return f"Closed as {word} at {_at(case, case.saga.ended_at)}, but {left}"
    failed = case.failing
    stopped = f"{failed.step.name} failed for good at {_end(case, failed.attempt)}" if failed else "Given up"
    return f"{stopped}, nothing followed, and {left}"


def _compensation_failed(case: Case, finding: Finding) -> str:
    subject = _subject(finding)
    tries = times(len(failed_in_a_row(subject)))
    latest = f"the latest at {_end(case, subject.attempt)} in {who(subject.attempt.process)}{_because(subject.attempt)}"
    return f"The undo {subject.step.name} failed for good: {tries}, {latest}"


def _applied_twice(case: Case, finding: Finding) -> str:
    second, first = _subject(finding), finding.other
    again = f"at {_end(case, second.attempt)} by {who(second.attempt.process)}"
    if first is None:
        return f"{second.step.name} was applied twice, the second time {again}"
    before = f"at {_end(case, first.attempt)}"
    if first.step.type == second.step.type:
        why = messages.came_twice(case, first.attempt, second.attempt)
        return f"{second.step.name} was applied twice: {before} by {who(first.attempt.process)} and {again}{why}"
    return f"{second.step.name} was applied {again}, after its undo {first.step.name} {before}"


_SENTENCES: dict[Reason, Callable[[Case, Finding], str]] = {
    Reason.APPLIED_TWICE: _applied_twice,
    Reason.COMPENSATION_FAILED: _compensation_failed,
    Reason.UNCOMPENSATED: _uncompensated,
    Reason.IN_DOUBT: _in_doubt,
    Reason.INSTANCE_LOST: _instance_lost,
    Reason.RETRYING: _retrying,
    Reason.HUNG: _hung,
    Reason.NEXT_STEP_MISSING: _next_step_missing,
    Reason.NEVER_CLOSED: _never_closed,
}


def _took(case: Case, flying: Try) -> str:
    attempt = flying.attempt
    number = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    did, queue = "called for" if messages.is_untaken(attempt) else "took", messages.queue_of(attempt)
    where = f" on {queue}" if queue else ""
    return f"{who(attempt.process)} {did} it{where} at {_at(case, attempt.taken_at)}{number}"


def _subject(finding: Finding) -> Try:
    if finding.subject is None:
        raise ValueError(f"{finding.reason} is always about an attempt")
    return finding.subject


def _end(case: Case, attempt: Attempt) -> str:
    return _at(case, (attempt.ended_at + attempt.offset) if attempt.ended_at else attempt.over or attempt.began)


def _at(case: Case, moment: int) -> str:
    return clock(moment, case.watch.now)


def _because(attempt: Attempt) -> str:
    """The error in brackets, where one was sent."""
    said = attempt.error and (attempt.error.message or attempt.error.type)
    return f" ({shortened(said)})" if said else ""
