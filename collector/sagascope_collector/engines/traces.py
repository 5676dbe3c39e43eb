"""Plain OpenTelemetry: which records a rule with ``scope: trace`` gives to a saga, and what their spans mean. Pure.

A rule identifies one span of a trace; the others of the trace belong to the saga too. Without rules for the steps, each
span that receives a call is an attempt of a step, and the trace's first span is the saga's root.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import GRPC_STATUS, HTTP_STATUS, RECEIVING_KINDS, EngineSpans, RecordFields
from sagascope_collector.records import Mark, Span, Value, as_text, count

ROLE: Final = "trace"
"""The role in the marks of spans that `interpret` classifies."""

ROOT: Final = "trace.root"
"""The role in the mark of a trace's span without a parent."""

ADDRESSES: Final = ("server.address", "net.peer.name", "peer.service", "rpc.service")
MIN_HTTP_ERROR: Final = 400


class TraceRule(Protocol):
    """A mapping rule with ``scope: trace``."""

    @property
    def id_key(self) -> str:
        """The attribute that holds the saga's id; ``""`` if the id comes from elsewhere."""

    def identify(self, record: RecordFields) -> Mark | None:
        """Returns the saga's id, name and run; None if the rule does not apply to the record."""

    def assigned(self, record: RecordFields, saga: Mark, *, is_first: bool) -> tuple[Mark, Mapping[str, Value]]:
        """Returns the mark and the further attributes of a record in a trace of a saga."""


class TraceRecord(NamedTuple):
    """A span or log record of one trace."""

    fields: RecordFields
    has_no_saga: bool
    """Whether neither its attributes nor an engine nor another rule names its saga."""
    span_id: bytes
    parent_id: bytes
    start: int
    is_span: bool
    """False: it is a log record."""


class Assignment(NamedTuple):
    """The saga to which a rule assigns a record."""

    mark: Mark
    attributes: Mapping[str, Value]
    """``saga.*`` attributes to add to the record."""


def assign(records: Sequence[TraceRecord], rules: Sequence[TraceRule]) -> list[Assignment | None]:
    """Returns what the rules say of each record of one trace, in any order; None: nothing.

    A span that a rule identifies gives its saga to all that is below it; the earliest of them gives it to the rest.
    """
    identified = {each.span_id: found for each in records if (found := _identified(each, rules))}
    if not identified:
        return [None] * len(records)
    starts = {each.span_id: (each.start, each.span_id) for each in records if each.is_span}
    first = identified[min(identified, key=lambda span_id: starts[span_id])]
    parents = {each.span_id: each.parent_id for each in records if each.is_span}
    assigned: list[Assignment | None] = []
    for each in records:
        rule, saga = next((identified[up] for up in _upward(each.span_id, parents) if up in identified), first)
        is_first = each.is_span and not each.parent_id
        assigned.append(Assignment(*rule.assigned(each.fields, saga, is_first=is_first)) if each.has_no_saga else None)
    return assigned


def _identified(record: TraceRecord, rules: Sequence[TraceRule]) -> tuple[TraceRule, Mark] | None:
    if not (record.is_span and record.has_no_saga):
        return None
    return next(((rule, saga) for rule in rules if (saga := rule.identify(record.fields))), None)


def _upward(span_id: bytes, parents: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yields the ids of a span and of all above it, each once."""
    seen = set[bytes]()
    while span_id and span_id not in seen:
        yield span_id
        seen.add(span_id)
        span_id = parents.get(span_id, b"")


def interpret(spans: Collection[Span]) -> EngineSpans:
    """Rewrites the spans of one saga that came to it with their traces.

    Args:
        spans: all spans of the saga. Those with another role stay unchanged.
    """
    return EngineSpans(list(_Interpretation(spans).spans()))


class _Interpretation:
    def __init__(self, spans: Collection[Span]) -> None:
        self._own = [span for span in spans if span.mark.role in (ROLE, ROOT)]
        self._children: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
        for span in sorted(spans, key=lambda each: (each.start, each.span_id)):
            self._children[span.trace_id, span.parent_id].append(span)
        self._by_id = {(span.trace_id, span.span_id): span for span in spans}
        has_root = any(span.mark.role == semconv.ROLE_SAGA for span in spans)
        roots = [span for span in self._own if span.mark.role == ROOT and not has_root]
        self._root = min(roots, key=lambda each: (each.start, each.span_id), default=None)
        self._receivers = {id(span): each for span in self._own if (each := self._receiver(span))}
        self._names_of_calls = {
            _call(span): self._receivers[id(span)].name for span in self._own if id(span) in self._receivers
        }

    def spans(self) -> Iterator[Span]:
        """Yields each span as the root, an attempt, the caller's view of one, or participant work."""
        named = {id(span): name for span in self._own if (name := self._step(span))}
        executing = [self._attempt(span, named[id(span)]) for span in self._own if id(span) in named]
        numbered = engine.numbered_attempts(executing)
        marks = {(span.trace_id, span.span_id): span.mark for span in numbered}
        yield from numbered
        for span in self._own:
            receiver = self._receivers.get(id(span))
            if span is self._root:
                yield self._closed(span, numbered)
            elif receiver and (receiver.trace_id, receiver.span_id) in marks:
                yield replace(span, mark=marks[receiver.trace_id, receiver.span_id])
            elif id(span) not in named:
                yield engine.participant(span)

    def _step(self, span: Span) -> str:
        """Returns the name of the step that the span executes; ``""`` if it executes none."""
        if span is self._root or id(span) in self._receivers:
            return ""
        if span.mark.step:
            return span.mark.step
        if span.kind in RECEIVING_KINDS:
            return span.name
        if span.kind != "client" or any(key.startswith("db.") for key in span.attributes):
            return ""
        known = self._names_of_calls.get(_call(span))
        return known or (" ".join(filter(None, _call(span))) if span.status == "error" else "")

    def _receiver(self, span: Span) -> Span | None:
        """Returns the span that executed what this span called; the last if it was called several times."""
        below = self._children.get((span.trace_id, span.span_id), ())
        if span.mark.step:
            received = [each for each in below if each.mark.role == ROLE and each.mark.step == span.mark.step]
        else:
            received = [
                each
                for each in below
                if span.kind == "client" and each.mark.role == ROLE and each.kind in RECEIVING_KINDS
            ]
        return received[-1] if received else None

    def _attempt(self, span: Span, step: str) -> Span:
        status = "error" if self._has_failed(span) else span.status
        attributes = span.attributes if span.mark.step else _without_amount(span.attributes)
        return replace(span, mark=replace(span.mark, step=step), status=status, attributes=attributes)

    def _has_failed(self, span: Span) -> bool:
        """Returns whether an attempt failed. Its own status decides, if it has one.

        Else it failed if it answered with an error, or if the last thing that it did failed and its caller failed too.
        """
        if span.status != "unset" or not span.end:
            return span.status == "error"
        if _status_code(span, HTTP_STATUS) >= MIN_HTTP_ERROR or _status_code(span, GRPC_STATUS):
            return True
        caller = self._by_id.get((span.trace_id, span.parent_id))
        below = self._children.get((span.trace_id, span.span_id))
        return bool(below and below[-1].status == "error" and caller is not None and caller.status == "error")

    def _closed(self, root: Span, attempts: Collection[Span]) -> Span:
        """Returns the root, which ends with the last attempt and fails if that fails."""
        if semconv.AMOUNT not in root.attributes:
            root = replace(root, attributes={**root.attributes, **self._amount()})
        if not root.end:
            return engine.root(root)
        last = max(attempts, key=lambda each: (each.end, each.span_id), default=root)
        outcome = engine.outcome_by_status(last if root.status != "error" else root)
        if outcome == semconv.OUTCOME_COMPLETED and last.mark.type.startswith(semconv.TYPE_COMPENSATION):
            outcome = semconv.OUTCOME_COMPENSATED
        return engine.root(root, outcome, end=max(root.end, last.end))

    def _amount(self) -> Mapping[str, Value]:
        """Returns the amount of the saga, from the earliest span that has one and has no rule for steps."""
        ordered = sorted(self._own, key=lambda each: (each.start, each.span_id))
        found = (span for span in ordered if semconv.AMOUNT in span.attributes and not span.mark.step)
        return next(({key: each.attributes[key] for key in _AMOUNTS if key in each.attributes} for each in found), {})


_AMOUNTS: Final = (semconv.AMOUNT, semconv.CURRENCY)


def _without_amount(attributes: Mapping[str, Value]) -> Mapping[str, Value]:
    """Returns the attributes of an attempt without the amount, which a rule for a trace gives to the saga."""
    if semconv.AMOUNT not in attributes:
        return attributes
    return {key: value for key, value in attributes.items() if key not in _AMOUNTS}


def _call(span: Span) -> tuple[str, str]:
    """Returns what a client called: the name of its span, and the address unless the name is specific."""
    address = next(filter(None, (as_text(span.attributes.get(key)) for key in ADDRESSES)), "")
    return (span.name, "" if "/" in span.name else address)


def _status_code(span: Span, keys: Sequence[str]) -> int:
    return next((count(span.attributes[key]) for key in keys if key in span.attributes), 0)
