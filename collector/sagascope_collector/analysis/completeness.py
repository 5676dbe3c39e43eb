"""What is known to be missing from the telemetry: shown beside every claim that rests on the absence of a record."""

import re
from collections.abc import Iterator
from itertools import islice

from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.model import Confidence, Evidence
from sagascope_collector.analysis.tracing import orphans
from sagascope_collector.analysis.wording import Text, phrase
from sagascope_collector.analysis.words import who
from sagascope_collector.records import Instance, Process, Span

MAX_NOTES = 3
"""Notes of one kind that are shown."""

SAMPLED = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:(?!0*(?:[;,]|$))")
"""A trace state that says that only a share of the traces was kept."""


def notes(case: Case, finding: Finding) -> Iterator[Evidence]:
    """What of this saga, or of its services, is known not to have been received."""
    if finding.confidence is Confidence.CERTAIN:
        return
    for found in (_lost(case), _without_parent(case), _quiet(case, finding), _dropped(case), _sampled(case)):
        yield from islice(found, MAX_NOTES)


def _lost(case: Case) -> Iterator[Evidence]:
    since = case.context.telemetry_lost.get(case.saga.key.environment)
    if since is not None:
        yield Evidence(
            Text("Most services stopped reporting at once: their telemetry may be lost"), since, None, None, None
        )


def _without_parent(case: Case) -> Iterator[Evidence]:
    for span in orphans(case.saga.spans):
        text = "The parent span of {} in {} was not received: part of this saga may be missing"
        text = phrase(text, span.name, who(span.process))
        yield _of_span(case, text, span)


def _quiet(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Services of the saga that stopped reporting, although they had announced heartbeats."""
    told = finding.process or (finding.subject.attempt.process if finding.subject else Process())
    for service, instance in _latest(case).items():
        if service != told.service and case.liveness.is_lost(instance.process):
            heard = case.liveness.last_heard(instance)
            text = phrase("{} was last seen; it has not reported since", who(instance.process))
            yield Evidence(text, heard, service, None, None)


def _dropped(case: Case) -> Iterator[Evidence]:
    for instance in case.instances:
        beat, process = instance.heartbeat, instance.process
        if beat is not None and beat.dropped > 0:
            number = f"{beat.dropped:,} record{'s' if beat.dropped > 1 else ''}"
            text = phrase("{} reports that it could not send {} so far", who(process), number)
            yield Evidence(text, case.liveness.at(process, beat.at), process.service or None, None, None)


def _sampled(case: Case) -> Iterator[Evidence]:
    for span in case.saga.spans:
        if span.trace_state and SAMPLED.search(span.trace_state):
            text = phrase("{} sends a sample of its traces: some may be missing", who(span.process))
            yield _of_span(case, text, span)
            return


def _latest(case: Case) -> dict[str, Instance]:
    """Of each service of the saga that sends heartbeats, the process last seen."""
    latest: dict[str, Instance] = {}
    for instance in case.instances:
        service = instance.process.service
        if instance.heartbeat is not None and service:
            known = latest.get(service)
            if known is None or case.liveness.last_heard(known) < case.liveness.last_heard(instance):
                latest[service] = instance
    return dict(sorted(latest.items()))


def _of_span(case: Case, text: Text, span: Span) -> Evidence:
    return Evidence(text, case.at(span.process, span.start), span.process.service or None, span.trace_id, span.span_id)
