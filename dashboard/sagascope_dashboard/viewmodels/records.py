"""The spans of one saga as a tree and as a sequence of calls, the services' own log lines, and one record in full."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import ATTEMPT, block, epoch_ms, line, took

Level = Literal["error", "warning", "note"]

LEVELS: Mapping[str, tuple[Level, ...]] = {
    "All": ("error", "warning", "note"),
    "Warnings and errors": ("error", "warning"),
    "Errors": ("error",),
}
"""What the field for the level offers, and the lines that each choice leaves."""

_LEVELS: Mapping[str, Level] = {
    "ERROR": "error",
    "FATAL": "error",
    "CRITICAL": "error",
    "WARN": "warning",
    "WARNING": "warning",
}

INSTRUMENTATION_EVENTS = ("sagascope.", "partial.event")
"""Event names, by their start, of log records that instrumentation sends about spans: no service wrote them."""

INDENT = "\u2003"

UNKNOWN_SERVICE = "unknown service"
"""Shown in place of the name of a service that no record gives."""


def level(log: schemas.Log) -> Level:
    """Returns how severe a log line is."""
    return _LEVELS.get((log.severity or "").upper().rstrip("0123456789"), "note")


def own_logs(logs: Iterable[schemas.Log], levels: Sequence[str] = LEVELS["All"], text: str = "") -> list[schemas.Log]:
    """Returns the lines that services wrote themselves, of these levels, that contain a text in any case."""
    return [
        log
        for log in logs
        if not (log.event_name or "").startswith(INSTRUMENTATION_EVENTS)
        and level(log) in levels
        and _contains(text, log.body, log.service, log.event_name, log.attributes)
    ]


def _contains(text: str, *values: Any) -> bool:
    if not text:
        return True
    texts = (
        value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False) for value in values
    )
    return any(text.casefold() in each.casefold() for each in texts)


def log_key(log: schemas.Log) -> str:
    """Returns what identifies a log line."""
    return json.dumps([log.at.isoformat(), log.span_id, log.service, line(log.body, 200)])


def log_rows(logs: Sequence[schemas.Log]) -> list[dict[str, Any]]:
    """Returns log lines as rows of a table."""
    return [
        {
            "At": log.at,
            "Service": line(log.service, 60),
            "Severity": line(log.severity, 20),
            "Text": line(log.body if log.body is not None else log.event_name, 2000),
        }
        for log in logs
    ]


@dataclass(frozen=True, slots=True)
class TreeSpan:
    """A span, and how many spans are above it."""

    span: schemas.Span
    depth: int

    @property
    def key(self) -> str:
        """What identifies it: two processes may share a span id."""
        return json.dumps([self.span.trace_id, self.span.span_id, self.span.service, self.span.kind])


def span_tree(spans: Sequence[schemas.Span], text: str = "") -> list[TreeSpan]:
    """Returns the spans, each before those below it, siblings by their start.

    With a text, only those that contain it, in any case, and what is above them. A span whose parent is unknown, or
    lies below itself, is at the top.
    """
    known = {(span.trace_id, span.span_id) for span in spans}
    below: dict[tuple[str, str | None], list[schemas.Span]] = {}
    tops = []
    for span in sorted(spans, key=lambda each: each.started_at):
        parent = (span.trace_id, span.parent_id)
        if parent in known and span.parent_id != span.span_id:
            below.setdefault(parent, []).append(span)
        else:
            tops.append(span)
    ordered = list(_walk(tops, below))
    if len(ordered) < len(spans):
        reached = {id(each.span) for each in ordered}
        ordered += [TreeSpan(span, 0) for span in spans if id(span) not in reached]
    return _with_ancestors(ordered, text) if text else ordered


def _walk(
    tops: Sequence[schemas.Span], below: Mapping[tuple[str, str | None], list[schemas.Span]]
) -> Iterator[TreeSpan]:
    waiting = [TreeSpan(span, 0) for span in reversed(tops)]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each.span) in seen:
            continue
        seen.add(id(each.span))
        yield each
        children = below.get((each.span.trace_id, each.span.span_id), ())
        waiting += [TreeSpan(span, each.depth + 1) for span in reversed(children)]


def _with_ancestors(ordered: Sequence[TreeSpan], text: str) -> list[TreeSpan]:
    kept: list[TreeSpan] = []
    depth = 0
    for each in reversed(ordered):
        is_match = _contains(text, each.span.name, each.span.service, each.span.attributes, each.span.span_id)
        if is_match or each.depth < depth:
            kept.append(each)
            depth = each.depth
    return kept[::-1]


def span_rows(tree: Iterable[TreeSpan]) -> list[dict[str, Any]]:
    """Returns a tree of spans as rows of a table, indented."""
    return [
        {
            "Span": INDENT * min(each.depth, 20) + ("└ " if each.depth else "") + line(span.name, 120),
            "Service": line(span.service, 60),
            "Started": span.started_at,
            "Took": took(span.started_at, span.ended_at) or "open",
            "Status": line(span.status, 20),
            "Kind": line(span.kind, 20),
        }
        for each in tree
        for span in [each.span]
    ]


@dataclass(frozen=True, slots=True)
class RecordView:
    """A span or a log line in full."""

    title: str
    at: datetime
    facts: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, str], ...]
    events: tuple[tuple[datetime, str, tuple[tuple[str, str], ...]], ...]
    """Of a span: time, name and attributes of each of its events."""
    span_id: str
    """Its span, or for a log line the span in which it was written; empty without one."""


def log_view(log: schemas.Log) -> RecordView:
    """Prepares a log line in full."""
    facts = (("Severity", log.severity), ("Service", log.service), ("Process", log.instance), ("Event", log.event_name))
    return RecordView(
        title=block(log.body if log.body is not None else log.event_name, 4_000),
        at=log.at,
        facts=_facts((*facts, ("Trace", log.trace_id), ("Span", log.span_id))),
        attributes=_attributes(log.attributes),
        events=(),
        span_id=log.span_id or "",
    )


def span_view(span: schemas.Span) -> RecordView:
    """Prepares a span in full."""
    facts = (
        ("Service", span.service),
        ("Process", span.instance),
        ("Kind", span.kind),
        ("Status", span.status),
        ("Took", took(span.started_at, span.ended_at) or "open"),
        ("Trace", span.trace_id),
        ("Span", span.span_id),
        ("Parent", span.parent_id),
        ("Links to", ", ".join(f"{link.trace_id}/{link.span_id}" for link in span.links)),
    )
    events = ((event.at, line(event.name, 120), _attributes(event.attributes)) for event in span.events)
    return RecordView(
        title=line(span.name, 300),
        at=span.started_at,
        facts=_facts(facts),
        attributes=_attributes(span.attributes),
        events=tuple(events),
        span_id=span.span_id,
    )


def _facts(facts: Iterable[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, line(value, 1_000)) for name, value in facts if value)


def _attributes(attributes: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((line(name, 200), block(value, 4_000)) for name, value in sorted(attributes.items()))


MAX_CALLS = 300
"""Arrows of a sequence; it reports how many more there are."""

MESSAGE_KINDS = ("producer", "consumer")


@dataclass(frozen=True, slots=True)
class Call:
    """A call or message from one service to another, or a step that a service executes itself."""

    key: str
    """Its span, by `TreeSpan.key`."""
    span: str
    source: str
    target: str
    label: str
    at: float
    """Milliseconds since the Unix epoch."""
    took: float | None
    """Seconds; None for a message, and while it is in flight."""
    state: str
    """``ok``, ``error``, ``unknown`` or ``in_flight``."""
    state_label: str
    is_message: bool
    count: int
    """How many equal ones followed each other."""


@dataclass(frozen=True, slots=True)
class CallSequence:
    """Which service called which, in the order of time."""

    services: tuple[str, ...]
    calls: tuple[Call, ...]
    left_out: int


def sequence(saga: schemas.Saga, shown_ids: Collection[str]) -> CallSequence:
    """Returns the calls between services, messages included, and the steps; equal ones in a row count as one.

    Only the spans with these ids are shown as called.
    """
    attempts = {attempt.span_id: attempt.state for step in saga.steps for attempt in step.attempts}
    known: dict[tuple[str, str | None], schemas.Span] = {(each.trace_id, each.span_id): each for each in saga.spans}
    calls = [
        _call(source, span, attempts.get(span.span_id), has_ended=saga.ended_at is not None)
        for span in sorted(saga.spans, key=lambda each: each.started_at)
        if span.span_id in shown_ids
        for source in _sources(span, known, is_attempt=span.span_id in attempts)
    ]
    merged: list[Call] = []
    for call in calls:
        last = merged[-1] if merged else None
        if last and _alike(last) == _alike(call):
            merged[-1] = replace(last, count=last.count + 1)
        else:
            merged.append(call)
    shown = merged[:MAX_CALLS]
    services = dict.fromkeys(name for call in shown for name in (call.source, call.target))
    return CallSequence(tuple(services), tuple(shown), len(merged) - len(shown))


def _alike(call: Call) -> tuple[str, ...]:
    return call.source, call.target, call.label, call.state


def _sources(
    span: schemas.Span, known: Mapping[tuple[str, str | None], schemas.Span], *, is_attempt: bool
) -> list[schemas.Span]:
    """Returns the spans from which this one was called: the caller's, the linked ones, or itself for an own step."""
    parent = known.get((span.trace_id, span.parent_id))
    linked = [known.get((link.trace_id, link.span_id)) for link in span.links]
    others = [each for each in (parent, *linked) if each is not None and each.service != span.service]
    return others or ([span] if is_attempt else [])


def span_state(span: schemas.Span, *, has_ended: bool) -> str:
    """Returns the state of a span that is no attempt: unknown if it is open although its saga has ended."""
    if span.status == "error":
        return "error"
    return "ok" if span.ended_at else "unknown" if has_ended else "in_flight"


def _call(source: schemas.Span, span: schemas.Span, state: str | None, *, has_ended: bool) -> Call:
    is_message = source is not span and (source.kind in MESSAGE_KINDS or span.kind in MESSAGE_KINDS)
    state = state or span_state(span, has_ended=has_ended)
    ended = None if is_message else span.ended_at
    return Call(
        key=TreeSpan(span, 0).key,
        span=span.span_id,
        source=line(source.service or UNKNOWN_SERVICE, 60),
        target=line(span.service or UNKNOWN_SERVICE, 60),
        label=line(span.name, 120),
        at=epoch_ms(span.started_at),
        took=(ended - span.started_at).total_seconds() if ended else None,
        state=state,
        state_label=ATTEMPT[state].label,
        is_message=is_message,
        count=1,
    )
