"""The spans of a saga, each told by whatever came of it: its final form, an open one, a start record.

Several records of one (trace id, span id) are forms of one span, unless they tell of two: a client and a server that
share an id, as Zipkin's do, or two processes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sagascope import semconv
from sagascope_collector import engines
from sagascope_collector.analysis.values import SECOND
from sagascope_collector.records import Heartbeat, Instance, Listing, Log, Mark, Process, Span

SpanKey = tuple[str, str]
"""(trace id, span id); further spans that share an id have a number behind it."""

ProcessKey = tuple[str, str]
"""(service, identity)."""

GRACE = 10 * SECOND
"""What a final span may take to come after its process stopped listing it as open."""


@dataclass(slots=True)
class Woven:
    """The spans of a saga, joined."""

    spans: dict[SpanKey, Span]
    announced: dict[SpanKey, int]
    """When each span that is still open was announced."""
    again: list[Span]
    """Spans that stand among `spans` already, as the attempts of this saga that their links make them besides."""


def weave(spans: Iterable[Span], logs: Iterable[Log]) -> Woven:
    """Join all forms of each span: a final one wins over an open one, the fuller over the other."""
    joined: dict[SpanKey, Span] = {}
    forms: dict[SpanKey, list[Span]] = {}
    for span in spans:
        span = engines.in_flight(span) if engines.is_pending(span) else span
        key = (span.trace_id, span.span_id)
        known = joined.setdefault(key, span)
        if known is not span:
            forms.setdefault(key, [known]).append(span)
    again = [span for key, several in forms.items() for span in _settle(joined, key, several)]
    announced: dict[SpanKey, int] = {}
    for log in logs:
        if log.event_name == semconv.EVENT_SPAN_START and log.span_id:
            _announce(log, joined, announced)
        elif engines.is_partial(log.attributes) and (begun := engines.open_span(log)):
            key = (begun.trace_id, begun.span_id)
            joined[key] = fuller(joined.get(key, begun), begun)
    return Woven(joined, announced, again)


def _settle(joined: dict[SpanKey, Span], key: SpanKey, forms: list[Span]) -> list[Span]:
    """Keep the fullest form of each span of this id; what is returned are the attempts that links make it besides."""
    distinct: list[Span] = []
    besides: dict[Mark, Span] = {}
    for form in sorted(forms, key=_fullness, reverse=True):
        same = next((each for each in distinct if _are_one(each, form)), None)
        if same is None:
            distinct.append(form)
        elif form.links and _is_another_attempt(same, form):
            besides[form.mark] = form
        elif form.end and form.start < same.start and process_key(form.process) == process_key(same.process):
            distinct[distinct.index(same)] = replace(same, start=form.start)  # sent at its eviction, and at its end
    joined |= keyed(distinct)
    return list(besides.values())


def keyed(spans: Iterable[Span]) -> dict[SpanKey, Span]:
    """Spans by key; of those that share an id the caller's has the id alone, then the earliest."""
    found: dict[SpanKey, list[Span]] = {}
    for span in spans:
        found.setdefault((span.trace_id, span.span_id), []).append(span)
    by_key: dict[SpanKey, Span] = {}
    for (trace_id, span_id), several in found.items():
        ordered = several if len(several) == 1 else sorted(several, key=_sharing_order)
        for place, span in enumerate(ordered):
            by_key[trace_id, f"{span_id} {place}" if place else span_id] = span
    return by_key


def _sharing_order(span: Span) -> tuple[bool, int, int, ProcessKey, str]:
    return span.kind not in CALLING, span.start, span.end, process_key(span.process), span.kind


CALLING = ("client", "producer")
"""Kinds of spans with which a process asks another for work."""


def _are_one(one: Span, other: Span) -> bool:
    """Whether two records of one id are forms of one span.

    An open and a final form are; so is what names no process, as what a bridge tells of another's work.
    """
    if not (one.end and other.end):
        return True
    if {one.kind, other.kind} == {"client", "server"}:
        return False
    if not (one.process.identity and other.process.identity):
        return True
    return process_key(one.process) == process_key(other.process) and {one.kind, other.kind} != {"producer", "consumer"}


def _is_another_attempt(one: Span, other: Span) -> bool:
    """Whether two forms of one span tell of two attempts: both have ended, and only their links tell them apart."""
    return one.mark != other.mark and one.end > 0 and one.end == other.end and one.attributes == other.attributes


def _announce(log: Log, joined: dict[SpanKey, Span], announced: dict[SpanKey, int]) -> None:
    key = (log.trace_id, log.span_id)
    known = joined.get(key)
    if known is not None and known.end:
        return
    said_at = log.observed_at or log.at
    if log.received_at:
        said_at = min(said_at, log.received_at)
    announced[key] = min(announced.get(key, said_at), said_at)
    begun = from_start_record(log)
    joined[key] = begun if known is None else fuller(known, begun)


def fuller(one: Span, other: Span) -> Span:
    """The one that tells more; the choice does not depend on which came first."""
    return one if one is other or _fullness(one) >= _fullness(other) else other


def _fullness(span: Span) -> tuple[bool, bool, int, int, int, str]:
    """Who has the work knows more of it than who merely tells of it."""
    told = len(span.attributes) + len(span.events)
    return span.end > 0, bool(span.process.identity), span.end, told, span.start, repr(span)


def from_start_record(log: Log) -> Span:
    """The open span that a start record announces."""
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
    """The instances by (service, identity); of two words of one process, the later."""
    known: dict[ProcessKey, Instance] = {}
    for instance in instances:
        key = process_key(instance.process)
        earlier = known.get(key)
        known[key] = instance if earlier is None else max(earlier, instance, key=_lateness)
    return known


def process_key(process: Process) -> ProcessKey:
    """What tells processes of one environment apart."""
    return process.service, process.identity


def _lateness(instance: Instance) -> tuple[int, int, int]:
    beat = instance.heartbeat
    return (beat.at, beat.sequence, instance.last_seen) if beat else (0, 0, instance.last_seen)


def is_unlisted(span_id: str, announced_at: int, said: Heartbeat | Listing | None) -> bool:
    """Whether a process, after it announced the span, gave a complete list of its open spans without it."""
    if said is None or announced_at >= said.at or (isinstance(said, Heartbeat) and not said.complete):
        return False
    return span_id not in said.open_spans


def gone(woven: Woven, instances: Mapping[ProcessKey, Instance], now: int) -> frozenset[str]:
    """Ids of the open spans that are over although their final span never came, as of ``now``."""
    return frozenset(
        span_id
        for (trace_id, span_id), announced_at in woven.announced.items()
        if _is_gone(woven.spans[trace_id, span_id], announced_at, instances, now)
    )


def _is_gone(span: Span, announced_at: int, instances: Mapping[ProcessKey, Instance], now: int) -> bool:
    instance = instances.get(process_key(span.process))
    if instance is None or instance.heartbeat is None:
        return False
    if is_unlisted(span.span_id, announced_at, instance.earlier):
        return True
    waited = max(now, instance.last_seen) - instance.heartbeat.at
    return waited >= GRACE and is_unlisted(span.span_id, announced_at, instance.heartbeat)
