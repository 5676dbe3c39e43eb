"""The received facts behind a verdict, in time order."""

from collections.abc import Iterator

from sagascope_collector.records import Process
from sagascope_collector.sagas.case import Case, Finding, Try
from sagascope_collector.sagas.model import Attempt, AttemptState, Evidence, Reason
from sagascope_collector.sagas.standstill import failed_in_a_row
from sagascope_collector.sagas.words import shortened, who


def evidence(case: Case, finding: Finding) -> tuple[Evidence, ...]:
    """What was received that the finding rests on; nothing here is inferred."""
    found = dict.fromkeys(_all(case, finding))
    return tuple(sorted(found, key=lambda each: (each.at, each.text)))


def _all(case: Case, finding: Finding) -> Iterator[Evidence]:
    tries = [each for each in (finding.other, finding.subject) if each is not None]
    if finding.reason in (Reason.RETRYING, Reason.COMPENSATION_FAILED) and finding.subject is not None:
        row = failed_in_a_row(finding.subject)
        tries += [row[0], row[-1]]
    for each in tries:
        yield from _of_try(each)
    for process in dict.fromkeys(_processes(case, finding)):
        yield from _of_process(case, process)
    if case.saga.closing is not None:
        closing = case.saga.closing
        text = f"{who(closing.process)} closed the saga as {case.saga.status.value}"
        yield Evidence(text, closing.end, closing.process.service or None, closing.trace_id, closing.span_id)
    elif case.root is not None:
        root = case.root
        text = f"{who(root.process)} began the saga; its root span is open"
        yield Evidence(text, root.start, root.process.service or None, root.trace_id, root.span_id)


def _of_try(each: Try) -> Iterator[Evidence]:
    step, attempt = each
    caller = attempt.views[0]
    if caller.process != attempt.process:
        text = f"{who(caller.process)} called for {step.name}, attempt {attempt.number}"
        yield Evidence(text, caller.start, caller.process.service or None, caller.trace_id, caller.span_id)
    yield _of_attempt(
        attempt,
        f"{who(attempt.process)} began {step.name}, attempt {attempt.number}",
        attempt.taken_at - attempt.offset,
    )
    if attempt.ended_at is not None:
        yield _of_attempt(attempt, f"{step.name}, attempt {attempt.number}, {_end(attempt)}", attempt.ended_at)


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
    if beat.final:
        yield Evidence(f"{who(process)} said that it was shutting down", beat.at, service, None, None)
        return
    text = f"last heartbeat of {who(process)}, which promised the next within {beat.interval:g} s"
    yield Evidence(text, beat.at, service, None, None)
    successor = case.liveness.successor(process) if case.liveness.is_lost(process) else None
    if successor is not None:
        text = f"{who(successor.process)}, another process of {process.service}, was first heard"
        yield Evidence(text, successor.first_seen, service, None, None)
