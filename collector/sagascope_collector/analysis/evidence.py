"""The evidence of a verdict in time order, and notes about telemetry known to be missing.

Times are on the saga's clock.
"""

from collections.abc import Iterator
from itertools import islice

from sagascope import semconv
from sagascope_collector.analysis import messages
from sagascope_collector.analysis.anomalies import orphans
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.deadlines import consecutive_failures
from sagascope_collector.analysis.model import Attempt, AttemptState, Confidence
from sagascope_collector.analysis.spans import is_sampled
from sagascope_collector.analysis.wording import Evidence, Text, phrase, process_label, shortened
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Instance, Process, Span, as_text


def evidence(case: Case, finding: Finding) -> tuple[Evidence, ...]:
    """Returns the received facts behind a finding; none is inferred."""
    found = dict.fromkeys(_all(case, finding))
    return tuple(sorted(found, key=lambda each: (each.at, each.text)))


def _all(case: Case, finding: Finding) -> Iterator[Evidence]:
    for each in _attempts(case, finding):
        yield from _of_step_attempt(each)
    yield from _of_two_phase_commit(case, finding)
    yield from _of_block(case, finding)
    for process in dict.fromkeys(_processes(case, finding)):
        yield from _of_process(case, process)
    yield from _of_saga(case)
    if finding.reason.stops_at_step:
        yield from _of_others(case, finding)
    yield from messages.evidence(case, finding)
    if finding.reason.rests_on_absence:
        yield from notes(case, finding)


def _of_two_phase_commit(case: Case, finding: Finding) -> Iterator[Evidence]:
    if finding.reason is AttentionCode.MIXED_OUTCOME:
        for mixed in case.saga.mixed_outcomes:
            for participant in (*mixed.committed, *mixed.rolled_back):
                yield from _of_step_attempt(StepAttempt(*participant))
    if finding.reason is AttentionCode.IN_DOUBT:
        for undecided in case.undecided:
            yield from _of_prepared(case, undecided)


def _of_prepared(case: Case, undecided: StepAttempt) -> Iterator[Evidence]:
    """The last report of a prepared transaction: its locks, and the sessions that wait for them."""
    span_ids = {view.span_id for view in undecided.attempt.views}
    events = (semconv.EVENT_PREPARED_LOCKS, semconv.EVENT_PREPARED_FORGOTTEN)
    reports = [log for log in case.saga.logs if log.event_name in events and log.span_id in span_ids]
    for log in reports[-1:]:
        text = phrase("{} reports: {}", process_label(log.process), as_text(log.body).rstrip("."))
        yield Evidence(text, log.at, log.process.service or None, log.trace_id or None, log.span_id or None)


def _of_block(case: Case, finding: Finding) -> Iterator[Evidence]:
    if finding.reason is AttentionCode.BLOCKED:
        for report in case.saga.blocked:
            text = phrase("{} reports: {}", process_label(report.process), shortened(report.text))
            service = report.process.service or None
            yield Evidence(text, report.since, service, report.trace_id or None, report.span_id or None)


def _attempts(case: Case, finding: Finding) -> Iterator[StepAttempt]:
    """The attempts that the finding is about, with the first and the latest earlier failure."""
    for each in (finding.other, finding.subject):
        if each is not None:
            yield each
    failed = finding.subject
    if finding.reason is AttentionCode.UNCOMPENSATED:
        found = case.effect_of(finding.subject)
        yield from case.compensations_of(found[0])[-1:] if found is not None else ()
        errors = [each for each in case.step_attempts if each.attempt.state is AttemptState.ERROR]
        failed = case.failing or (errors[-1] if errors else None)
    failures = consecutive_failures(failed) if failed is not None else []
    yield from failures[:1]
    yield from failures[-1:]


def _of_saga(case: Case) -> Iterator[Evidence]:
    if case.saga.closing is not None:
        closing = case.saga.closing
        text = phrase("{} closed the saga as {}", process_label(closing.process), case.saga.status.value)
        yield _of_span(case, text, closing, closing.end)
    elif case.root is not None:
        text = phrase("{} started the saga; its root span is open", process_label(case.root.process))
        yield _of_span(case, text, case.root, case.root.start)


def _of_span(case: Case, text: Text, span: Span, at: int) -> Evidence:
    return Evidence(text, case.at(span.process, at), span.process.service or None, span.trace_id, span.span_id)


def _of_step_attempt(each: StepAttempt) -> Iterator[Evidence]:
    step, attempt = each
    item = f"{step.key}, " if step.key else ""
    caller, name = attempt.views[0], f"{step.name} ({item}attempt {attempt.number})"
    if caller.process != attempt.process:
        text = phrase("{} called {}", process_label(caller.process), name)
        yield Evidence(text, attempt.called_at, caller.process.service or None, caller.trace_id, caller.span_id)
    verb, queue = "requested" if attempt.is_only_requested else "started", messages.queue_of(attempt)
    where = f" on {queue}" if queue else ""
    yield _of_attempt(
        attempt, phrase("{} {} {}{}", process_label(attempt.process), verb, name, where), attempt.executor_started_at
    )
    if attempt.ended_at is not None:
        yield _of_attempt(attempt, phrase("{} {}", name, _end(attempt)), attempt.ended_at + attempt.offset)


def _of_attempt(attempt: Attempt, text: Text, at: int) -> Evidence:
    return Evidence(text, at, attempt.process.service or None, attempt.trace_id, attempt.span_id)


def _end(attempt: Attempt) -> str:
    if attempt.state is AttemptState.OK:
        return "succeeded"
    error = attempt.error_text
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
        yield Evidence(phrase("{} reported its shutdown", process_label(process)), at, service)
        return
    text = phrase(
        "Last heartbeat of {}; it announced the next within {} s", process_label(process), f"{beat.interval:g}"
    )
    yield Evidence(text, at, service)
    replacement = case.liveness.replacement(process) if case.liveness.is_lost(process) else None
    if replacement is not None:
        text = phrase("{}, another instance of {}, was first seen", process_label(replacement.process), process.service)
        yield Evidence(text, case.liveness.at(replacement.process, replacement.first_seen), service)


OTHERS_MARGIN_NS = NANOSECONDS_PER_SECOND
"""Nanoseconds by which another saga's attempt must be later: until then the clocks of two sagas may disagree, and what
stopped this saga may not have reached the other."""


def _of_others(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Evidence of another saga in which the step was started after this saga stopped at it, and succeeded."""
    if (latest := case.later_success(finding.step, finding.since + OTHERS_MARGIN_NS)) is not None:
        text = "{} was started in {} {} and succeeded: it works for other transactions"
        text = phrase(text, finding.step or "", *latest.key[1:3])
        yield Evidence(text, latest.at, latest.process.service or None, latest.trace_id, latest.span_id)


MAX_NOTES = 3
"""Maximum number of notes of one kind."""


def notes(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Returns notes about records of the saga or its services that are known to be missing."""
    if finding.confidence is Confidence.CERTAIN:
        return
    for found in (_lost(case), _without_parent(case), _not_reporting(case, finding), _dropped(case), _sampled(case)):
        yield from islice(found, MAX_NOTES)


def _lost(case: Case) -> Iterator[Evidence]:
    since = case.context.telemetry_lost.get(case.saga.key.environment)
    if since is not None:
        yield Evidence(Text("Most services stopped reporting at once: their telemetry may be lost"), since)


def _without_parent(case: Case) -> Iterator[Evidence]:
    for span in orphans(case.saga.spans):
        text = "The parent span of {} in {} was not received: part of this saga may be missing"
        text = phrase(text, span.name, process_label(span.process))
        yield _of_span(case, text, span, span.start)


def _not_reporting(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Services of the saga that announced heartbeats and stopped reporting."""
    subject = finding.process or (finding.subject.attempt.process if finding.subject else Process())
    for service, instance in _latest(case).items():
        if service != subject.service and case.liveness.is_lost(instance.process) and not _is_replaced(case, instance):
            reported_at = case.liveness.last_seen_at(instance)
            text = phrase("{} was last seen; it has not reported since", process_label(instance.process))
            yield Evidence(text, reported_at, service)


def _dropped(case: Case) -> Iterator[Evidence]:
    for instance in case.instances:
        beat, process = instance.heartbeat, instance.process
        if beat is not None and beat.dropped > 0:
            number = f"{beat.dropped:,} record{'s' if beat.dropped > 1 else ''}"
            text = phrase("{} reports that it could not send {} so far", process_label(process), number)
            yield Evidence(text, case.liveness.at(process, beat.at), process.service or None)


def _sampled(case: Case) -> Iterator[Evidence]:
    for span in case.saga.spans:
        if is_sampled(span.trace_state):
            text = phrase("{} sends a sample of its traces: some may be missing", process_label(span.process))
            yield _of_span(case, text, span, span.start)
            return


def _is_replaced(case: Case, lost: Instance) -> bool:
    """Whether another process of the service was first seen after this one was last seen."""
    seen_at = case.liveness.last_seen_at(lost)
    others = (each for each in case.instances if each.process.service == lost.process.service)
    return any(each.first_seen > seen_at for each in others)


def _latest(case: Case) -> dict[str, Instance]:
    """The process last seen of each service of the saga that sends heartbeats."""
    latest: dict[str, Instance] = {}
    for instance in case.instances:
        service = instance.process.service
        if instance.heartbeat is not None and service:
            known = latest.get(service)
            if known is None or case.liveness.last_seen_at(known) < case.liveness.last_seen_at(instance):
                latest[service] = instance
    return dict(sorted(latest.items()))
