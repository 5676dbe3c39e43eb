"""Spans of a saga, joined from all their records, and their tree.

Several records of one (trace id, span id) are copies of one span (final, open, or a start record), unless they are two
spans: a client and a server that share an id, as Zipkin's do, or two processes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector import engines
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.engines.engine import RECEIVING_KINDS
from sagascope_collector.records import Heartbeat, Instance, Log, Mark, OpenSpanList, Process, Span

SpanKey = tuple[str, str]
"""(trace id, span id); further spans with the same id have a number appended."""

ProcessKey = tuple[str, str]
"""(service, identity)."""

FINAL_SPAN_GRACE_NS = 10 * NANOSECONDS_PER_SECOND
"""Nanoseconds that a final span may take to arrive after its process stopped listing it as open."""


@dataclass(slots=True)
class JoinedSpans:
    """The spans of a saga, joined."""

    spans: dict[SpanKey, Span]
    announced: dict[SpanKey, int]
    """The time at which each open span was announced."""
    further_attempts: list[Span]
    """Further attempts of this saga from the links of a span that is already in `spans`."""


def join_records(spans: Iterable[Span], logs: Iterable[Log]) -> JoinedSpans:
    """Joins the records of each span: a final record replaces an open one, a detailed record a less detailed one."""
    joined: dict[SpanKey, Span] = {}
    copies: dict[SpanKey, list[Span]] = {}
    for span in spans:
        span = engines.in_flight(span) if engines.is_pending(span) else span
        key = (span.trace_id, span.span_id)
        known = joined.setdefault(key, span)
        if known is not span:
            copies.setdefault(key, [known]).append(span)
    further_attempts = [span for key, several in copies.items() for span in _join_copies(joined, key, several)]
    announced: dict[SpanKey, int] = {}
    for log in logs:
        if log.event_name == semconv.EVENT_SPAN_START and log.span_id:
            _announce(log, joined, announced)
        elif engines.is_partial(log.attributes) and (opened := engines.open_span(log)):
            key = (opened.trace_id, opened.span_id)
            joined[key] = more_detailed(joined.get(key, opened), opened)
        elif (step := engines.step_of_log(log)) is not None:
            key = (step.trace_id, step.span_id)
            joined[key] = engines.with_logged_attempt(joined.get(key), step)
    return JoinedSpans(joined, announced, further_attempts)


def _join_copies(joined: dict[SpanKey, Span], key: SpanKey, copies: list[Span]) -> list[Span]:
    """Keeps the most detailed copy of each span with this id; returns the further attempts from its links."""
    distinct: list[Span] = []
    further: dict[Mark, Span] = {}
    for copy in sorted(copies, key=_detail_order, reverse=True):
        same = next((each for each in distinct if _are_one(each, copy)), None)
        if same is None:
            distinct.append(copy)
        elif copy.links and _is_another_attempt(same, copy):
            further[copy.mark] = copy
        elif copy.end and copy.start < same.start and process_key(copy.process) == process_key(same.process):
            distinct[distinct.index(same)] = replace(same, start=copy.start)  # sent at its eviction, and at its end
    joined |= keyed(distinct)
    return list(further.values())


def keyed(spans: Iterable[Span]) -> dict[SpanKey, Span]:
    """Returns spans by key. Among spans with the same id, the caller's has the plain id, else the earliest span."""
    found: dict[SpanKey, list[Span]] = {}
    for span in spans:
        found.setdefault((span.trace_id, span.span_id), []).append(span)
    by_key: dict[SpanKey, Span] = {}
    for (trace_id, span_id), several in found.items():
        ordered = several if len(several) == 1 else sorted(several, key=_sharing_order)
        for index, span in enumerate(ordered):
            by_key[trace_id, f"{span_id} {index}" if index else span_id] = span
    return by_key


def _sharing_order(span: Span) -> tuple[bool, int, int, ProcessKey, str]:
    return span.kind not in CALLING_KINDS, span.start, span.end, process_key(span.process), span.kind


CALLING_KINDS = ("client", "producer")
"""Kinds of spans with which a process calls another."""


def _are_one(one: Span, other: Span) -> bool:
    """Whether two records of one id are copies of one span.

    An open and a final record are copies; so are a record without a process, such as a bridge's, and what one service
    reports twice, with Sagascope and with an exporter of its own.
    """
    if not (one.end and other.end) or _content(one) == _content(other):
        return True
    if {one.kind, other.kind} == {"client", "server"}:
        return False
    if not (one.process.identity and other.process.identity):
        return True
    return process_key(one.process) == process_key(other.process) and {one.kind, other.kind} != {"producer", "consumer"}


def _content(span: Span) -> tuple[object, ...]:
    """What two exporters of one process report alike of a span."""
    return span.kind, span.name, span.start, span.end, span.status, span.process.service, span.attributes


def _is_another_attempt(one: Span, other: Span) -> bool:
    """Whether two copies of one span report two attempts: both have ended, and only their links differ."""
    return one.mark != other.mark and one.end > 0 and one.end == other.end and one.attributes == other.attributes


def _announce(log: Log, joined: dict[SpanKey, Span], announced: dict[SpanKey, int]) -> None:
    key = (log.trace_id, log.span_id)
    known = joined.get(key)
    if known is not None and known.end:
        return
    reported_at = log.observed_at or log.at
    announced[key] = min(announced.get(key, reported_at), reported_at)
    opened = from_start_record(log)
    joined[key] = opened if known is None else more_detailed(known, opened)


def more_detailed(one: Span, other: Span) -> Span:
    """Returns the more detailed of two copies, independent of the order of arrival."""
    return one if one is other or _detail_order(one) >= _detail_order(other) else other


def _detail_order(span: Span) -> tuple[bool, bool, int, int, int, str]:
    """The sort key of detail: the process that does the work reports more than other processes."""
    details = len(span.attributes) + len(span.events)
    # `repr` breaks ties, so that the order of arrival decides nothing
    return span.end > 0, bool(span.process.identity), span.end, details, span.start, repr(span)


def from_start_record(log: Log) -> Span:
    """Returns the open span that a start record announces."""
    attributes = log.attributes
    return Span(
        trace_id=log.trace_id,
        span_id=log.span_id,
        parent_id=str(attributes.get(semconv.SPAN_PARENT_ID) or "").lower(),
        name=str(attributes.get(semconv.SPAN_NAME) or ""),
        kind=str(attributes.get(semconv.SPAN_KIND) or "unspecified").lower(),
        start=log.at,
        end=0,
        status="unset",
        status_message="",
        mark=log.mark,
        process=log.process,
        attributes=attributes,
        resource=log.resource,
        scope=log.scope,
    )


def processes(instances: Iterable[Instance]) -> dict[ProcessKey, Instance]:
    """Returns the instances by (service, identity), from the latest report of each process."""
    known: dict[ProcessKey, Instance] = {}
    for instance in instances:
        key = process_key(instance.process)
        earlier = known.get(key)
        known[key] = instance if earlier is None else max(earlier, instance, key=_report_order)
    return known


def time_of(record: Span | Log) -> int:
    """Returns the start of a span, or the time of a log record."""
    return record.start if isinstance(record, Span) else record.at


def process_key(process: Process) -> ProcessKey:
    """Returns the identity of a process within its environment."""
    return process.service, process.identity


def _report_order(instance: Instance) -> tuple[int, int, int]:
    beat = instance.heartbeat
    return (beat.at, beat.sequence, instance.last_seen) if beat else (0, 0, instance.last_seen)


def is_unlisted(span_id: str, announced_at: int, report: Heartbeat | OpenSpanList | None) -> bool:
    """Whether a process, after it announced the span, sent a complete list of open spans without it.

    Both times are by the clock of the process.
    """
    if (
        report is None
        or announced_at >= report.at + report.ahead
        or (isinstance(report, Heartbeat) and not report.complete)
    ):
        return False
    return span_id not in report.open_spans


def lost_spans(joined: JoinedSpans, instances: Mapping[ProcessKey, Instance], now: int) -> frozenset[str]:
    """Returns the ids of open spans that have ended, as of ``now``, although their final span was not received."""
    return frozenset(
        span_id
        for (trace_id, span_id), announced_at in joined.announced.items()
        if _is_lost_span(joined.spans[trace_id, span_id], announced_at, instances, now)
    )


def _is_lost_span(span: Span, announced_at: int, instances: Mapping[ProcessKey, Instance], now: int) -> bool:
    instance = instances.get(process_key(span.process))
    if instance is None or instance.heartbeat is None:
        return False
    if is_unlisted(span.span_id, announced_at, instance.earlier):
        return True
    waited = max(now, instance.reported_at) - instance.heartbeat.at - instance.behind
    return waited >= FINAL_SPAN_GRACE_NS and is_unlisted(span.span_id, announced_at, instance.heartbeat)


MAX_ANCESTORS = 256
"""Spans that are followed upward; a longer chain, or a cycle, is cut off."""


class SpanTree:
    """Finds the ancestors of spans.

    If a client and a server share an id, the server's span is below the client's, and a span that names that id as its
    parent is below the one of its own process.
    """

    def __init__(self, spans: Mapping[SpanKey, Span]) -> None:
        self._spans = spans
        self._sharing: dict[SpanKey, list[Span]] = {}
        for key, span in spans.items():
            if key[1] != span.span_id:
                self._sharing.setdefault((span.trace_id, span.span_id), []).append(span)

    def parent(self, span: Span) -> Span | None:
        """Returns the parent span; None if it was not received."""
        if self._sharing:
            return self._parent_among_sharing(span)
        return self._spans.get((span.trace_id, span.parent_id)) if span.parent_id else None

    def _parent_among_sharing(self, span: Span) -> Span | None:
        own = span.trace_id, span.span_id
        if own in self._sharing and span.kind == "server":
            first = self._spans.get(own)
            if first is not None and first.kind == "client" and first is not span:
                return first
        key = span.trace_id, span.parent_id
        first = self._spans.get(key) if span.parent_id else None
        others = self._sharing.get(key, ()) if first is not None else ()
        here = process_key(span.process)
        return next((each for each in (*others, first) if each and process_key(each.process) == here), first)

    def above(self, span: Span) -> Iterator[Span]:
        """Yields the received ancestors, nearest first."""
        at = self.parent(span)
        for _ in range(MAX_ANCESTORS):
            if at is None:
                return
            yield at
            at = self.parent(at)

    def is_below(self, span: Span, other: Span) -> bool:
        """Whether ``other`` is an ancestor of ``span``."""
        if span.parent_id == other.span_id and not self._sharing:
            return span.trace_id == other.trace_id
        return span.trace_id == other.trace_id and any(each is other for each in self.above(span))

    def received_here(self, span: Span) -> bool:
        """Whether the span is, or is inside, a span with which its own process received the work from another."""
        if span.kind in RECEIVING_KINDS:
            return True
        here = process_key(span.process)
        for each in self.above(span):
            if process_key(each.process) != here or each.mark.role == semconv.ROLE_SAGA:
                return False
            if each.kind in RECEIVING_KINDS:
                return True
        return False


SAMPLED_TRACE_STATE: Final = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:(?!0*(?:[;,]|$))")
"""Matches a trace state that declares sampling: only a share of the traces was kept."""


def is_sampled(trace_state: str) -> bool:
    """Whether the sender sampled its traces."""
    return bool(trace_state) and SAMPLED_TRACE_STATE.search(trace_state) is not None


LoggedStepKey = tuple[str, str]
"""(step, key)."""


DESCRIPTIVE_PREFIXES = ("saga.step.", semconv.AMOUNT, semconv.CURRENCY, "saga.wait.")
"""Prefixes of the attributes that describe an attempt."""


SPAN_EVENTS = (semconv.EVENT_SPAN_START, semconv.EVENT_HEARTBEAT, semconv.EVENT_WAITING)
"""Events that describe spans, not work in a step."""


class LoggedStep(NamedTuple):
    """A step that only log records report."""

    span: Span
    """An open span that represents the step, starting at its first log record."""
    last_at: int
    """The time of the latest log record."""
    is_over: bool
    """Whether a record of another step, or the end of the saga, followed; the outcome is then unknown."""


def logged_steps(logs: Iterable[Log], spans: Iterable[Span], ended_at: int | None) -> list[LoggedStep]:
    """Returns the steps that only log records name, in order of their first record. ``logs`` are in time order."""
    records: dict[LoggedStepKey, list[Log]] = {}
    for log in logs:
        if log.mark.step and log.event_name not in SPAN_EVENTS:
            records.setdefault((log.mark.step, log.mark.key), []).append(log)
    if not records:
        return []
    spans = list(spans)
    seen = {(span.mark.step, span.mark.key) for span in spans if span.mark.role == semconv.ROLE_STEP}
    named = {key: of_step for key, of_step in records.items() if key not in seen}
    latest = _latest_of_each(records, spans)
    return [_logged(key, of_step, latest, ended_at) for key, of_step in named.items()]


def _latest_of_each(records: Mapping[LoggedStepKey, list[Log]], spans: Iterable[Span]) -> dict[LoggedStepKey, int]:
    """The time of each step's latest record."""
    latest = {key: of_step[-1].at for key, of_step in records.items()}
    for span in spans:
        if span.mark.role == semconv.ROLE_STEP:
            key = span.mark.step, span.mark.key
            latest[key] = max(latest.get(key, 0), span.end or span.start)
    return latest


def _logged(
    key: LoggedStepKey, records: list[Log], latest: Mapping[LoggedStepKey, int], ended_at: int | None
) -> LoggedStep:
    first, last = records[0], records[-1]
    opened = from_start_record(first)
    attributes = {name: value for name, value in first.attributes.items() if name.startswith(DESCRIPTIVE_PREFIXES)}
    mark = replace(first.mark, role=semconv.ROLE_STEP)
    span = replace(opened, name=first.mark.step, kind="internal", mark=mark, attributes=attributes)
    followed = any(at > last.at for other, at in latest.items() if other != key)
    return LoggedStep(span, last.at, followed or ended_at is not None)
