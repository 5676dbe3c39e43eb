"""The received facts behind a verdict, in time order; times are on the saga's clock."""

from collections.abc import Iterator
from typing import NamedTuple

from sagascope_collector.analysis import completeness, messages
from sagascope_collector.analysis.case import Case, Finding, Try
from sagascope_collector.analysis.model import Attempt, AttemptState, Evidence, Reason
from sagascope_collector.analysis.retries import failed_in_a_row
from sagascope_collector.analysis.wording import Text, phrase
from sagascope_collector.analysis.words import shortened, who
from sagascope_collector.records import Process, Span


class Basis(NamedTuple):
    """What a code's finding rests on, beside its attempts."""

    stops_at_a_step: bool
    """Then another saga's success in that step is evidence."""
    rests_on_absence: bool
    """Then what is known to be missing from the telemetry is shown."""


def evidence(case: Case, finding: Finding, basis: Basis) -> tuple[Evidence, ...]:
    """What was received that the finding rests on; nothing here is inferred."""
    found = dict.fromkeys(_all(case, finding, basis))
    return tuple(sorted(found, key=lambda each: (each.at, each.text)))


def _all(case: Case, finding: Finding, basis: Basis) -> Iterator[Evidence]:
    for each in _tries(case, finding):
        yield from _of_try(each)
    yield from _of_two_phase_commit(case, finding)
    yield from _of_block(case, finding)
    for process in dict.fromkeys(_processes(case, finding)):
        yield from _of_process(case, process)
    yield from _of_saga(case)
    if basis.stops_at_a_step:
        yield from _of_others(case, finding)
    yield from messages.evidence(case, finding)
    if basis.rests_on_absence:
        yield from completeness.notes(case, finding)


def _of_two_phase_commit(case: Case, finding: Finding) -> Iterator[Evidence]:
    if finding.reason is Reason.MIXED_OUTCOME:
        for mixed in case.saga.mixed_outcomes:
            for participant in (*mixed.committed, *mixed.rolled_back):
                yield from _of_try(Try(*participant))


def _of_block(case: Case, finding: Finding) -> Iterator[Evidence]:
    if finding.reason is Reason.BLOCKED:
        for report in case.saga.blocked:
            text = phrase("{} reports: {}", who(report.process), shortened(report.text))
            service = report.process.service or None
            yield Evidence(text, report.since, service, report.trace_id or None, report.span_id or None)


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
        text = phrase("{} closed the saga as {}", who(closing.process), case.saga.status.value)
        yield _of_span(case, text, closing, closing.end)
    elif case.root is not None:
        text = phrase("{} started the saga; its root span is open", who(case.root.process))
        yield _of_span(case, text, case.root, case.root.start)


def _of_span(case: Case, text: Text, span: Span, at: int) -> Evidence:
    return Evidence(text, case.at(span.process, at), span.process.service or None, span.trace_id, span.span_id)


def _of_try(each: Try) -> Iterator[Evidence]:
    step, attempt = each
    caller, name = attempt.views[0], f"{step.name} (attempt {attempt.number})"
    if caller.process != attempt.process:
        text = phrase("{} called {}", who(caller.process), name)
        yield Evidence(text, attempt.began, caller.process.service or None, caller.trace_id, caller.span_id)
    verb, queue = "requested" if messages.is_untaken(attempt) else "started", messages.queue_of(attempt)
    where = f" on {queue}" if queue else ""
    yield _of_attempt(attempt, phrase("{} {} {}{}", who(attempt.process), verb, name, where), attempt.taken_at)
    if attempt.ended_at is not None:
        yield _of_attempt(attempt, phrase("{} {}", name, _end(attempt)), attempt.ended_at + attempt.offset)


def _of_attempt(attempt: Attempt, text: Text, at: int) -> Evidence:
    return Evidence(text, at, attempt.process.service or None, attempt.trace_id, attempt.span_id)


def _end(attempt: Attempt) -> str:
    if attempt.state is AttemptState.OK:
        return "succeeded"
    error = attempt.error and (attempt.error.message or attempt.error.type)
    verb = "failed" if attempt.state is AttemptState.ERROR else "ended with an unknown outcome"
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
        yield Evidence(phrase("{} reported its shutdown", who(process)), at, service, None, None)
        return
    text = phrase("Last heartbeat of {}; it announced the next within {} s", who(process), f"{beat.interval:g}")
    yield Evidence(text, at, service, None, None)
    successor = case.liveness.successor(process) if case.liveness.is_lost(process) else None
    if successor is not None:
        text = phrase("{}, another instance of {}, was first seen", who(successor.process), process.service)
        yield Evidence(text, case.liveness.at(successor.process, successor.first_seen), service, None, None)


def _of_others(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Another saga in which the step succeeded since this one stopped at it."""
    if finding.step is None:
        return
    passed = case.context.passed.get((*case.type, finding.step))
    if passed is not None and passed.key != case.saga.key and passed.at > finding.since:
        text = phrase("{} succeeded in {} {}: it works for other transactions", finding.step, *passed.key[1:3])
        yield Evidence(text, passed.at, passed.process.service or None, passed.trace_id, passed.span_id)
