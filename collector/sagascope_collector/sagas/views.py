"""Which spans are views of one attempt: the caller's, the executor's, and the work of participants below.

Spans with the same step, type, key and number in different services are views of one attempt; two of one service are
two executions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.records import Span
from sagascope_collector.sagas.lineage import RECEIVING, Lineage


class StepKey(NamedTuple):
    """A step, told from every other of its saga."""

    name: str
    type: str
    key: str


class AttemptKey(NamedTuple):
    """One numbered try of a step."""

    step: StepKey
    number: int


@dataclass(slots=True)
class Views:
    """The spans that tell of one attempt."""

    step: StepKey
    number: int
    spans: list[Span] = field(default_factory=list)
    """Those with the role of a step, the caller's first, the executor's last."""
    receiver: Span | None = None
    """Where only the caller has such a span: the participant's with which the executor took the work."""


def collect(spans: Iterable[Span], lineage: Lineage, undoing: Iterable[str]) -> list[Views]:
    """Every attempt among the spans; ``undoing`` are the steps that the plan calls compensations."""
    attempts, participants = [], []
    for span in spans:
        if span.mark.role == semconv.ROLE_STEP:
            attempts.append(span)
        elif span.kind in RECEIVING and span.mark.role != semconv.ROLE_SAGA:
            participants.append(span)
    groups = _groups(attempts, lineage, frozenset(undoing))
    collected = [views for key, group in groups.items() for views in _executions(key, group, lineage)]
    _add_receivers(collected, participants, lineage)
    return collected


def _groups(spans: list[Span], lineage: Lineage, undoing: frozenset[str]) -> dict[AttemptKey, list[Span]]:
    groups: dict[AttemptKey, list[Span]] = {}
    steps: dict[StepKey, StepKey] = {}
    unnumbered: dict[StepKey, list[Span]] = {}
    for span in spans:
        mark = span.mark
        kind = mark.type if mark.type in semconv.STEP_TYPES else _type(span, lineage, undoing)
        step = StepKey(mark.step or span.name, kind, mark.key)
        step = steps.setdefault(step, step)
        if mark.attempt:
            groups.setdefault(AttemptKey(step, mark.attempt), []).append(span)
        else:
            unnumbered.setdefault(step, []).append(span)
    for step, tries in unnumbered.items():
        for span, number in _numbers(step, tries, groups, lineage):
            groups.setdefault(AttemptKey(step, number), []).append(span)
    return groups


def _type(span: Span, lineage: Lineage, undoing: frozenset[str]) -> str:
    """The type of an attempt that does not say it: the caller's, since baggage does not carry it; else the plan's."""
    for each in lineage.above(span):
        if each.mark.role == semconv.ROLE_STEP and each.mark.step == span.mark.step and each.mark.type:
            return each.mark.type
    if span.mark.step in undoing or semconv.STEP_COMPENSATES in span.attributes:
        return semconv.TYPE_COMPENSATION
    return semconv.TYPE_ACTION


def _numbers(
    step: StepKey, tries: list[Span], groups: Mapping[AttemptKey, list[Span]], lineage: Lineage
) -> list[tuple[Span, int]]:
    """Numbers for attempts that carry none: their caller's, else their place in time among those of their service."""
    known = {id(span): key.number for key, group in groups.items() if key.step == step for span in group}
    counted: dict[str, int] = {}
    numbered = []
    for span in sorted(tries, key=lambda each: (_depth(each, step, lineage), each.start, each.span_id)):
        above = (known[id(each)] for each in lineage.above(span) if id(each) in known)
        number = next(above, 0)
        if not number:
            number = counted[span.process.service] = counted.get(span.process.service, 0) + 1
        known[id(span)] = number
        numbered.append((span, number))
    return numbered


def _depth(span: Span, step: StepKey, lineage: Lineage) -> int:
    """How many views of the same step stand above."""
    return sum(
        each.mark.role == semconv.ROLE_STEP and (each.mark.step or each.name) == step.name
        for each in lineage.above(span)
    )


def _executions(key: AttemptKey, group: list[Span], lineage: Lineage) -> list[Views]:
    if len(group) == 1:
        return [Views(key.step, key.number, group)]
    if len(group) == 2 and group[0].process.service != group[1].process.service:
        caller_first = _view_order(group[0], key.step, lineage) <= _view_order(group[1], key.step, lineage)
        return [Views(key.step, key.number, group if caller_first else group[::-1])]
    ordered = sorted(group, key=lambda span: _view_order(span, key.step, lineage))
    executions: list[Views] = []
    for span in ordered:
        _place(span, executions, key, lineage)
    return executions


def _view_order(span: Span, step: StepKey, lineage: Lineage) -> tuple[int, int, int, str]:
    """From the caller to the executor: by depth, else by who sends and who receives, else by time."""
    rank = {"client": -1, "producer": -1, "server": 1, "consumer": 1}.get(span.kind, 0)
    return _depth(span, step, lineage), rank, span.start, span.span_id


def _place(span: Span, executions: list[Views], key: AttemptKey, lineage: Lineage) -> None:
    """Add a view to the execution that it belongs to, or begin another: one service executes each once."""
    service = span.process.service
    free = [each for each in executions if all(view.process.service != service for view in each.spans)]
    above = [each for each in free if any(lineage.is_below(span, view) for view in each.spans)]
    for each in above or [each for each in free if not _is_called_by_another(span, executions, lineage)]:
        each.spans.append(span)
        return
    executions.append(Views(key.step, key.number, [span]))


def _is_called_by_another(span: Span, executions: list[Views], lineage: Lineage) -> bool:
    return any(lineage.is_below(span, view) for each in executions for view in each.spans)


def _add_receivers(collected: list[Views], participants: list[Span], lineage: Lineage) -> None:
    """To attempts that only their caller tells of, add the first participant's span that took the work."""
    alone = {
        (views.spans[0].trace_id, views.spans[0].span_id): views
        for views in collected
        if len(views.spans) == 1 and not lineage.received_here(views.spans[0])
    }
    if not alone or not participants:
        return
    for span in sorted(participants, key=lambda each: (each.start, each.span_id)):
        views = next(
            (views for each in lineage.above(span) if (views := alone.get((each.trace_id, each.span_id)))), None
        )
        if views and views.receiver is None and span.process.service != views.spans[0].process.service:
            views.receiver = span
    _add_receivers_by_name(alone.values(), participants)


def _add_receivers_by_name(alone: Iterable[Views], participants: list[Span]) -> None:
    """Where a span between caller and participant never came, baggage still tells whose work it is."""
    told: dict[tuple[str, str, int], Span] = {}
    for span in participants:
        key = (span.mark.step, span.mark.key, span.mark.attempt)
        known = told.get(key)
        if span.mark.step and (known is None or (span.start, span.span_id) < (known.start, known.span_id)):
            told[key] = span
    for views in alone:
        span_by_name = told.get((views.step.name, views.step.key, views.number))
        if views.receiver is None and span_by_name and span_by_name.process.service != views.spans[0].process.service:
            views.receiver = span_by_name
