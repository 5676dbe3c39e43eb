"""Told telemetry as the facts that the store would give back, without a collector in between."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sagascope import semconv
from sagascope_collector import records
from sagascope_collector.observations import Beat, Observation, merge
from sagascope_collector.records import Facts, Instance, Link, Log, Mark, SagaId, Scope, Span
from support.telemetry import SECOND, EmittedLog, EmittedSpan, Moment, Process, Telemetry, by_label, start_attributes

STARTED = 1_795_000_000 * SECOND
"""When every story starts: 18 November 2026, 11:06:40 UTC."""


@dataclass
class Seen:
    """The facts of a story, and the processes as they were at a moment."""

    spans: tuple[Span, ...]
    logs: tuple[Log, ...]
    instances: tuple[Instance, ...]

    def facts(self, saga_id: str, environment: str = "") -> Facts:
        return Facts(SagaId(environment, saga_id), self.spans, self.logs, self.instances)


def seen(told: Telemetry, until: float | None = None) -> Seen:
    """What a collector has at ``until``, seconds into the story; None: everything."""
    labels = by_label(told.spans)
    spans = [span(each) for each in told.spans if each.form in ("final", "zero") and _by(_ended(each), until)]
    logs, beats = [], []
    for each in told.logs:
        if _by(each.observed, until):
            (beats if each.event == semconv.EVENT_HEARTBEAT else logs).append(each)
    stored = tuple(log(each, labels) for each in logs)
    return Seen(tuple(spans), stored, tuple(_instances(spans, stored, beats)))


def _by(at: float, until: float | None) -> bool:
    return until is None or at <= until


def _ended(told: EmittedSpan) -> float:
    return told.start if told.end is None else told.end


def moment(process: Process, at: float) -> int:
    """A moment of the story as the clock of a process has it."""
    return STARTED + round((at + process.skew) * SECOND)


def received(at: float) -> int:
    """When what was sent at a moment came: at once, by the collector's clock."""
    return STARTED + round(at * SECOND)


def process(told: Process) -> records.Process:
    identity = f"process of {told.name}" if told.known else ""
    instance = told.name if told.known else ""
    return records.Process(told.environment, told.service, told.version, identity, instance)


def mark(attributes: dict[str, Any]) -> Mark:
    said = attributes.get
    return Mark(
        id=said(semconv.SAGA_ID, ""),
        name=said(semconv.SAGA_NAME, ""),
        run=said(semconv.SAGA_RUN_ID, ""),
        role=said(semconv.SAGA_ROLE, ""),
        step=said(semconv.STEP_NAME, ""),
        type=said(semconv.STEP_TYPE, ""),
        key=said(semconv.STEP_KEY, ""),
        attempt=said(semconv.STEP_ATTEMPT, 0),
    )


def span(told: EmittedSpan) -> Span:
    events = ()
    if failed := told.error or told.exception:
        kind, _, message = failed.partition(": ")
        said = {"exception.type": kind, "exception.message": message}
        events = (records.Event("exception", moment(told.process, _ended(told)), said),)
    return Span(
        trace_id=told.trace_id,
        span_id=told.span_id,
        parent_id=told.parent_id,
        name=told.name,
        kind=told.kind,
        start=moment(told.process, told.start),
        end=0 if told.end is None else moment(told.process, told.end),
        status="error" if told.error else "unset",
        status_message="",
        mark=mark(told.attributes),
        process=process(told.process),
        attributes=settled(told.attributes),
        events=events,
        links=tuple(Link("f" * 32, "e" * 16, each) for each in told.links),
        scope=Scope("sagascope", schema_url=semconv.SCHEMA_URL) if told.process.ours else Scope(),
        received_at=received(_ended(told) if told.arrives is None else told.arrives),
    )


def log(told: EmittedLog, labels: dict[str, EmittedSpan]) -> Log:
    span = labels.get(told.span)
    attributes = told.attributes
    if told.event == semconv.EVENT_SPAN_START and span is not None:
        attributes = start_attributes(span)
    return Log(
        at=moment(told.process, told.at),
        observed_at=moment(told.process, told.observed),
        severity=9,
        severity_text="INFO",
        body=told.body,
        event_name=told.event,
        trace_id=span.trace_id if span else "",
        span_id=span.span_id if span else "",
        mark=mark(attributes),
        process=process(told.process),
        attributes=settled(attributes),
        timestamp=moment(told.process, told.at),
        received_at=received(told.observed),
    )


def settled(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes with moments of the story as Unix seconds."""
    return {
        name: float(value) + STARTED / SECOND if isinstance(value, Moment) else value
        for name, value in attributes.items()
    }


def _instances(spans: list[Span], logs: Iterable[Log], beats: list[EmittedLog]) -> Iterable[Instance]:
    heard: dict[records.Process, list[int]] = {}
    for each in spans:
        heard.setdefault(each.process, []).extend(
            min(at, each.received_at) for at in (each.start, each.end or each.start)
        )
    for record in logs:
        heard.setdefault(record.process, []).append(min(record.observed_at, record.received_at))
    sent: dict[records.Process, list[Beat]] = {}
    for told in beats:
        who, beat = process(told.process), _beat(told)
        heard.setdefault(who, []).append(beat.at)
        sent.setdefault(who, []).append(beat)
    seen = (Observation(who, min(at), max(at), tuple(sent.get(who, ()))) for who, at in heard.items())
    return [each.instance() for each in merge([], seen)]


def _beat(told: EmittedLog) -> Beat:
    said = told.attributes
    return Beat(
        at=min(moment(told.process, told.at), received(told.at)),
        interval=said[semconv.HEARTBEAT_INTERVAL],
        sequence=said[semconv.HEARTBEAT_SEQUENCE],
        open_spans=frozenset(said[semconv.HEARTBEAT_OPEN_SPANS]),
        final=said[semconv.HEARTBEAT_FINAL],
        received_at=received(told.at),
        ahead=max(moment(told.process, told.at) - received(told.at), 0),
    )
