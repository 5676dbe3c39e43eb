"""Attempts of steps: which spans are views of one attempt, and the state of the attempt.

Spans with the same step, type, key and number in different services are views of one attempt. So are spans of one
service if one is below the other (a service that calls itself). Two spans of one service, neither below the other, are
two executions. The executor's view takes precedence over the caller's. The row of a state table is not an execution
of its own where services report the step as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.clocks import Skew
from sagascope_collector.analysis.failures import Causes
from sagascope_collector.analysis.model import Attempt, AttemptState, Failure
from sagascope_collector.analysis.spans import LoggedStep, ProcessKey, SpanKey, SpanTree, process_key
from sagascope_collector.engines.engine import RECEIVING_KINDS
from sagascope_collector.records import SagaKey, Span, Value


class StepKey(NamedTuple):
    """The identity of a step within its saga."""

    name: str
    type: str
    key: str


@dataclass(slots=True)
class Views:
    """The spans of one attempt."""

    number: int
    spans: list[Span]
    """The step spans, the caller's first, the executor's last."""
    receiver: Span | None = None
    """The participant's span that received the work, if only the caller has a step span; else None."""
    received: list[Span] = field(default_factory=list)
    """All such spans directly below the caller's: a client may repeat a call by itself."""


Numbered = dict[int, list[Span]]
"""The spans of one step, by attempt number."""


def collect(spans: Iterable[Span], tree: SpanTree, compensations: Iterable[str]) -> dict[StepKey, list[Views]]:
    """Collects the attempts among the spans, by step.

    ``compensations`` holds the steps that the plan declares as compensations.
    """
    attempts, rows, participants = list[Span](), list[Span](), list[Span]()
    for span in spans:
        role = span.mark.role
        if role == semconv.ROLE_STEP:
            (rows if semconv.TABLE_KEY in span.attributes else attempts).append(span)
        elif span.kind in RECEIVING_KINDS and role != semconv.ROLE_SAGA:
            participants.append(span)
    collected = _collected(attempts, tree, frozenset(compensations))
    if rows:
        _add_rows(collected, _collected(rows, tree, frozenset(compensations)))
    if participants:
        _add_receivers(collected, participants, tree)
    return collected


def _collected(spans: list[Span], tree: SpanTree, compensations: frozenset[str]) -> dict[StepKey, list[Views]]:
    return {
        step: [views for number, group in numbered.items() for views in _executions(step, number, group, tree)]
        for step, numbered in _groups(spans, tree, compensations).items()
    }


def _add_rows(collected: dict[StepKey, list[Views]], rows: Mapping[StepKey, list[Views]]) -> None:
    """Adds the attempts that rows of state tables report.

    If services report the step as well, a row adds only a success that they did not report. The success counts for the
    latest attempt, because a row does not tell which attempt it was.
    """
    for step, attempts_of_rows in rows.items():
        reported = collected.setdefault(step, attempts_of_rows)
        if reported is attempts_of_rows or any(views.spans[-1].has_succeeded for views in reported):
            continue
        successes = (views.spans[-1] for views in attempts_of_rows if views.spans[-1].has_succeeded)
        if success := next(successes, None):
            max(reported, key=lambda views: views.number).spans.append(success)


def _groups(spans: list[Span], tree: SpanTree, compensations: frozenset[str]) -> dict[StepKey, Numbered]:
    groups: dict[StepKey, Numbered] = {}
    unnumbered: dict[StepKey, list[Span]] = {}
    typed = compensations.union(span.mark.step for span in spans if span.mark.type not in _DEFAULT_TYPES)
    for span in spans:
        mark = span.mark
        step = StepKey(mark.step or span.name, _type(span, typed, compensations, tree), mark.key)
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
    for step, spans_of_step in unnumbered.items():
        _number(step, spans_of_step, groups.setdefault(step, {}), tree)
    return groups


_DEFAULT_TYPES = ("", semconv.TYPE_ACTION)
"""Types that an emitter may omit."""


def _type(span: Span, typed: frozenset[str], compensations: frozenset[str], tree: SpanTree) -> str:
    """The type of an attempt: its own, else its caller's, because baggage does not carry it."""
    mark = span.mark
    if mark.type in semconv.STEP_TYPES:
        return mark.type
    if mark.step in typed:
        for each in tree.above(span):
            if each.mark.role == semconv.ROLE_STEP and each.mark.step == mark.step and each.mark.type:
                return each.mark.type if each.mark.type in semconv.STEP_TYPES else semconv.TYPE_ACTION
    if mark.step in compensations or semconv.STEP_COMPENSATES in span.attributes:
        return semconv.TYPE_COMPENSATION
    return semconv.TYPE_ACTION


def _number(step: StepKey, spans_of_step: list[Span], numbered: Numbered, tree: SpanTree) -> None:
    """Numbers attempts without a number: by their caller's number, else in order of start within their service."""
    known = {id(span): number for number, group in numbered.items() for span in group}
    counted: dict[str, int] = {}
    for span in sorted(spans_of_step, key=lambda each: (_depth(each, step, tree), each.start, each.span_id)):
        number = next((known[id(each)] for each in tree.above(span) if id(each) in known), 0)
        if not number:
            number = counted[span.process.service] = counted.get(span.process.service, 0) + 1
        known[id(span)] = number
        numbered.setdefault(number, []).append(span)


def _depth(span: Span, step: StepKey, tree: SpanTree) -> int:
    """The number of views of the same step among its ancestors."""
    return sum(
        each.mark.role == semconv.ROLE_STEP and (each.mark.step or each.name) == step.name for each in tree.above(span)
    )


def _executions(step: StepKey, number: int, group: list[Span], tree: SpanTree) -> list[Views]:
    if len(group) == 1:
        return [Views(number, group)]
    # the most common case needs no search for executions
    if len(group) == 2 and group[0].process.service != group[1].process.service:
        return [Views(number, _caller_first(group, step, tree))]
    executions = _Executions(number, tree)
    for span in sorted(group, key=lambda span: _view_order(span, step, tree)):
        executions.add(span)
    return executions.views


def _caller_first(pair: list[Span], step: StepKey, tree: SpanTree) -> list[Span]:
    one, other = pair
    if tree.is_below(other, one):
        return pair
    if tree.is_below(one, other) or _view_order(other, step, tree) < _view_order(one, step, tree):
        return [other, one]
    return pair


def _view_order(span: Span, step: StepKey, tree: SpanTree) -> tuple[int, int, int, str]:
    """The sort key from caller to executor: depth, then sender before receiver, then time."""
    rank = {"client": -1, "producer": -1, "server": 1, "consumer": 1}.get(span.kind, 0)
    return _depth(span, step, tree), rank, span.start, span.span_id


class _Executions:
    """Separates the executions of one attempt: a service executes each once, and may call itself for it."""

    def __init__(self, number: int, tree: SpanTree) -> None:
        self.views: list[Views] = []
        self._number = number
        self._tree = tree
        self._services: list[dict[str, list[SpanKey]]] = []
        """The views of each service, for each execution."""
        self._index_by_span: dict[SpanKey, int] = {}
        self._leading_executions: dict[str, int] = {}
        """The number of leading executions that have a view of the service, by service."""

    def add(self, span: Span) -> None:
        """Adds a view to the execution that it belongs to, or to a new one."""
        index = self._index_of(span)
        if index is None:
            index = len(self.views)
            self.views.append(Views(self._number, []))
            self._services.append({})
        key = span.trace_id, span.span_id
        self.views[index].spans.append(span)
        self._services[index].setdefault(span.process.service, []).append(key)
        self._index_by_span[key] = index

    def _index_of(self, span: Span) -> int | None:
        """The first execution whose caller is an ancestor and that has no view of this service; None: a new execution.

        If no caller is known, the first execution without a view of this service.
        """
        service = span.process.service
        above = {(span.trace_id, span.parent_id), *((each.trace_id, each.span_id) for each in self._tree.above(span))}
        if calling := {self._index_by_span[key] for key in above if key in self._index_by_span}:
            fitting = (index for index in calling if above.issuperset(self._services[index].get(service, ())))
            return min(fitting, default=None)
        full = self._leading_executions.get(service, 0)
        while full < len(self.views) and service in self._services[full]:
            full += 1
        self._leading_executions[service] = full
        return full if full < len(self.views) else None


def _add_receivers(collected: Mapping[StepKey, list[Views]], participants: list[Span], tree: SpanTree) -> None:
    """Adds the first participant's span that received the work, if only the caller has a step span."""
    only_called = {
        (views.spans[0].trace_id, views.spans[0].span_id): (step, views)
        for step, attempts_of_step in collected.items()
        for views in attempts_of_step
        if len(views.spans) == 1 and not tree.received_here(views.spans[0])
    }
    if not only_called:
        return
    for span in sorted(participants, key=lambda each: (each.start, each.span_id)):
        for each in tree.above(span):
            caller = only_called.get((each.trace_id, each.span_id))
            if caller is not None:
                _receive(caller[1], span)
                if tree.parent(span) is caller[1].spans[0]:
                    caller[1].received.append(span)
                break
    _receive_by_name(only_called.values(), participants)


def _receive_by_name(only_called: Iterable[tuple[StepKey, Views]], participants: list[Span]) -> None:
    """Finds the receiver by the step name in baggage, if a span between caller and participant was not received."""
    by_attempt: dict[tuple[str, str, int], Span] = {}
    for span in sorted(participants, key=lambda each: (each.start, each.span_id), reverse=True):
        if span.mark.step:
            by_attempt[span.mark.step, span.mark.key, span.mark.attempt] = span
    for step, views in only_called:
        named = by_attempt.get((step.name, step.key, views.number))
        if named is not None:
            _receive(views, named)


def _receive(views: Views, span: Span) -> None:
    if views.receiver is None and span.process.service != views.spans[0].process.service:
        views.receiver = span


class AttemptContext(NamedTuple):
    """The facts, besides its views, that decide the state of an attempt."""

    tree: SpanTree
    lost_spans: frozenset[str]
    """Ids of open spans that have ended although their final span was not received."""
    offsets: Mapping[ProcessKey, int]
    announced: Mapping[str, int]
    unaccepted: frozenset[str] = frozenset()
    """Ids of spans whose outcome their engine did not accept."""
    causes: Causes | None = None
    skew: Skew | None = None
    logged: Mapping[int, LoggedStep] = MappingProxyType({})
    """Steps that only log records report, by `id` of the span that stands for each."""
    continued: bool = False
    """Whether the run ended by continuing as a new run."""


def attempt(views: Views, context: AttemptContext) -> Attempt:
    """Builds one attempt from all records received about it."""
    spans, receiver = views.spans, views.receiver
    executor = spans[-1]
    state = _state(views, context)
    views_of_attempt = tuple(spans) if receiver is None else (*spans, receiver)
    return Attempt(
        views.number,
        executor.process if receiver is None else receiver.process,
        executor.trace_id,
        executor.span_id,
        executor.start,
        executor.end or None if state is not AttemptState.IN_FLIGHT else None,
        state,
        _error(views_of_attempt, context) if state is AttemptState.ERROR or state is AttemptState.UNKNOWN else None,
        **details(spans),
        views=views_of_attempt,
        offset=context.offsets.get(process_key(executor.process), 0) if context.offsets else 0,
        called_at=spans[0].start + (context.offsets.get(process_key(spans[0].process), 0) if context.offsets else 0),
        finished_at=None if state is AttemptState.IN_FLIGHT else _finished_at(views_of_attempt, context),
        lost_spans=frozenset(each.span_id for each in views_of_attempt if each.span_id in context.lost_spans)
        if context.lost_spans
        else context.lost_spans,
        is_executor_known=len(views_of_attempt) > 1 or state is AttemptState.OK or context.tree.received_here(executor),
        skew=context.skew,
        logged_until=_logged_until(executor, context),
        child=_child(executor),
    )


def _logged_until(span: Span, context: AttemptContext) -> int:
    logged = context.logged.get(id(span)) if context.logged else None
    return logged.last_at + context.offsets.get(process_key(span.process), 0) if logged is not None else 0


def _child(span: Span) -> SagaKey | None:
    """The child saga that does the work of an attempt. The type of a child workflow is its step's name."""
    child = values.text(span.attributes.get(semconv.TEMPORAL_CHILD_ID))
    return SagaKey(span.process.environment, span.mark.step, child, "") if child else None


def _state(views: Views, context: AttemptContext) -> AttemptState:
    spans = views.spans
    executor = spans[-1]
    if (logged := context.logged.get(id(executor))) is not None:
        return AttemptState.UNKNOWN if logged.is_over else AttemptState.IN_FLIGHT
    if executor.span_id in context.unaccepted:
        return AttemptState.UNKNOWN
    if len(spans) == 1 and not _is_executors(views, context.tree):
        return _callers_state(executor, views.receiver, context)
    if executor.kind == "client" and views.received and all(each.status == "error" for each in views.received):
        return _failed_state(views.received[-1])
    if executor.end:
        return _failed_state(executor) if executor.status == "error" else AttemptState.OK
    if executor.span_id not in context.lost_spans:
        return AttemptState.IN_FLIGHT
    return _state_by_callers(spans[:-1])


def _failed_state(executor: Span) -> AttemptState:
    """The state of an attempt whose executor's span failed."""
    return AttemptState.UNKNOWN if failures.was_interrupted(failures.failure(executor)) else AttemptState.ERROR


def _is_executors(views: Views, tree: SpanTree) -> bool:
    """Whether the only view is the executor's."""
    span = views.spans[0]
    return span.status != "error" or (views.receiver is None and tree.received_here(span))


def _state_by_callers(callers: list[Span]) -> AttemptState:
    """The state that the callers' spans report, if the executor's final span was lost."""
    for span in reversed(callers):
        if span.has_succeeded:
            return AttemptState.OK
        error = failures.failure(span)
        if span.end and not (failures.leaves_outcome_unknown(span, error) or failures.was_interrupted(error)):
            return AttemptState.ERROR
    return AttemptState.UNKNOWN


def _callers_state(caller: Span, receiver: Span | None, context: AttemptContext) -> AttemptState:
    """The state of an attempt that failed for its caller, which may not know whether the work was executed."""
    error = failures.failure(caller)
    if not (failures.leaves_outcome_unknown(caller, error) or failures.was_interrupted(error)):
        return AttemptState.ERROR
    if receiver is None or receiver.span_id in context.lost_spans:
        return AttemptState.UNKNOWN
    if not receiver.end:
        return AttemptState.IN_FLIGHT
    if failures.has_status_of_unknown_outcome(receiver):  # a gateway that got no answer does not know either
        return AttemptState.UNKNOWN
    return AttemptState.ERROR if receiver.status == "error" or failures.refused(receiver) else AttemptState.OK


def _error(views: tuple[Span, ...], context: AttemptContext) -> Failure | None:
    """The error of the executor's span, else of the spans below it, else the caller's."""
    own = failures.failure(views[-1])
    if own is None and context.causes is not None:
        own = context.causes.below(views[-1])
    return own or next((error for span in reversed(views) if (error := failures.failure(span))), None)


def _finished_at(views: tuple[Span, ...], context: AttemptContext) -> int:
    """The last reported end; if the final span was lost, the last reported start."""
    if not context.offsets and len(views) == 1 and views[0].end:
        return views[0].end
    if until := _logged_until(views[-1], context):
        return until
    ends = [span.end + context.offsets.get(process_key(span.process), 0) for span in views if span.end]
    return max(ends) if ends else max(context.announced.get(span.span_id, span.start) for span in views)


DETAIL_READERS: Final[Mapping[str, tuple[str, Callable[[Value], Any]]]] = {
    semconv.AMOUNT: ("amount", values.amount),
    semconv.CURRENCY: ("currency", values.currency),
    semconv.STEP_IDEMPOTENCY_KEY: ("idempotency_key", values.text),
    semconv.STEP_TIMEOUT: ("timeout", values.seconds),
    semconv.STEP_RETRY_IN: ("retry_in", values.wait),
    semconv.STEP_MAX_ATTEMPTS: ("max_attempts", values.count),
    semconv.STEP_PIVOT: ("pivot", lambda value: value is True),
    semconv.STEP_COMPENSATES: ("compensates", values.text),
}
"""The attributes with details of an attempt: the field of `Attempt`, and the function that reads the value."""


def details(views: Sequence[Span]) -> dict[str, Any]:
    """Reads the details from the views of one attempt, the caller's first; returns them by field of `Attempt`."""
    found: dict[str, Any] = {}
    for view in views:
        # the executor's views come last, so that their values replace the caller's
        for name in DETAIL_READERS.keys() & view.attributes.keys():
            value = view.attributes[name]
            if value is not None:
                field_name, read = DETAIL_READERS[name]
                found[field_name] = read(value)
    return found
