"""Which spans are views of one attempt: the caller's, the executor's, and the work of participants below.

Spans with the same step, type, key and number in different services are views of one attempt, and so are those of one
service that lie below one another (a service that calls itself). Two of one service, neither below the other, are two
executions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis.lineage import RECEIVING, Lineage
from sagascope_collector.analysis.spans import SpanKey
from sagascope_collector.records import Span


class StepKey(NamedTuple):
    """A step, told from every other of its saga."""

    name: str
    type: str
    key: str


@dataclass(slots=True)
class Views:
    """The spans that tell of one attempt."""

    number: int
    spans: list[Span]
    """Those with the role of a step, the caller's first, the executor's last."""
    receiver: Span | None = None
    """Where only the caller has such a span: the participant's with which the executor took the work."""
    received: list[Span] = field(default_factory=list)
    """Every such span right below the caller's: a client may repeat a call by itself."""


Numbered = dict[int, list[Span]]
"""The spans of one step by number of the attempt."""


def collect(spans: Iterable[Span], lineage: Lineage, undoing: Iterable[str]) -> dict[StepKey, list[Views]]:
    """Every attempt among the spans, by step; ``undoing`` are the steps that the plan calls compensations."""
    attempts, participants = [], []
    for span in spans:
        role = span.mark.role
        if role == semconv.ROLE_STEP:
            attempts.append(span)
        elif span.kind in RECEIVING and role != semconv.ROLE_SAGA:
            participants.append(span)
    collected = {
        step: [views for number, group in numbered.items() for views in _executions(step, number, group, lineage)]
        for step, numbered in _groups(attempts, lineage, frozenset(undoing)).items()
    }
    if participants:
        _add_receivers(collected, participants, lineage)
    return collected


def _groups(spans: list[Span], lineage: Lineage, undoing: frozenset[str]) -> dict[StepKey, Numbered]:
    groups: dict[StepKey, Numbered] = {}
    unnumbered: dict[StepKey, list[Span]] = {}
    typed = undoing.union(span.mark.step for span in spans if span.mark.type not in _PLAIN)
    for span in spans:
        mark = span.mark
        step = StepKey(mark.step or span.name, _type(span, typed, undoing, lineage), mark.key)
        if not mark.attempt:
            unnumbered.setdefault(step, []).append(span)
            continue
        numbered = groups.get(step)
        if numbered is None:
            numbered = groups[step] = {}
        group = numbered.get(mark.attempt)
        if group is None:
            numbered[mark.attempt] = [span]
        else:
            group.append(span)
    for step, tries in unnumbered.items():
        _number(step, tries, groups.setdefault(step, {}), lineage)
    return groups


_PLAIN = ("", semconv.TYPE_ACTION)
"""Types that may be left out."""


def _type(span: Span, typed: frozenset[str], undoing: frozenset[str], lineage: Lineage) -> str:
    """The type of an attempt; where it does not say it, the caller's, since baggage does not carry it."""
    mark = span.mark
    if mark.type in semconv.STEP_TYPES:
        return mark.type
    if mark.step in typed:
        for each in lineage.above(span):
            if each.mark.role == semconv.ROLE_STEP and each.mark.step == mark.step and each.mark.type:
                return each.mark.type if each.mark.type in semconv.STEP_TYPES else semconv.TYPE_ACTION
    if mark.step in undoing or semconv.STEP_COMPENSATES in span.attributes:
        return semconv.TYPE_COMPENSATION
    return semconv.TYPE_ACTION


def _number(step: StepKey, tries: list[Span], numbered: Numbered, lineage: Lineage) -> None:
    """Number attempts that carry none: as their caller's, else by their place in time among those of their service."""
    known = {id(span): number for number, group in numbered.items() for span in group}
    counted: dict[str, int] = {}
    for span in sorted(tries, key=lambda each: (_depth(each, step, lineage), each.start, each.span_id)):
        number = next((known[id(each)] for each in lineage.above(span) if id(each) in known), 0)
        if not number:
            number = counted[span.process.service] = counted.get(span.process.service, 0) + 1
        known[id(span)] = number
        numbered.setdefault(number, []).append(span)


def _depth(span: Span, step: StepKey, lineage: Lineage) -> int:
    """How many views of the same step stand above."""
    return sum(
        each.mark.role == semconv.ROLE_STEP and (each.mark.step or each.name) == step.name
        for each in lineage.above(span)
    )


def _executions(step: StepKey, number: int, group: list[Span], lineage: Lineage) -> list[Views]:
    if len(group) == 1:
        return [Views(number, group)]
    if len(group) == 2 and group[0].process.service != group[1].process.service:
        return [Views(number, _caller_first(group, step, lineage))]
    executions = _Executions(number, lineage)
    for span in sorted(group, key=lambda span: _view_order(span, step, lineage)):
        executions.place(span)
    return executions.views


def _caller_first(pair: list[Span], step: StepKey, lineage: Lineage) -> list[Span]:
    one, other = pair
    if lineage.is_below(other, one):
        return pair
    if lineage.is_below(one, other) or _view_order(other, step, lineage) < _view_order(one, step, lineage):
        return [other, one]
    return pair


def _view_order(span: Span, step: StepKey, lineage: Lineage) -> tuple[int, int, int, str]:
    """From the caller to the executor: by depth, else by who sends and who receives, else by time."""
    rank = {"client": -1, "producer": -1, "server": 1, "consumer": 1}.get(span.kind, 0)
    return _depth(span, step, lineage), rank, span.start, span.span_id


class _Executions:
    """Tells the executions of one attempt apart: a service executes each once, and may call itself for it."""

    def __init__(self, number: int, lineage: Lineage) -> None:
        self.views: list[Views] = []
        self._number = number
        self._lineage = lineage
        self._services: list[dict[str, list[SpanKey]]] = []
        """Of each execution: the views of each service."""
        self._of: dict[SpanKey, int] = {}
        self._full: dict[str, int] = {}
        """By service: so many executions, from the first, have it."""

    def place(self, span: Span) -> None:
        """Add a view to the execution that it belongs to, or begin another."""
        place = self._place(span)
        if place is None:
            place = len(self.views)
            self.views.append(Views(self._number, []))
            self._services.append({})
        key = span.trace_id, span.span_id
        self.views[place].spans.append(span)
        self._services[place].setdefault(span.process.service, []).append(key)
        self._of[key] = place

    def _place(self, span: Span) -> int | None:
        """The first execution whose caller stands above, with no view of its service beside it; None: it is another.

        Where no caller is known, the first that its service has no part in.
        """
        service = span.process.service
        above = {
            (span.trace_id, span.parent_id),
            *((each.trace_id, each.span_id) for each in self._lineage.above(span)),
        }
        if calling := {self._of[key] for key in above if key in self._of}:
            fitting = (place for place in calling if above.issuperset(self._services[place].get(service, ())))
            return min(fitting, default=None)
        full = self._full.get(service, 0)
        while full < len(self.views) and service in self._services[full]:
            full += 1
        self._full[service] = full
        return full if full < len(self.views) else None


def _add_receivers(collected: Mapping[StepKey, list[Views]], participants: list[Span], lineage: Lineage) -> None:
    """To attempts that only their caller tells of, add the first participant's span that took the work."""
    alone = {
        (views.spans[0].trace_id, views.spans[0].span_id): (step, views)
        for step, tries in collected.items()
        for views in tries
        if len(views.spans) == 1 and not lineage.received_here(views.spans[0])
    }
    if not alone:
        return
    for span in sorted(participants, key=lambda each: (each.start, each.span_id)):
        for each in lineage.above(span):
            caller = alone.get((each.trace_id, each.span_id))
            if caller is not None:
                _receive(caller[1], span)
                if lineage.parent(span) is caller[1].spans[0]:
                    caller[1].received.append(span)
                break
    _receive_by_name(alone.values(), participants)


def _receive_by_name(alone: Iterable[tuple[StepKey, Views]], participants: list[Span]) -> None:
    """Where a span between caller and participant never came, baggage still tells whose work it is."""
    told: dict[tuple[str, str, int], Span] = {}
    for span in sorted(participants, key=lambda each: (each.start, each.span_id), reverse=True):
        if span.mark.step:
            told[span.mark.step, span.mark.key, span.mark.attempt] = span
    for step, views in alone:
        named = told.get((step.name, step.key, views.number))
        if named is not None:
            _receive(views, named)


def _receive(views: Views, span: Span) -> None:
    if views.receiver is None and span.process.service != views.spans[0].process.service:
        views.receiver = span
