"""The received facts behind a verdict, in time order; times are on the saga's clock."""

from collections.abc import Iterator

from sagascope_collector.records import Process, Span
from sagascope_collector.sagas import completeness, messages
from sagascope_collector.sagas.case import Case, Finding, Try
from sagascope_collector.sagas.model import Attempt, AttemptState, Evidence, Reason
from sagascope_collector.sagas.standstill import failed_in_a_row
from sagascope_collector.sagas.words import shortened, who


def evidence(case: Case, finding: Finding) -> tuple[Evidence, ...]:
    """What was received that the finding rests on; nothing here is inferred."""
    found = dict.fromkeys(_all(case, finding))
    return tuple(sorted(found, key=lambda each: (each.at, each.text)))


def _all(case: Case, finding: Finding) -> Iterator[Evidence]:
    for each in _tries(case, finding):
        yield from _of_try(each)
    for process in dict.fromkeys(_processes(case, finding)):
        yield from _of_process(case, process)
    yield from _of_saga(case)
    yield from _of_others(case, finding)
    yield from messages.evidence(case, finding)
    yield from completeness.notes(case, finding)


def _tries(case: Case, finding: Finding) -> Iterator[Try]:
    """The attempts that the finding is about, with the first and the latest that failed before it."""
    for each in (finding.other, finding.subject):
        if each is not None:
            yield each
    failed = finding.subject
    if finding.reason is Reason.UNCOMPENSATED:
        failed = case.failing or _failed_last(case)
    row = failed_in_a_row(failed) if failed is not None else []
    yield from row[:1]
    yield from row[-1:]


def _failed_last(case: Case) -> Try | None:
    failed = [each for each in case.tries if each.attempt.state is AttemptState.ERROR]
    return failed[-1] if failed else None


def _of_saga(case: Case) -> Iterator[Evidence]:
    if case.saga.closing is not None:
        closing = case.saga.closing
        text = f"{who(closing.process)} closed the saga as {case.saga.status.value}"
        yield _of_span(case, text, closing, closing.end)
    elif case.root is not None:
        text = f"{who(case.root.process)} began the saga; its root span is open"
        yield _of_span(case, text, case.root, case.root.start)


def _of_span(case: Case, text: str, span: Span, at: int) -> Evidence:
    return Evidence(text, case.at(span.process, at), span.process.service or None, span.trace_id, span.span_id)


def _of_try(each: Try) -> Iterator[Evidence]:
    step, attempt = each
    caller = attempt.views[0]
    if caller.process != attempt.process:
        text = f"{who(caller.process)} called for {step.name}, attempt {attempt.number}"
        yield Evidence(text, attempt.began, caller.process.service or None, caller.trace_id, caller.span_id)
    did, queue = "called for" if messages.is_untaken(attempt) else "began", messages.queue_of(attempt)
    began = f"{who(attempt.process)} {did} {step.name}{f' on {queue}' if queue else ''}, attempt {attempt.number}"
    yield _of_attempt(attempt, began, attempt.taken_at)
    if attempt.ended_at is not None:
        ended = f"{step.name}, attempt {attempt.number}, {_end(attempt)}"
        yield _of_attempt(attempt, ended, attempt.ended_at + attempt.offset)


def _of_attempt(attempt: Attempt, text: str, at: int) -> Evidence:
    return Evidence(text, at, attempt.process.service or None, attempt.trace_id, attempt.span_id)


def _end(attempt: Attempt) -> str:
    if attempt.state is AttemptState.OK:
        return "ended well"
    error = attempt.error and (attempt.error.message or attempt.error.type)
    verb = "failed" if attempt.state is AttemptState.ERROR else "ended without a known outcome"
    return f"{verb}: {shortened(error)}" if error else verb


def _processes(case: Case, finding: Finding) -> Iterator[Process]:
    if finding.process is not None:
        yield finding.process
    if finding.subject is not None and finding.subject.attempt.state is AttemptState.IN_FLIGHT:
        yield finding.subject.attempt.process
    if case.root is not None:
        yield case.root.process


def _of_process(case: Case, process: Process) -> Iterator[Evidence]:
    instance = case.liveness.instance(process)
    if instance is None or instance.heartbeat is None:
        return
    beat, service = instance.heartbeat, process.service or None
    at = case.liveness.at(process, beat.at)
    if beat.final:
        yield Evidence(f"{who(process)} said that it was shutting down", at, service, None, None)
        return
    text = f"last heartbeat of {who(process)}, which promised the next within {beat.interval:g} s"
    yield Evidence(text, at, service, None, None)
    successor = case.liveness.successor(process) if case.liveness.is_lost(process) else None
    if successor is not None:
        text = f"{who(successor.process)}, another process of {process.service}, was first heard"
        yield Evidence(text, case.liveness.at(successor.process, successor.first_seen), service, None, None)


def _of_others(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Another saga that passed the step since this one stopped at it."""
    if finding.step is None or finding.reason not in STANDS_AT_A_STEP:
        return
    passed = case.context.passed.get((*case.saga.key[:2], finding.step))
    if passed is not None and passed.key != case.saga.key and passed.at > finding.since:
        text = f"{passed.key.name} {passed.key.id} passed {finding.step}, so that others get through"
        yield Evidence(text, passed.at, passed.process.service or None, passed.trace_id, passed.span_id)


STANDS_AT_A_STEP = (Reason.INSTANCE_LOST, Reason.RETRYING, Reason.HUNG, Reason.NEXT_STEP_MISSING)
